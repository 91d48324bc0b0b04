"""From a body's fields to the options of a Halflap request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from halflap_server.bodies import ResponseFormat, Sampling, Thinking
from halflap_server.errors import invalid

SAME = (
    "temperature top_p min_p typical_p top_n_sigma min_keep repeat_penalty repeat_last_n presence_penalty "
    "frequency_penalty dry_multiplier dry_base dry_allowed_length dry_penalty_last_n dry_sequence_breakers "
    "xtc_probability xtc_threshold dynatemp_range dynatemp_exponent mirostat mirostat_tau mirostat_eta ignore_eos stop "
    "json_schema grammar regex choice adapters priority timeout overflow n_keep user"
).split()
"""Fields that are options of the same name."""

THINKING = (
    "reasoning reasoning_effort reasoning_budget reasoning_format enable_thinking chat_template_kwargs "
    "parse_tool_calls add_generation_prompt"
).split()

SAMPLERS = {"typ_p": "typical_p", "temp": "temperature", "dist": None, "nucleus": "top_p", "top-k": "top_k"}
"""llama-server's other names; None: always there."""
LETTERS = {
    "d": "dry", "k": "top_k", "y": "typical_p", "p": "top_p", "s": "top_n_sigma", "m": "min_p", "t": "temperature",
    "x": "xtc", "e": "penalties",
}  # fmt: skip


def sampling(
    body: Sampling, known: Sequence[str], adapters: Sequence[str], ids_of: Callable[[str], Sequence[int]]
) -> dict[str, Any]:
    """The options that every generating body may hold.

    Args:
        ids_of: a text's tokens.
        known: names of registered samplers.
        adapters: names of the model's adapters in the order of their ids.
    """
    options: dict[str, Any] = {name: value for name in SAME if (value := getattr(body, name)) is not None}
    if body.top_k is not None:
        options["top_k"] = max(body.top_k, 0)
    if body.seed is not None and body.seed >= 0:
        options["seed"] = body.seed
    if body.cache_prompt is not None:
        options["cache"] = body.cache_prompt
    if body.samplers is not None:
        options["samplers"] = _samplers(body.samplers, known)
    if body.logit_bias is not None:
        options["logit_bias"] = _biases(body.logit_bias, ids_of)
    if body.lora is not None:
        options["adapters"] = {_adapter(entry.id, adapters): entry.scale for entry in body.lora}
    options["max_tokens"] = limit(body.max_tokens, body.n_predict)
    return options


def thinking(body: Thinking) -> dict[str, Any]:
    """The options of chats that are about thinking."""
    return {name: value for name in THINKING if (value := getattr(body, name)) is not None}


def limit(*asked: int | None) -> int | None:
    """The first limit that is given; below zero: none."""
    found = next((value for value in asked if value is not None), None)
    return None if found is None or found < 0 else found


def schema_of(wanted: ResponseFormat | None) -> Mapping[str, Any] | None:
    """What `response_format` holds the answer to."""
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return wanted.schema or {"type": "object"}
    if wanted.type == "json_schema":
        told = wanted.json_schema or {}
        schema = told.get("schema", wanted.schema)
        if not isinstance(schema, Mapping):
            raise invalid(
                "response_format.json_schema.schema", "response_format.json_schema.schema: got none, want one"
            )
        return schema
    raise invalid(
        "response_format.type",
        f"response_format.type: got {wanted.type!r}, want 'text', 'json_object' or 'json_schema'",
    )


def tool_choice(value: str | Mapping[str, Any] | None) -> str | None:
    """OpenAI's three forms, and Anthropic's, as a name."""
    if value is None or isinstance(value, str):
        return value
    kind = value.get("type")
    if kind in ("auto", "none"):
        return str(kind)
    if kind in ("any", "required"):
        return "required"
    if kind == "allowed_tools":
        mode = value.get("mode", value.get("allowed_tools", {}).get("mode", "auto"))
        return "required" if mode == "required" else "auto"
    function = value.get("function")
    name = function.get("name") if isinstance(function, Mapping) else value.get("name")
    if kind not in ("function", "tool") or not isinstance(name, str):
        raise invalid("tool_choice", f"tool_choice: got {value!r:.80}, want 'auto', 'none', 'required' or a function")
    return name


def _samplers(given: Sequence[str] | str, known: Sequence[str]) -> list[str]:
    names: list[str] = []
    for name in (LETTERS.get(c, c) for c in given) if isinstance(given, str) else given:
        meant = SAMPLERS.get(name, name)
        if meant is None:
            continue
        if meant not in known:
            raise invalid("samplers", f"samplers: got {name!r:.40}, want some of {', '.join(known)}")
        names.append(meant)
    return names or ["temperature"]


def _biases(
    given: Mapping[str, float] | Sequence[Sequence[Any]], ids_of: Callable[[str], Sequence[int]]
) -> dict[int, float]:
    """OpenAI's {"id": bias} and llama-server's [[id, bias or false]]; a text stands for each of its tokens."""
    found: dict[int, float] = {}
    pairs = given.items() if isinstance(given, Mapping) else given
    for pair in pairs:
        if len(pair) != 2:
            raise invalid("logit_bias", f"logit_bias: got {pair!r:.60}, want pairs of a token id and a number")
        token, bias = pair
        if isinstance(token, bool | float) or (isinstance(token, int) and token < 0):
            raise invalid("logit_bias", f"logit_bias: got the key {token!r:.40}, want a token id or a text")
        if isinstance(bias, str) or bias is True:
            raise invalid("logit_bias", f"logit_bias: got {bias!r:.40} for token {token}, want a number or false")
        if isinstance(token, str) and isinstance(given, Mapping) and re.fullmatch(r"[0-9]{1,9}", token):
            token = int(token)  # JSON's keys are texts
        for each in [token] if isinstance(token, int) else ids_of(token):
            found[each] = float("-inf") if bias is False else float(bias)
    return found


def _adapter(place: int, adapters: Sequence[str]) -> str:
    if place >= len(adapters):
        raise invalid("lora", f"lora: got id {place}, want below {len(adapters)}, the number of adapters")
    return adapters[place]
