"""What a chat template does with messages, found by trying it: a dozen tiny renderings, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from halflap.text.chat.contract import Capabilities

Try = Callable[..., str | None]
"""Renders (messages, tools, variable=value …) as they are; None: the template refused them."""

USER, SYSTEM, TOOL, KEY, VALUE, RESULT, WORDS, THOUGHT = (
    f"needle{name}" for name in ("user", "system", "tool", "key", "value", "result", "words", "thought")
)
TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {KEY: {"type": "string", "description": "d"}},
                "required": [KEY],
            },
        },
    }
    for name in (TOOL, f"{TOOL}2")
]
LONG_ID: Final = "call_0123456789abcdef"


def probe(render: Try, switches: Mapping[str, tuple[Any, Any]]) -> Capabilities:
    """Capabilities of a template.

    Args:
        switches: its variables that turn thinking on and off, and what they are then.
    """
    found = Capabilities(thinking_switch=bool(switches))
    for parts, empty in ((False, False), (True, False), (False, True), (True, True)):
        tried = evolve(found, parts=parts, empty_tools=empty)
        if USER in (render([{"role": "user", "content": _content(tried, USER)}], [] if empty else None) or ""):
            found = tried
            break
    question = {"role": "user", "content": _content(found, USER)}
    none: list[Any] | None = [] if found.empty_tools else None
    unasked = render([question], none)
    on, off = (render([question], none, **{name: values[i] for name, values in switches.items()}) for i in (0, 1))
    found = evolve(found, thinks_unasked=unasked != off or on == off)

    def shows(needle: str, *messages: Mapping[str, Any], tools: Sequence[Any] | None = None) -> bool:
        return needle in (render([*messages], tools or none) or "")

    answer = {"role": "assistant", "content": _content(found, WORDS)}
    found = evolve(
        found,
        system=shows(SYSTEM, {"role": "system", "content": _content(found, SYSTEM)}, question),
        developer=shows(SYSTEM, {"role": "developer", "content": _content(found, SYSTEM)}, question),
        tools=shows(f"{TOOL}2", question, tools=TOOLS),
        alternates=not shows(WORDS, question, {**question, "content": _content(found, WORDS)}),
        results=False,
    )
    result = {"role": "tool", "tool_call_id": "needle001", "name": TOOL, "content": _content(found, RESULT)}
    for null, objects in ((True, True), (False, True), (True, False), (False, False)):
        call = {"role": "assistant", "content": None if null else "", "tool_calls": [_call("needle001", objects)]}
        text = render([question, call, result], TOOLS) or ""
        if TOOL in text and VALUE in text and f"'{KEY}'" not in text:
            found = evolve(found, calls=True, null_content=null, object_arguments=objects)
            return _of_calls(found, shows, question, call, result)
    return evolve(found, results=shows(RESULT, question, answer, result))


def _of_calls(found: Capabilities, shows: Callable[..., bool], question: Any, call: Any, result: Any) -> Capabilities:
    """What else a template does that writes calls."""
    objects = found.object_arguments
    second = {**result, "tool_call_id": "needle002", "name": f"{TOOL}2"}
    both = {**call, "tool_calls": [*call["tool_calls"], _call("needle002", objects, f"{TOOL}2", f"{VALUE}2")]}
    worded = {**call, "content": _content(found, WORDS)}
    long = {**call, "tool_calls": [_call(LONG_ID, objects)]}
    field = next(
        (
            field
            for field in ("reasoning_content", "thinking", "reasoning")
            if shows(THOUGHT, question, {**call, field: THOUGHT}, result, tools=TOOLS)
        ),
        "",
    )
    return evolve(
        found,
        results=shows(RESULT, question, call, result, tools=TOOLS),
        parallel_calls=shows(f"{VALUE}2", question, both, result, second, tools=TOOLS),
        call_content=shows(WORDS, question, worded, result, tools=TOOLS),
        short_ids=not shows(VALUE, question, long, {**result, "tool_call_id": LONG_ID}, tools=TOOLS),
        reasoning_field=field,
        thought_and_words=bool(field) and shows(THOUGHT, question, {**worded, field: THOUGHT}, result, tools=TOOLS),
    )


def _content(found: Capabilities, text: str) -> Any:
    return [{"type": "text", "text": text}] if found.parts else text


def _call(call_id: str, objects: bool, name: str = TOOL, value: str = VALUE) -> dict[str, Any]:
    arguments: Any = {KEY: value} if objects else f'{{"{KEY}": "{value}"}}'
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
