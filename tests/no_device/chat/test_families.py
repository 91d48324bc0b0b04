"""Each family's answers, cut at every byte; what is broken, cut short or random ends as text and never raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.no_device.chat.golden import GOLDEN, JSON_WEATHER, TOOLS, Golden
from tests.no_device.chat.reading import cut, form, read, whole

from halflap.events import ToolCall
from halflap.text.chat.dialects import DIALECTS
from halflap.text.chat.harmony import TAGS
from halflap.text.chat.parser import Machine

CASES = [pytest.param(name, case, id=f"{name}-{i}") for name, cases in GOLDEN.items() for i, case in enumerate(cases)]


def test_every_family_has_an_answer() -> None:
    assert set(GOLDEN) == {*DIALECTS, "harmony"}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_answers_mean_what_they_say_however_they_are_cut(name: str, case: Golden) -> None:
    prompt, answer, *wanted = case
    made = form(name)
    assert whole(read(made.parser(TOOLS, prompt), [answer])) == tuple(wanted)
    size = len(answer.encode())
    for place in range(1, size):
        assert whole(read(made.parser(TOOLS, prompt), cut(answer, place))) == tuple(wanted), place
    assert whole(read(made.parser(TOOLS, prompt), cut(answer, *range(1, size)))) == tuple(wanted)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_answers_cut_short_never_raise_and_give_nothing_else(name: str, case: Golden) -> None:
    prompt, answer, reasoning, text, calls = case
    made = form(name)
    for end in range(len(answer)):
        found = read(made.parser(TOOLS, prompt), [answer[:end]])
        assert reasoning.startswith(found[0].rstrip()) or found[0].rstrip().startswith(reasoning)
        for (called, arguments), (wanted, _) in zip(found[2][:-1], calls, strict=False):
            assert called == wanted
            json.loads(arguments)  # only the last may be cut
        assert len(found[2]) <= len(calls)
    assert text in read(made.parser(TOOLS, prompt), [answer])[1]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_what_nobody_wants_told_apart_stays_text(name: str, case: Golden) -> None:
    prompt, answer, *_ = case
    parser = form(name).parser(TOOLS, prompt, reasoning=False, calls=False)  # type: ignore[call-arg]
    reasoning, text, calls = read(parser, cut(answer, *range(1, len(answer.encode()))))
    assert (reasoning, calls) == ("", [])
    assert JSON_WEATHER not in answer or JSON_WEATHER in text


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_arguments_come_as_they_are_written(name: str) -> None:
    prompt, answer, *_, calls = GOLDEN[name][0]
    parser = form(name).parser(TOOLS, prompt)
    events = [event for char in answer for event in parser.push(char)]
    pieces = [event for event in events if isinstance(event, ToolCall) and event.index == 0]
    assert not calls or len(pieces) > 4
    assert [event.name for event in pieces if event.name] == [name for name, _ in calls[:1]]


FRAGMENTS = ["{", "}", "[", "]", '"', ":", ",", "\\", "\n", " ", "x", "é", "1", "add", "get_weather", "(", ")", "=",
             "'",
             '{"name": "add", "arguments": {"a": 1}}', '"name"', '"arguments"', "call:", "functions.", ">>>", "all\n",
             "```json", "```", "true", "city", "<", ">", "</", 'name="', '">', "<![CDATA[", "]]>"]  # fmt: skip


@pytest.mark.parametrize("name", sorted(GOLDEN))
@given(data=st.data())
def test_random_streams_never_raise_and_give_the_same_however_cut(name: str, data: st.DataObject) -> None:
    tags = list(TAGS) if name == "harmony" else list(DIALECTS[name].all_tags)
    pieces = [part for _, answer, *_ in GOLDEN[name] for part in (answer[:40], answer[len(answer) // 2 :])]
    parts = data.draw(st.lists(st.sampled_from(FRAGMENTS + tags * 3 + pieces), max_size=25))
    prompt = data.draw(st.sampled_from([prompt for prompt, *_ in GOLDEN[name]]))
    made = form(name)
    found = read(made.parser(TOOLS, prompt), parts)
    assert found == read(made.parser(TOOLS, prompt), list("".join(parts)))
    for called, arguments in found[2][:-1]:
        assert called
        assert arguments


@pytest.mark.parametrize("name", sorted(GOLDEN))
@given(words=st.text(st.characters(exclude_characters='<>[{(]|A"f\t', exclude_categories=("Cs",)), max_size=60))
def test_words_without_tags_come_out_as_they_went_in(name: str, words: str) -> None:
    words = "w" + words
    if name == "functionary_v3_2":
        words = "all\n" + words
    prompt = {"functionary_v3_2": ">>>", "harmony": "<|start|>assistant"}.get(name, "")
    found = read(form(name).parser(TOOLS, prompt), list(words))
    assert found == ("", words.removeprefix("all\n") if name == "functionary_v3_2" else words, [])


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_long_answers_take_linear_time(name: str) -> None:
    """What waits to be understood is looked at again with each push; it is bounded, so the whole is linear."""
    prompt, answer, *_ = GOLDEN[name][0]
    for text in ("word " * 4000, " " * 20000, "<" * 20000, answer[: len(answer) * 2 // 3] + "x" * 20000, "[{" * 10000):
        parser = form(name).parser(TOOLS, prompt)
        assert isinstance(parser, Machine)
        most = 0
        for char in text:
            parser.push(char)
            most = max(most, len(parser.feed))
        parser.finish()
        assert most < 600
