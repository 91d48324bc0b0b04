"""Calls drawn at random in each notation: whatever the logits say, they are read back and their arguments validate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.no_device.chat.reading import form, read
from tests.no_device.chat.test_held_calls import HELD, takes
from tests.no_device.constraints.test_schemas import CONSTANTS, ranges, texts

from halflap.constraints.calls import held
from halflap.constraints.contract import Constraint, Tokens
from halflap.errors import ConstraintError
from halflap.sampling.chain import SamplerChain

ENDS = (
    "</parameter>", "\n</parameter>", "</arg_value>", "</param>", "]]>", '<|"|>',
    "]<]minimax[>[</", "</｜DSML｜parameter>",
    '"', "}", "]", ")", "</function>", "</invoke>", "</tool_call>", "<tool_call|>", "<|tool_call_end|>",
)  # fmt: skip
"""Texts that bring a call to its end."""

LEAVES = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"], "maxLength": 6}),
    st.just({"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 5}]}),
    st.just({"anyOf": [{"type": "boolean"}, {"type": "object", "additionalProperties": {"type": "integer"}},
                       {"type": "string", "minLength": 1, "maxLength": 9}]}),
    st.just({"$ref": "#/$defs/word"}),
    st.just({"$ref": "#/$defs/again"}),
    st.just({"anyOf": [{"$ref": "#/$defs/word"}, {"type": "number"}]}),
    st.just({"type": "string", "pattern": "^/[a-z]+(/[a-z]+)?$|^x", "maxLength": 12}),
    st.just({"type": "string", "pattern": "b[0-9]", "maxLength": 12}),
    st.just({}),
    ranges("integer"),
    ranges("number"),
    texts(),
    st.builds(lambda values: {"enum": values}, st.lists(CONSTANTS, min_size=1, max_size=4, unique_by=json.dumps)),
    st.builds(lambda value: {"const": value}, CONSTANTS),
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "name", "Zed", "x-y", "näme", "city"])


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


@st.composite
def lists(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    least = draw(st.integers(0, 2))
    return {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + draw(st.integers(0, 2))}


VALUES = st.recursive(LEAVES, lambda inner: st.one_of(objects(inner), lists(inner)), max_leaves=5)
PARAMETERS = st.one_of(
    objects(VALUES), st.just({"type": "object"}),
    st.just({"type": "object", "additionalProperties": {"type": "string", "maxLength": 4}}),
)  # fmt: skip
DEFS = {
    "word": {"type": "string", "pattern": "^[0-9a-z]{1,6}$"},
    "again": {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/again"}]}},
              "required": ["next"], "additionalProperties": False},
}  # fmt: skip


def draw(tokens: Tokens, rules: Constraint, seed: int, most: int = 800) -> tuple[str, bool]:
    """An answer from random logits that bend more and more towards what ends a call; whether it came to its end."""
    rng, chain = np.random.default_rng(seed), SamplerChain(["temperature"], {"temperature": 1.0}, seed)
    towards = cache(lambda rest: [t for t, piece in enumerate(pieces) if piece and rest.startswith(piece)])
    pieces = [tokens.tokenizer.token_bytes(token) for token in range(tokens.tokenizer.n_vocab)]
    out = b""
    for step in range(most):
        mask = rules.mask()
        if rules.complete:
            return out.decode(), True
        row = rng.normal(0, 3, tokens.vocab).astype(np.float32)
        rests = [(rest_of(out, end.encode()), end.encode()) for end in ENDS]
        furthest = max(len(end) - len(rest) for rest, end in rests)
        for rest, end in rests:
            if len(end) - len(rest) == furthest:
                row[towards(rest)] += 12 if furthest else min(step / 12, 9)
        row[list(tokens.ends)] += step / 5
        token = chain.choose(row, mask)
        if token in tokens.ends:
            return out.decode(), True
        rules.accept(token)
        out += pieces[token]
    return out.decode("utf-8", "replace"), False


def rest_of(out: bytes, end: bytes) -> bytes:
    """What is left of an ending of which the text may end with the first part."""
    begun = next((n for n in range(len(end) - 1, 0, -1) if out.endswith(end[:n])), 0)
    return end[begun:]


def tools(*parameters: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"tool_{i}", "parameters": p}} for i, p in enumerate(parameters)]


@pytest.mark.parametrize(
    "name", [name for name in HELD if name not in ("hermes", "granite4", "phi", "firefunction_v2")]
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    parameters=st.lists(PARAMETERS, min_size=1, max_size=2),
    seed=st.integers(0, 99),
    choice=st.sampled_from(["required", "tool_0"]),
)
def test_random_calls_are_read_back_and_validate(
    tokens: Tokens, name: str, parameters: list[dict[str, Any]], seed: int, choice: str
) -> None:
    schemas = {f"tool_{i}": {**each, "$defs": DEFS} for i, each in enumerate(parameters)}
    given_tools = tools(*schemas.values())
    made = form(name)
    grammar = made.call_grammar(given_tools, choice, "")  # type: ignore[attr-defined]
    try:
        rules = held(tokens, grammar)
    except ConstraintError as error:
        if "fits" in str(error):  # the schema drawn has a value that nothing, or nothing in this notation, fits
            return
        raise
    answer, ended = draw(tokens, rules, seed)
    if not ended:
        return
    prompt = "<|start|>assistant" if name == "harmony" else ""
    reasoning, text, calls = read(made.parser(given_tools, prompt), [answer])
    assert (reasoning, text.strip()) == ("", ""), answer
    assert calls, answer
    assert choice == "required" or {called for called, _ in calls} == {choice}
    for called, arguments in calls:
        jsonschema.validate(json.loads(arguments), schemas[called])


STRINGS: Sequence[tuple[dict[str, Any], str, bool]] = [
    ({"type": "string"}, "a < b, \n\n \"q\" and </par", True),
    ({"type": "string"}, "12", True),
    ({"type": "string", "maxLength": 3}, "abcd", False),
    ({"type": "string", "minLength": 3}, "ab", False),
    ({"type": "string", "pattern": "^a|c$"}, "abb", True),
    ({"type": "string", "pattern": "^a|c$"}, "bbc", True),
    ({"type": "string", "pattern": "^a|c$"}, "bcb", False),
    ({"type": "string", "pattern": "^https?://[^/]+/(a|b)$"}, "https://x.y/a", True),
    ({"type": "string", "pattern": "^https?://[^/]+/(a|b)$"}, "https://x.y/c", False),
    ({"enum": ["red", "12", "a b"]}, "a b", True),
    ({"enum": ["red", "12", "a b"]}, "12", True),
    ({"enum": ["red", "12", "a b"]}, "a", False),
    ({"type": ["string", "null"]}, "2 words", True),
    ({"type": ["string", "null"]}, "null", True),
    ({"type": ["string", "null"]}, "true", False),
    ({"type": ["string", "null"]}, "[1", False),
    ({"type": ["string", "integer"]}, "-7", True),
    ({"type": ["string", "integer"]}, "-7.5", False),
    ({}, '{"a": [1, "</parameter>"]}', True),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "fits"), STRINGS)
def test_strings_stand_between_tags_as_they_are(tokens: Tokens, schema: dict[str, Any], value: str, fits: bool) -> None:
    wanted = tools({"type": "object", "properties": {"v": schema}, "required": ["v"]})
    text = f"<tool_call>\n<function=tool_0>\n<parameter=v>\n{value}\n</parameter>\n</function>\n</tool_call>"
    assert takes(tokens, "qwen3_coder", "required", text, wanted) is fits
    if fits:
        ((_, arguments),) = read(form("qwen3_coder").parser(wanted, ""), [text])[2]
        jsonschema.validate(json.loads(arguments)["v"], schema)
        assert json.loads(arguments)["v"] in (value, {"a": [1, "</parameter>"]}, None, -7)


def test_no_string_holds_the_tag_that_ends_it(tokens: Tokens) -> None:
    wanted = tools({"type": "object", "properties": {"v": {"type": "string"}}, "required": ["v"]})
    text = "<tool_call>\n<function=tool_0>\n<parameter=v>\na</parameter>b\n</parameter>\n</function>\n</tool_call>"
    assert not takes(tokens, "qwen3_coder", "required", text, wanted)
    cdata = '<function name="tool_0"><param name="v"><![CDATA[a</param>b]]></param></function>'
    assert takes(tokens, "minicpm5", "required", cdata, wanted)
    assert json.loads(read(form("minicpm5").parser(wanted, ""), [cdata])[2][0][1]) == {"v": "a</param>b"}


def test_what_a_notation_cannot_write_is_refused(tokens: Tokens) -> None:
    for name, key in (("qwen3_coder", "a>b"), ("lfm2", "two words"), ("gemma4", 'x<|"|>')):
        wanted = tools({"type": "object", "properties": {key: {"type": "string"}}, "required": [key]})
        with pytest.raises(ConstraintError, match="must be there"):
            takes(tokens, name, "required", "x", wanted)
        optional = tools({"type": "object", "properties": {key: {"type": "string"}}})
        assert form(name).call_grammar(optional, "auto", "") is not None  # type: ignore[attr-defined]
        held(tokens, form(name).call_grammar(optional, "auto", ""))  # type: ignore[attr-defined]
    nothing = tools({"properties": {"v": {"enum": ["</parameter>"]}}, "required": ["v"]})
    with pytest.raises(ConstraintError, match="fits"):
        takes(tokens, "seed_oss", "required", "x", nothing)
