"""What ends an answer beside the model, and what is told of its tokens: llama-server's fields."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

import halflap
from halflap.engine.overflow import shortened
from halflap.errors import InvalidRequestError
from halflap.text.stop_strings import Indentation

POEM = 'root ::= "one\\n" "  two\\n" " three\\n" "four"'


@pytest.fixture(scope="module")
def model() -> Iterator[halflap.Model]:
    with halflap.load("starter", ctx=256) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("least", "shown"),
    [(0, "one\n  two\n three\nfour"), (1, "one\n  two\n three\n"), (2, "one\n  two\n "), (3, "one\n  ")],
)
def test_an_answer_ends_before_a_line_that_is_not_indented_enough(model: halflap.Model, least: int, shown: str) -> None:
    pytest.importorskip("llguidance")
    done = model.generate("So: ", grammar=POEM, n_indent=least, temperature=0, max_tokens=90)
    assert done.text == shown
    assert done.finish_reason == ("length" if least else "stop")


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_indentation_is_seen_however_the_text_is_cut(size: int) -> None:
    text = "a\n    b c\n  \td\n   e"
    for least, shown in ((3, text), (4, "a\n    b c\n  \t"), (5, "a\n    "), (0, text)):
        seen = Indentation(least)
        assert "".join(seen.push(text[i : i + size]) for i in range(0, len(text), size)) == shown
        assert seen.ended is (shown != text)
        assert seen.push("more") == ("" if seen.ended else "more")
    empty = Indentation(1)
    assert (empty.push("a\n\nb"), empty.ended) == ("a\n", True)


def test_the_time_of_an_answer_counts_once_it_has_a_line_break(model: halflap.Model) -> None:
    pytest.importorskip("llguidance")
    options: dict[str, Any] = {"t_max_predict_ms": 1, "temperature": 0, "max_tokens": 200, "ignore_eos": True}
    one = model.generate("So: ", regex="[a-z]{60}", **options)
    assert (len(one.text), one.finish_reason) == (60, "stop")
    lines = model.generate("So: ", regex="[a-z]{30}\n[a-z]{30}\n[a-z]{400}", **options)
    assert lines.finish_reason == "length"
    assert 1 <= lines.text.count("\n") < 3
    assert len(lines.tokens) < 200
    free = model.generate("So: ", regex="[a-z]{5}\n[a-z]{5}", **{**options, "t_max_predict_ms": 600_000})
    assert (len(free.text), free.finish_reason) == (11, "stop")


def test_chances_after_the_samplers_are_those_of_what_they_left(model: halflap.Model) -> None:
    options: dict[str, Any] = {"top_k": 3, "temperature": 0.7, "seed": 4, "max_tokens": 12, "logprobs": 5}
    before = model.generate("The fox", **options)
    after = model.generate("The fox", post_sampling_probs=True, **options)
    assert [t.id for t in after.tokens] == [t.id for t in before.tokens]
    for token, raw in zip(after.tokens, before.tokens, strict=True):
        chances = {i: math.exp(p) for i, p in token.top}
        assert len(chances) <= 3
        assert sum(chances.values()) == pytest.approx(1)
        assert math.exp(token.logprob or 0) == pytest.approx(chances[token.id])
        told = {i: p / 0.7 for i, p in raw.top if i in chances}  # by hand: the three likeliest at that temperature
        whole = sum(map(math.exp, told.values()))
        if len(told) == len(chances):
            assert chances == pytest.approx({i: math.exp(p) / whole for i, p in told.items()}, rel=1e-3)
    greedy = model.generate("The fox", post_sampling_probs=True, temperature=0, max_tokens=3, logprobs=5)
    assert [(t.logprob, len(t.top)) for t in greedy.tokens] == [(0.0, 1)] * 3


@pytest.mark.parametrize("how", ["drop_oldest", "drop_middle"])
@pytest.mark.parametrize("keep", [0, 1, 5, 12, 19, 40])
def test_overflow_leaves_the_beginning_that_is_to_stay(how: Any, keep: int) -> None:
    ids = list(range(20))
    found = shortened(ids, 20, how, keep)
    stays = min(keep, 16)
    assert found[: max(stays, 1)] == ids[: max(stays, 1)]
    assert found[-1] == 19
    assert found == sorted(set(found))
    assert len(found) == stays + (20 - stays) // 2
    assert shortened(ids[:5], 20, how, keep) == ids[:5]


def test_a_prompt_stays_through_overflow(model: halflap.Model) -> None:
    prompt = "Once upon a time there was a fox who liked the river and the hills. " * 3
    options: dict[str, Any] = {"overflow": "drop_oldest", "ignore_eos": True, "temperature": 0, "max_tokens": 330}
    kept = model.generate(prompt, n_keep=-1, **options)
    dropped = model.generate(prompt, **options)
    assert len(kept.tokens) == len(dropped.tokens) == 330
    assert [t.id for t in kept.tokens] != [t.id for t in dropped.tokens]
    ids = model.tokenize(prompt)
    before = 256 - len(ids)  # tokens until the context is full; then only the prompt and half of the rest are seen
    seen = shortened([*ids, *(t.id for t in kept.tokens[:before])], 256, "drop_oldest", len(ids))
    assert seen[: len(ids)] == ids
    again = model.generate(seen, **{**options, "max_tokens": 4})
    assert [t.id for t in again.tokens] == [t.id for t in kept.tokens[before : before + 4]]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n_keep", -2), ("n_indent", -1), ("t_max_predict_ms", -1), ("post_sampling_probs", 1), ("mirostat", 3),
        ("mirostat", True),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(model: halflap.Model, option: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=option):
        model.generate("x", **{option: value})
