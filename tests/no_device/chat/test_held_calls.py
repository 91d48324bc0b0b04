"""Calls held to the tools' schemas, in every family whose calls can be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.no_device.chat.reading import form, read

import halflap
from halflap.constraints.calls import held
from halflap.constraints.contract import Tokens
from halflap.errors import ConstraintError, InvalidRequestError
from halflap.text.chat.dialects import DIALECTS
from halflap.text.chat.notations import AS_JSON

pytest.importorskip("llguidance")

HELD = [name for name, dialect in DIALECTS.items() if dialect.written] + ["harmony"]
SIMPLE = sorted(
    name
    for name, dialect in DIALECTS.items()
    if (how := dialect.written) and how.arguments is AS_JSON and "{index}" not in how.between
)
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


def takes(tokens: Tokens, name: str, choice: str, text: str, tools: Sequence[Any] = TOOLS) -> bool:
    """Whether an answer is one that the grammar allows, to its end."""
    grammar = form(name).call_grammar(tools, choice, "")
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


NS = "]<]minimax[>["
CALLS = {
    "qwen3_coder": "<tool_call>\n<function=add>\n<parameter=a>\n{a}\n</parameter>\n</function>\n</tool_call>",
    "seed_oss": "<seed:tool_call>\n<function=add>\n<parameter=a>{a}</parameter>\n</function>\n</seed:tool_call>",
    "glm4": "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>{a}</arg_value>\n</tool_call>",
    "minimax_m2": '<minimax:tool_call>\n<invoke name="add">\n<parameter name="a">{a}</parameter>\n</invoke>\n'
    "</minimax:tool_call>",
    "minimax_m3": f'{NS}<tool_call>\n{NS}<invoke name="add">{NS}<a>{{a}}{NS}</a>{NS}</invoke>\n{NS}</tool_call>',
    "minicpm5": '<function name="add"><param name="a">{a}</param></function>',
    "deepseek_v3_2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="add">\n'
    '<｜DSML｜parameter name="a" string="false">{a}'
    "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    "deepseek_v4": '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="add">\n<｜DSML｜parameter name="a" string="false">{a}'
    "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
    '{{"a": {a}}}<|tool_call_end|><|tool_calls_section_end|>',
    "lfm2": "<|tool_call_start|>[add(a={a})]<|tool_call_end|>",
    "gemma4": "<|tool_call>call:add{{a:{a}}}<tool_call|>",
    "harmony": '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{{"a": {a}}}',
}
"""A call as the family's templates write it (gpt-oss: as its models do)."""
PROMPTS = {"harmony": "<|start|>assistant"}


def test_every_family_that_is_held_has_its_calls_here() -> None:
    assert set(CALLS) == set(HELD) - set(SIMPLE)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_other_notations_are_held_and_read_back(name: str, tokens: Tokens) -> None:
    call = CALLS[name].format(a="-12")
    for choice, text in (("required", call), ("add", call), ("auto", f"words {call}"), ("auto", call)):
        assert takes(tokens, name, choice, text), text
    found = read(form(name).parser(TOOLS, PROMPTS.get(name, "")), [call])
    assert [(tool, json.loads(arguments)) for tool, arguments in found[2]] == [("add", {"a": -12})]
    assert found[1] == ""
    for wrong in ("words", call.replace("add", "mul"), CALLS[name].format(a='"x"'), call[:-3]):
        assert wrong == call or not takes(tokens, name, "required", wrong), wrong
        if wrong not in ("words", call[:-3]):
            assert not takes(tokens, name, "auto", f"words {wrong}"), wrong
    other: Any = json.loads(json.dumps(TOOLS).replace('"a"', '"b"'))
    assert not takes(tokens, name, "required", call, other)
    assert not takes(tokens, name, "sub", call)
    assert takes(tokens, name, "none", "words")
    assert takes(tokens, name, "auto", "words")
    assert not takes(tokens, name, "none", call)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_several_calls_follow_each_other(name: str, tokens: Tokens) -> None:
    how = DIALECTS[name].written if name in DIALECTS else None
    call = CALLS[name].format(a="1")
    if how is None or how.join is None:
        several = call * 2 if name != "harmony" else call
    else:
        inner = call[len(how.open) : -len(how.close)]
        several = how.open + inner + how.join + inner + how.close
    for choice in ("required", "auto"):
        assert takes(tokens, name, choice, several), several
    found = read(form(name).parser(TOOLS, PROMPTS.get(name, "")), [several])
    assert len(found[2]) == (1 if name == "harmony" else 2)


def test_ways_that_a_family_is_not_told_of_are_held_too(tokens: Tokens) -> None:
    bare = "<function=add>\n<parameter=a>\n{}\n</parameter>\n</function>\n</tool_call>"
    assert takes(tokens, "qwen3_coder", "auto", "so " + bare.format(4))
    assert not takes(tokens, "qwen3_coder", "auto", "so " + bare.format("x"))
    assert not takes(tokens, "qwen3_coder", "none", "so <function=")
    assert takes(tokens, "harmony", "auto", ' to=functions.add <|constrain|>json<|message|>{"a": 4}')
    assert not takes(tokens, "harmony", "auto", ' to=functions.add <|constrain|>json<|message|>{"a": "x"}')
    assert not takes(tokens, "lfm2", "auto", '<|tool_call_start|>{"name": "add", "arguments": {}}<|tool_call_end|>')


def test_a_name_that_could_not_be_read_is_refused() -> None:
    odd = [{"type": "function", "function": {"name": "my tool>", "parameters": {"type": "object"}}}]
    for name in sorted(set(HELD) - set(SIMPLE)):
        with pytest.raises(InvalidRequestError, match="my tool"):
            form(name).call_grammar(odd, "auto", "")
    assert form("hermes").call_grammar(odd, "auto", "") is not None
