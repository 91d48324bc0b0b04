"""Thoughts before what is held: free but for their end, whatever tokens spell the tags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from halflap.constraints.asked import constraint
from halflap.constraints.builtin import choice, regex
from halflap.constraints.contract import Constraint, Tokens
from halflap.constraints.thoughts import AfterThoughts
from halflap.text.chat.contract import Thoughts

Drawn = Callable[..., tuple[str, str]]
MARKED = (("<think>", "</think>"),)
SPELLED = (("<hm>", "</hm>"),)
"""No token of the vocabulary is such a tag."""


def allows(rules: Constraint, token: int) -> bool:
    mask = rules.mask()
    return mask is None or bool(mask[token >> 3] >> (token & 7) & 1)


def takes(rules: Constraint, tokens: Tokens, parts: Sequence[str]) -> bool:
    """Whether an answer may come, each part tokenised by itself, and may end there."""
    for part in parts:
        for token in tokens.tokenizer.encode(part, add_special=False, parse_special=True):
            if not allows(rules, token):
                return False
            rules.accept(token)
    return rules.complete or any(allows(rules, end) for end in tokens.ends)


def held(tokens: Tokens, thoughts: Thoughts, words: str = "", pattern: str = "[a-z]{3}") -> Constraint:
    return AfterThoughts(tokens, thoughts, words, lambda: regex(tokens, pattern))


@pytest.mark.parametrize("tags", [MARKED, SPELLED])
@pytest.mark.parametrize(
    ("opened", "parts", "wanted"),
    [
        (True, ["so: 12 {", "</>", "\n\n", "abc"], True),
        (True, ["</>", "abc"], True),
        (True, ["so", "</>", "\n", "abcd"], False),
        (True, ["abc"], False),
        (True, ["so", "</>"], False),
        (True, ["</>", "abc", "</>"], False),
        (False, ["<>", "so: 12 {", "</>", "\n\n", "abc"], True),
        (False, ["abc"], True),
        (False, ["<>", "abc"], False),
        (False, ["so", "<>", "x", "</>", "abc"], False),
        (False, ["\n", "abc"], False),
        (False, ["abc", "<>"], False),
    ],
)
def test_what_is_held_begins_behind_the_thought(
    tokens: Tokens, tags: Any, opened: bool, parts: list[str], wanted: bool
) -> None:
    opens, closes = tags[0]
    thoughts = Thoughts(tags, closes if opened else "", not opened)
    said = [{"<>": opens, "</>": closes}.get(part, part) for part in parts]
    assert takes(held(tokens, thoughts), tokens, said) is wanted


def test_an_opening_that_what_is_held_could_begin_with_is_either(tokens: Tokens) -> None:
    for tags in (MARKED, SPELLED):
        opens, closes = tags[0]
        for text, wanted in (
            ([opens, "so", closes, "<hm"], True), (["<hm"], True), ([opens[:-1]], True), ([opens, "<hm"], False),
            ([opens, closes], False),
        ):  # fmt: skip
            rules = held(tokens, Thoughts(tags, "", True), pattern="<[a-z]{2,5}")
            assert takes(rules, tokens, text) is wanted, text


def test_words_that_must_stand_before_an_answer_do(tokens: Tokens) -> None:
    thoughts = Thoughts(SPELLED, "", True, turn="<turn>", words="<words>")
    for parts, wanted in (
        (["<words>", "abc"], True), (["<hm>", "x", "</hm>", "<turn><words>", "abc"], True), (["abc"], False),
        (["<hm>", "x", "</hm>", "abc"], False), (["<hm>", "x", "</hm>", "<words>", "abc"], False),
        (["<turn><words>", "abc"], False), (["<words>", "<words>", "abc"], False),
    ):  # fmt: skip
        assert takes(held(tokens, thoughts, "<words>"), tokens, parts) is wanted, parts
    assert takes(held(tokens, Thoughts(SPELLED, "</hm>", turn="<t>")), tokens, ["x</hm>", "<t>", "abc"])
    assert takes(held(tokens, Thoughts(SPELLED), "<words>"), tokens, ["<words>", "abc"])


def test_a_call_ends_a_thought_only_where_calls_are_held(tokens: Tokens) -> None:
    begins = "</think>"  # a token of its own, taken for what begins a call
    thoughts = Thoughts((("<hm>", "</hm>"),), "</hm>", breaks=(begins,))
    calls = held(tokens, thoughts, pattern=f"{begins}[0-9]{{2}}")
    assert takes(calls, tokens, ["so ", begins, "12"])
    assert takes(held(tokens, thoughts, pattern=f"{begins}[0-9]{{2}}"), tokens, ["so ", "</hm>", begins, "12"])
    assert not takes(held(tokens, thoughts), tokens, ["so ", begins, "abc"])
    spelled = [tokens.tokenizer.encode(char, add_special=False)[0] for char in begins]
    rules = held(tokens, thoughts)
    for token in spelled[:-1]:
        assert allows(rules, token)
        rules.accept(token)
    assert not allows(rules, spelled[-1])


@pytest.mark.parametrize("tags", [MARKED, SPELLED])
@pytest.mark.parametrize("seed", range(20))
def test_random_thoughts_end_and_what_follows_fits(tokens: Tokens, tags: Any, seed: int) -> None:
    """Tokens drawn at random, those of the closing tag now and then; what runs on behind it is never drawn."""
    rng, (opens, closes) = np.random.default_rng(seed), tags[0]
    rules = held(tokens, Thoughts(tags, "", True), pattern="[a-z]{2}-[0-9]{2}")
    pull = [*tokens.tokenizer.encode(opens, add_special=False, parse_special=True)]
    out = b""
    for _ in range(3000):
        if rules.complete:
            break
        mask = np.unpackbits(np.asarray(rules.mask()), bitorder="little")[: tokens.vocab].astype(bool)
        drafted = rules.drafted(pull)
        assert not drafted or mask[drafted[0]] or not rules.drafted(pull[:1])
        near = [t for t in np.flatnonzero(mask) if rng.random() < 0.5 and fits(out, tokens, t, closes)]
        token = pull.pop(0) if pull and mask[pull[0]] else int(rng.choice(near or np.flatnonzero(mask)))
        rules.accept(token)
        rules.ahead()
        out += tokens.tokenizer.token_bytes(token)
    text = out.decode("utf-8", "replace")
    assert text.startswith(opens)
    assert re.fullmatch(r"\s*[a-z]{2}-[0-9]{2}", text.partition(closes)[2]), text[-60:]


def fits(out: bytes, tokens: Tokens, token: int, closes: str) -> bool:
    """Whether a token goes on with the closing tag where one has begun, or begins one, now and then."""
    text = tokens.tokenizer.token_bytes(token)
    begun = next((n for n in range(len(closes), 0, -1) if out.endswith(closes[:n].encode())), 0)
    rest = closes.encode()[begun:]
    return bool(text) and (rest.startswith(text) or text.startswith(rest)) and (begun > 0 or len(out) > 60)


def test_an_answer_may_be_nothing_but_a_thought(tokens: Tokens) -> None:
    rules = AfterThoughts(tokens, Thoughts(MARKED, "</think>"), "", lambda: choice(tokens, [""]))
    assert not rules.complete
    for token in tokens.tokenizer.encode("hm</think>", add_special=False, parse_special=True):
        rules.accept(token)
    assert rules.complete


def test_without_thoughts_nothing_stands_between(tokens: Tokens) -> None:
    rules = constraint({"regex": "a"}, None, tokens)
    assert not isinstance(rules, AfterThoughts)
    assert not isinstance(constraint({"regex": "a"}, None, tokens, Thoughts(MARKED)), AfterThoughts)
    assert constraint({}, None, tokens, Thoughts(MARKED, "</think>")) is None


def test_answers_drawn_behind_an_open_thought_fit(tokens: Tokens, drawn: Drawn) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    close = tokens.tokenizer.token_to_id("</think>")
    for seed in range(10):
        rules = constraint({"json_schema": schema}, None, tokens, Thoughts(MARKED, "</think>"))
        assert rules is not None
        for token in tokens.tokenizer.encode("let me { see", add_special=False):
            rules.accept(token)
        rules.accept(close)  # type: ignore[arg-type]
        text, why = drawn(rules, seed)
        assert why == "stop"
        assert set(json.loads(text)) == {"a"}
