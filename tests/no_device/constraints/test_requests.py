"""Constraints as requests ask for them: by option, by name, beside tools; what ends an answer; what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import halflap
from halflap import Use, plugins
from halflap.constraints.contract import Bits, Tokens, packed
from halflap.errors import ConstraintError, InvalidRequestError, NotRegisteredError, TemplateError

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ALL: dict[str, Any] = {"max_tokens": 100, "temperature": 1.5, "seed": 3}


@pytest.fixture(scope="module")
def model() -> Iterator[halflap.Model]:
    with halflap.load("starter", ctx=512) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("options", "fits"),
    [
        ({"json_schema": PERSON}, lambda text: set(json.loads(text)) == {"name", "age"}),
        ({"json_schema": json.dumps(PERSON)}, lambda text: set(json.loads(text)) == {"name", "age"}),
        ({"json_schema": {"enum": ["é", 4]}}, lambda text: json.loads(text) in ("é", 4)),
        (
            {"json_schema": {**PERSON, "x-guidance": {"whitespace_flexible": False}}},
            lambda text: text[8] == '"',
        ),
        ({"regex": "[a-z]{3}-[0-9]{2}"}, lambda text: len(text) == 6 and text[3] == "-"),
        ({"choice": ["yes", "no", "yesterday"]}, lambda text: text in ("yes", "no", "yesterday")),
        ({"grammar": 'root ::= ("a" | "b"){4}'}, lambda text: len(text) == 4 and set(text) <= set("ab")),
        ({"grammar": "start: /[0-9]{3}/ END\nEND: /!/"}, lambda text: text[:3].isdigit() and text[3:] == "!"),
        ({"grammar": '%llguidance {}\nstart: "x"'}, lambda text: text == "x"),
        ({"constraint": Use("regex", pattern="ab{3}")}, lambda text: text == "abbb"),
        ({"constraint": Use("lark", grammar='start: "q"')}, lambda text: text == "q"),
    ],
)
def test_answers_fit(model: halflap.Model, options: dict[str, Any], fits: Callable[[str], bool]) -> None:
    done = model.generate("So: ", **options, **ALL)
    assert done.finish_reason == "stop"
    assert fits(done.text), done.text


def test_an_answer_ends_when_nothing_may_follow_even_where_ends_are_ignored(model: halflap.Model) -> None:
    done = model.generate("So: ", regex="[ab]{5}", ignore_eos=True, **ALL)
    assert (done.finish_reason, len(done.text)) == ("stop", 5)
    assert model.generate("So: ", choice=[""], ignore_eos=True, **ALL).text == ""
    assert model.generate("So: ", choice=[""], **ALL).text == ""


def test_other_ends_are_as_ever(model: halflap.Model) -> None:
    cut = model.generate("So: ", regex="a{500}", **{**ALL, "max_tokens": 3})
    assert cut.finish_reason == "length"
    stopped = model.generate("So: ", regex="a+b{20}c+", stop="bb", **{**ALL, "max_tokens": 400, "temperature": 3.0})
    assert stopped.finish_reason == "stop"
    assert set(stopped.text) == {"a"}


def test_several_streams_each_have_their_own(model: halflap.Model) -> None:
    streams = model.streams("So: ", 5, regex="[a-z]{2,6}!", **ALL)
    answers = [stream.result().text for stream in streams]
    assert all(text.endswith("!") and text[:-1].isalpha() for text in answers)
    assert len(set(answers)) > 1


def test_any_json_object_by_name(model: halflap.Model) -> None:
    done = model.generate("So: ", constraint="json", logit_bias={}, **{**ALL, "temperature": 0.3})
    assert done.finish_reason == "length" or isinstance(json.loads(done.text), dict)
    assert done.text.startswith("{")


@pytest.mark.parametrize(
    ("options", "error", "field"),
    [
        ({"json_schema": "{"}, ConstraintError, "json_schema"),
        ({"json_schema": "7"}, ConstraintError, "json_schema"),
        ({"json_schema": {"type": "nope"}}, ConstraintError, "json_schema"),
        ({"json_schema": False}, ConstraintError, "json_schema"),
        ({"json_schema": {"x-guidance": 3}}, ConstraintError, "json_schema"),
        ({"json_schema": {"x-guidance": {"nope": 3}}}, ConstraintError, "json_schema"),
        ({"json_schema": {"const": object()}}, ConstraintError, "json_schema"),
        ({"json_schema": {"const": "\ud800"}}, ConstraintError, "json_schema"),
        ({"json_schema": 3}, InvalidRequestError, "json_schema"),
        ({"regex": "(a"}, ConstraintError, "regex"),
        ({"regex": "(?=a)b"}, ConstraintError, "regex"),
        ({"regex": "\ud800"}, ConstraintError, "regex"),
        ({"regex": 3}, InvalidRequestError, "regex"),
        ({"choice": []}, InvalidRequestError, "choice"),
        ({"choice": "yes"}, InvalidRequestError, "choice"),
        ({"grammar": "root ::= x"}, ConstraintError, "grammar"),
        ({"grammar": "start: x"}, ConstraintError, "grammar"),
        ({"constraint": "nope"}, NotRegisteredError, None),
        ({"constraint": 3}, InvalidRequestError, "constraint"),
        ({"constraint": "regex"}, ConstraintError, "constraint"),
        ({"constraint": Use("regex", q=1)}, InvalidRequestError, "constraint"),
        ({"constraint": Use("regex", pattern="(")}, ConstraintError, "constraint"),
        ({"constraint": Use("regex", pattern=3)}, ConstraintError, "constraint"),
        ({"constraint": Use("choice", texts=[3])}, ConstraintError, "constraint"),
        ({"constraint": Use("gbnf", grammar=3)}, ConstraintError, "constraint"),
        ({"constraint": Use("lark", grammar=None)}, ConstraintError, "constraint"),
        ({"regex": "a", "choice": ["b"]}, InvalidRequestError, "choice"),
        ({"tool_choice": "required"}, InvalidRequestError, "tool_choice"),
        ({"tool_choice": 3}, InvalidRequestError, "tool_choice"),
    ],
)
def test_what_cannot_be_used_is_named(
    model: halflap.Model, options: dict[str, Any], error: type[Exception], field: str | None
) -> None:
    with pytest.raises(error) as raised:
        model.generate("So: ", **options, max_tokens=3)
    assert getattr(raised.value, "field", None) == field


def test_a_ban_of_all_that_is_allowed_fails_the_request(model: halflap.Model) -> None:
    ban = {token: -float("inf") for token in range(model.info.vocab) if model.tokenizer.token_bytes(token) in (b"a",)}
    with pytest.raises(ConstraintError, match="no token"):
        model.generate("So: ", regex="a", logit_bias=ban, max_tokens=3)


def test_without_llguidance_the_mend_is_named(model: halflap.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    for option in ({"regex": "a"}, {"json_schema": {}}, {"choice": ["a"]}, {"grammar": 'root ::= "a"'}):
        with pytest.raises(ConstraintError, match=r"halflap\[constraints\]") as raised:
            model.generate("So: ", **option, max_tokens=3)
        assert raised.value.field == next(iter(option))


class Even:
    """A plugin's constraint: even ids only, and so many of them."""

    def __init__(self, tokens: Tokens, count: int = 4) -> None:
        self._bits = packed(np.arange(tokens.vocab) % 2 == 0)
        self._left = count

    def mask(self) -> Bits:
        return self._bits

    def accept(self, token: int) -> None:
        if token % 2:
            raise ZeroDivisionError("odd")
        self._left -= 1

    def drafted(self, draft: Sequence[int]) -> Sequence[int]:
        return ()

    def ahead(self) -> None:
        pass

    @property
    def complete(self) -> bool:
        return self._left == 0


@pytest.fixture
def even() -> Iterator[type[Even]]:
    class Plugin:
        @staticmethod
        @halflap.hookimpl
        def register_constraints(register: Callable[..., None]) -> None:
            register("even", Even, about="even ids")

    plugins.register(Plugin, name="acme")
    yield Even
    plugins.unregister("acme")


def test_a_plugin_constrains_by_name(model: halflap.Model, even: type[Even], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**ALL, "ignore_eos": True}
    done = model.generate("So: ", constraint="even", **options)
    assert [t.id % 2 for t in done.tokens] == [0] * 4
    assert done.finish_reason == "stop"
    assert len(model.generate("So: ", constraint=Use("acme:even", count=7), **options).tokens) == 7
    monkeypatch.setattr(Even, "mask", lambda self: np.zeros(3, np.uint8))
    with pytest.raises(ConstraintError, match="a bit for each"):
        model.generate("So: ", constraint="even", **options)
    monkeypatch.setattr(Even, "mask", lambda self: None)
    with pytest.raises(ConstraintError, match="ZeroDivisionError"):
        model.generate("So: ", constraint="even", **{**options, "max_tokens": 400})
    monkeypatch.setattr(Even, "__init__", lambda self, tokens: 1 / 0)
    with pytest.raises(ConstraintError, match="ZeroDivisionError"):
        model.generate("So: ", constraint="even", **options)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
            "$defs": {"city": {"type": "string", "maxLength": 10}},
        },
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
ASK = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.mark.parametrize("choice", ["required", "get_weather", "now"])
@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_calls_fit_the_tools(model: halflap.Model, choice: str, thinking: bool, seed: int) -> None:
    done = model.chat(
        ASK,
        tools=[WEATHER, NOW],
        tool_choice=choice,
        enable_thinking=thinking,
        seed=seed,
        max_tokens=150,
        temperature=2,
    )
    assert done.finish_reason == "tool_calls"
    assert not done.text.strip()
    for call in done.tool_calls:
        assert choice in ("required", call.name)
        arguments = json.loads(call.arguments)
        assert set(arguments) == ({"city", "unit"} if call.name == "get_weather" else set())


def test_free_text_stays_free_until_a_call_begins(model: halflap.Model) -> None:
    hot: dict[str, Any] = {"temperature": 3.0, "max_tokens": 60}
    for seed in range(4):
        done = model.chat(ASK, tools=[WEATHER], tool_choice="auto", seed=seed, **hot)
        assert all(set(json.loads(call.arguments)) == {"city", "unit"} for call in done.tool_calls)
        none = model.chat(ASK, tools=[WEATHER], tool_choice="none", seed=seed, **hot)
        assert not none.tool_calls
        assert "<tool_call>" not in none.text


def test_tool_choices_that_cannot_be(model: halflap.Model) -> None:
    for tools, choice, field in (
        ([WEATHER], "other", "tool_choice"),
        ([{"name": 3}], "auto", "tools"),
        ([{"type": "function", "function": {"name": "f", "parameters": {"type": "nope"}}}], "auto", "tools"),
    ):
        with pytest.raises((InvalidRequestError, ConstraintError, TemplateError)) as raised:
            model.chat(ASK, tools=tools, tool_choice=choice, max_tokens=3)
        assert getattr(raised.value, "field", field) == field
    with pytest.raises(InvalidRequestError, match="at most one"):
        model.chat(ASK, tools=[WEATHER], tool_choice="auto", regex="a", max_tokens=3)
