"""JSON schemas drawn at random: whatever the logits say, an answer parses and validates."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import halflap
from halflap.constraints.builtin import json_schema
from halflap.constraints.contract import Tokens

Drawn = Callable[..., tuple[str, str]]
NAMES = st.sampled_from(["a", "b", "name", "näme", "with space", 'quo"te', "$x"])
PATTERNS = ["^[a-z]{2,5}$", "^(yes|no)+$", "^[A-Z][0-9]{1,3}-?x$", "^\\d{4}-\\d{2}$", '^[^aeiou"]{1,6}$']
CONSTANTS = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=5), st.lists(st.integers(0, 9)))


@st.composite
def ranges(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    low = draw(st.integers(-2000, 2000))
    schema: dict[str, Any] = {"type": kind}
    if draw(st.booleans()):
        schema["minimum"] = low
    if draw(st.booleans()):
        schema["maximum"] = low + draw(st.integers(0, 5000))
    if kind == "integer" and draw(st.booleans()):
        schema = {"type": kind, "exclusiveMinimum": low, "exclusiveMaximum": low + draw(st.integers(2, 500))}
    return schema


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "string", "pattern": draw(st.sampled_from(PATTERNS))}
    least = draw(st.integers(0, 3))
    return {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 9))}


LEAVES = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    ranges("integer"),
    ranges("number"),
    texts(),
    st.builds(lambda values: {"enum": values}, st.lists(CONSTANTS, min_size=1, max_size=4, unique_by=json.dumps)),
    st.builds(lambda value: {"const": value}, CONSTANTS),
    st.just({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/again"}]}),
)


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    properties = draw(st.dictionaries(NAMES, inner, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    more = draw(st.sampled_from([False, {"type": "integer"}]))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": more}


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    least = draw(st.integers(0, 2))
    schema = {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + draw(st.integers(0, 3))}
    if draw(st.booleans()):
        first = draw(st.lists(inner, min_size=1, max_size=2))
        schema = {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}
    return schema


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.builds(lambda several: {"anyOf": several}, st.lists(inner, min_size=1, max_size=3))
    return st.one_of(objects(inner), arrays(inner), several)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    root = draw(st.recursive(LEAVES, nested, max_leaves=12))
    again = {
        "type": "object",
        "properties": {"value": draw(LEAVES), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/again"}]}},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {**root, "$defs": {"again": again}}


def check(tokens: Tokens, drawn: Drawn, schema: dict[str, Any], seed: int) -> None:
    text, reason = drawn(json_schema(tokens, schema), seed)
    assert reason == "stop", (schema, text)
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@settings(max_examples=60, **QUIET)
@given(schema=schemas(), seed=st.integers(0, 1 << 30))
def test_answers_to_random_schemas_parse_and_validate(
    tokens: Tokens, drawn: Drawn, schema: dict[str, Any], seed: int
) -> None:
    check(tokens, drawn, schema, seed)


@pytest.mark.slow
@settings(max_examples=1000, **QUIET)
@given(schema=schemas(), seed=st.integers(0, 1 << 30))
def test_answers_to_a_thousand_random_schemas_parse_and_validate(
    tokens: Tokens, drawn: Drawn, schema: dict[str, Any], seed: int
) -> None:
    check(tokens, drawn, schema, seed)


def test_a_model_answers_random_schemas() -> None:
    with halflap.load("starter", ctx=512) as model:

        @settings(max_examples=15, **QUIET)
        @given(schema=schemas(), seed=st.integers(0, 1 << 30))
        def answers(schema: dict[str, Any], seed: int) -> None:
            done = model.generate("Here it is: ", json_schema=schema, seed=seed, temperature=1.5, max_tokens=400)
            if done.finish_reason == "stop":
                jsonschema.Draft202012Validator(schema).validate(json.loads(done.text))

        answers()
