"""Calls held to the tools' schemas, in every family that writes them simply."""

from __future__ import annotations

import json

import pytest
from tests.no_device.chat.reading import form, read

import halflap
from halflap.constraints.calls import held
from halflap.constraints.contract import Tokens
from halflap.errors import ConstraintError
from halflap.text.chat.dialects import DIALECTS

pytest.importorskip("llguidance")

SIMPLE = sorted(name for name, dialect in DIALECTS.items() if dialect.written)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                           "additionalProperties": False},
        },
    }
    for name in ("add", "sub")
]  # fmt: skip


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    tokenizer = halflap.load_tokenizer("starter")
    return Tokens(tokenizer, tokenizer.n_vocab)


def takes(tokens: Tokens, name: str, choice: str, text: str) -> bool:
    """Whether an answer is one that the grammar allows, to its end."""
    grammar = form(name).call_grammar(TOOLS, choice, "")
    assert grammar is not None
    rules = held(tokens, grammar)
    try:
        for token in tokens.tokenizer.encode(text, add_special=False):
            mask = rules.mask()
            if mask is None or not mask[token >> 3] >> (token & 7) & 1:
                return False
            rules.accept(token)
    except ConstraintError:
        return False
    ends = [token for token in tokens.ends if rules.mask()[token >> 3] >> (token & 7) & 1]
    return bool(ends) or rules.complete


def written(name: str, *calls: tuple[str, str]) -> str:
    how = DIALECTS[name].written
    assert how is not None
    texts = [f"{how.before}{tool}{how.between}{arguments}{how.after}" for tool, arguments in calls]
    if how.join is None:
        return "".join(how.open + text + how.close for text in texts)
    return how.open + how.join.join(texts) + how.close


@pytest.mark.parametrize("name", SIMPLE)
def test_required_calls_fit_and_are_read_back(name: str, tokens: Tokens) -> None:
    one, two = written(name, ("add", '{"a": 1}')), written(name, ("add", '{"a": 1}'), ("sub", '{"a": -2}'))
    for text, wanted in ((one, [("add", {"a": 1})]), (two, [("add", {"a": 1}), ("sub", {"a": -2})])):
        assert takes(tokens, name, "required", text), text
        found = read(form(name).parser(TOOLS, ""), [text])
        assert [(tool, json.loads(arguments)) for tool, arguments in found[2]] == wanted
        assert found[1].strip() == ""
    assert not takes(tokens, name, "required", "words")
    assert not takes(tokens, name, "sub", one)
    assert not takes(tokens, name, "required", written(name, ("mul", '{"a": 1}')))
    assert not takes(tokens, name, "required", written(name, ("add", '{"a": "x"}')))


@pytest.mark.parametrize("name", [name for name in SIMPLE if not DIALECTS[name].written.bare])  # type: ignore[union-attr]
def test_free_answers_hold_only_the_calls_that_they_make(name: str, tokens: Tokens) -> None:
    assert takes(tokens, name, "auto", "just words")
    assert takes(tokens, name, "auto", "words " + written(name, ("add", '{"a": 1}')))
    assert not takes(tokens, name, "auto", "words " + written(name, ("mul", '{"a": 1}')))
    assert takes(tokens, name, "none", "just words")
    assert not takes(tokens, name, "none", written(name, ("add", '{"a": 1}')))
