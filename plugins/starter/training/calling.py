"""Talks beside tools: the right call, its result put to use, or an answer that needs no tool."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

from documents import Message, ask, system
from tools import FAMILIES, Family, Task, adder, attribute, calculator, clock, message, search, timer, weather
from words import made_up

NO_TOOL = "I have no tool for that."


def _written(r: Random, result: dict[str, Any], arguments: dict[str, Any]) -> str:
    """What a tool returns, as text: an object, sometimes with the arguments in it, or the bare values."""
    kind = r.random()
    if kind < 0.2 and "error" not in result:
        return ", ".join(str(v) if not isinstance(v, bool) else "ok" for v in result.values())
    if kind < 0.3 and not result.keys() & arguments.keys():
        return json.dumps({**arguments, **result})
    return json.dumps(result)


def _exchange(r: Random, task: Task, think: bool, use: bool) -> list[Message]:
    """The question and the call, and with `use` the result and the answer too."""
    said = json.dumps(task.arguments)
    call: Message = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": task.name, "arguments": said}}],
    }
    if think:
        call["reasoning_content"] = (
            f"The tool {task.name} can do this. It needs {' and '.join(task.arguments) or 'nothing'}."
        )
    messages: list[Message] = [{"role": "user", "content": task.question}, call]
    if use:
        result, answer = task.result, task.answer
        if r.random() < 0.06:
            error = r.choice(["not found", "timeout", "no connection", made_up(r)])
            result, answer = {"error": error}, f"The tool failed: {error}."
        content = _written(r, result, task.arguments)
        last: Message = {"role": "assistant", "content": answer}
        if think:
            last["reasoning_content"] = f"The tool returned {content}. Now I can answer."
        messages += [{"role": "tool", "tool_call_id": "call_0", "content": content}, last]
    return messages


def conversation(
    r: Random, chat: Callable[[], list[Message]], system_text: str | None, think: bool = False, unseen: bool = False
) -> tuple[list[Message], list[dict[str, Any]]]:
    """A talk beside one to four tools, ending in a call, in its use, or in an answer that needs none.

    Args:
        r: the source of chance.
        chat: makes one exchange that needs no tool.
        system_text: what the system message says besides the tools, if anything.
        think: give the calls and last answers their thoughts.
        unseen: use only made-up values.
    """
    tasks: list[Task] = []
    families: list[Family] = []
    for make in r.sample(FAMILIES, r.choice([1, 1, 2, 2, 3, 4])):
        if {calculator, adder} <= {*families, make}:
            continue
        task = make(r, unseen)
        # Two tools that look alike would make the right call a matter of luck.
        if (make is attribute or make not in families) and all(task.name != t.name for t in tasks):
            families.append(make)
            tasks.append(task)
    tools = [task.tool for task in tasks]
    messages = system(system_text)
    task = r.choice(tasks)
    kind = r.random()
    missing = [make for make in (weather, clock, message, timer) if make not in families]
    if kind < 0.12 and not think:
        for _ in range(r.choice([1, 1, 2])):
            exchange = chat()
            # A calculator that is there is used: no sums in the head beside one.
            while (calculator in families or adder in families) and any(c.isdigit() for c in exchange[0]["content"]):
                exchange = chat()
            messages += exchange
    elif kind < 0.2 and missing and not think and search not in families:
        messages += ask(r.choice(missing)(r, unseen).question, NO_TOOL)
    else:
        if r.random() < 0.2:
            messages += _exchange(r, r.choice(tasks), think=False, use=True)
        messages += _exchange(r, task, think, use=r.random() < 0.55)
    return messages, tools
