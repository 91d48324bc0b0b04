"""Which constraint a request asks for, by its flat options or by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from halflap import plugins
from halflap.constraints.contract import Constraint, Tokens
from halflap.errors import ConstraintError, HalflapError, InvalidRequestError
from halflap.sampling.chain import Use
from halflap.text.chat.contract import NO_THOUGHTS, CallGrammar, Thoughts

FLAT = {"json_schema": "schema", "regex": "pattern", "choice": "texts", "grammar": "grammar"}
"""Option -> what its constraint calls the value."""


def held(options: Mapping[str, Any]) -> list[str]:
    """The options of a request that say what the answer must be."""
    return [name for name in ("constraint", *FLAT) if options.get(name) is not None]


def constraint(
    options: Mapping[str, Any], tools: CallGrammar | None, tokens: Tokens, thoughts: Thoughts = NO_THOUGHTS
) -> Constraint | None:
    """What a request's answer is held to, compiled; None where it asks for nothing.

    Args:
        tools: how the chat's tools are called, where `tool_choice` wants calls to be held to them.
        thoughts: those that may come first, and are free.

    Raises:
        InvalidRequestError: more than one, or options that its constraint does not take.
        NotRegisteredError: a name nobody offers.
        ConstraintError: it cannot be compiled.
    """
    asked = held(options)
    if tools is not None:
        asked.append("tool_choice")
    if len(asked) > 1:
        raise InvalidRequestError("constraints", got=" and ".join(asked), want="at most one of them", field=asked[1])
    if not asked:
        return None
    words = thoughts.words if tools is None else ""

    def make() -> Constraint:
        return _held_calls(tools, tokens) if tools is not None else _held_words(asked[0], options, tokens)

    if not (thoughts.opened or thoughts.may_open or words):
        return make()
    from halflap.constraints.thoughts import AfterThoughts

    return AfterThoughts(tokens, thoughts, words, make)


def _held_calls(tools: CallGrammar, tokens: Tokens) -> Constraint:
    from halflap.constraints import calls  # with the first that is asked for: most processes never do

    return calls.held(tokens, tools)


def _held_words(field: str, options: Mapping[str, Any], tokens: Tokens) -> Constraint:
    value = options[field]
    if field != "constraint":
        from halflap.constraints.builtin import notation

        return _made(notation(value) if field == "grammar" else field, {FLAT[field]: value}, field, tokens)
    if isinstance(value, Use):
        return _made(value.name, value.options, field, tokens)
    return _made(value, {}, field, tokens)


def _made(name: str, given: Mapping[str, Any], field: str, tokens: Tokens) -> Constraint:
    factory = plugins.get("constraints", name)
    takes = list(inspect.signature(factory).parameters)[1:]
    unknown = sorted(set(given) - set(takes))
    if unknown:
        raise InvalidRequestError(
            f"option of constraint {name!r}", got=repr(unknown[0]), want=f"one of {takes}", field=field
        )
    try:
        made: Constraint = factory(tokens, **given)
    except HalflapError as error:
        if isinstance(error, ConstraintError) and field == "constraint":
            error.field = field
        raise
    except Exception as cause:
        raise ConstraintError(
            f"constraint {name!r}", got=f"{type(cause).__name__}: {cause}", want="options it can use", field=field
        ) from cause
    return made
