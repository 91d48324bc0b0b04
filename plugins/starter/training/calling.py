"""Talks beside tools: the right call, its result put to use, or an answer that needs no tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from documents import Message, ask, dumps, system
from invented import invent
from patterns import Declared, Pattern
from tools import FAMILIES, Family, Task, adder, attribute, calculator, clock, message, search, timer, weather
from words import made_up

NO_TOOL = "I have no tool for that."


def _written(r: Random, result: dict[str, Any], arguments: dict[str, Any], bare: bool = True) -> str:
    """What a tool returns, as text: an object, sometimes with the arguments in it, or the bare values."""
    kind = r.random()
    if kind < 0.2 and bare and "error" not in result:
        return ", ".join(str(v) if not isinstance(v, bool) else "ok" for v in result.values())
    if kind < 0.3 and not result.keys() & arguments.keys():
        return dumps({**arguments, **result})
    return dumps(result)


def _exchange(r: Random, tasks: list[Task], think: bool, use: bool) -> list[Message]:
    """The question and its calls, and with `use` the results and the answer too; the first task holds the question."""
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": t.name, "arguments": dumps(t.arguments)}}
        for i, t in enumerate(tasks)
    ]
    call: Message = {"role": "assistant", "content": "", "tool_calls": calls}
    if think:
        call["reasoning_content"] = " ".join(
            f"The tool {task.name} can do this. It needs {' and '.join(task.arguments) or 'nothing'}." for task in tasks
        )
    messages: list[Message] = [{"role": "user", "content": tasks[0].question}, call]
    if not use:
        return messages
    returned, answers = [], []
    for i, task in enumerate(tasks):
        result, answer = task.result, task.answer
        if r.random() < 0.06:
            error = r.choice(["not found", "timeout", "no connection", made_up(r)])
            result, answer = {"error": error}, f"The tool failed: {error}."
        returned.append(_written(r, result, {} if task.keyed else task.arguments, bare=not task.keyed))
        answers.append(answer)
        messages.append({"role": "tool", "tool_call_id": f"call_{i}", "content": returned[-1]})
    last: Message = {"role": "assistant", "content": answers[0] if len(set(answers)) == 1 else " ".join(answers)}
    if think:
        last["reasoning_content"] = f"The tool returned {' and '.join(returned)}. Now I can answer."
    return [*messages, last]


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
            messages += _exchange(r, [r.choice(tasks)], think=False, use=True)
        messages += _exchange(r, [task], think, use=r.random() < 0.55)
    return messages, tools


def strange(
    r: Random,
    chat: Callable[[], list[Message]],
    patterns: Sequence[Pattern],
    share: float,
    think: bool = False,
    unseen: bool = False,
    several: float = 0.0,
) -> tuple[list[Message], list[dict[str, Any]]]:
    """A talk beside one to five tools of which some are invented on the spot, and sometimes with several calls at once.

    Args:
        r: the source of chance.
        chat: makes one exchange that needs no tool.
        patterns: the tools that are not invented.
        share: how many of the tools are such.
        think: give the calls and last answers their thoughts.
        unseen: use only made-up values.
        several: how often a question needs more than one call.
    """
    tools: list[Declared] = []
    about: list[tuple[str, str]] = []
    for _ in range(r.choice([1, 1, 2, 2, 3, 4, 5])):
        if r.random() < share:
            source = r.choice(patterns)
        else:
            source, topic = invent(r, unseen, r.choice(about) if about and r.random() < 0.4 else None)
            if topic in about:
                continue
            about.append(topic)
        tool = Declared(r, source)
        if all(source is not t.source and tool.name != t.name for t in tools):
            tools.append(tool)
    messages: list[Message] = []
    for last in [False] * (0 if unseen else r.choice([0, 0, 0, 1, 2, 3])) + [True]:
        kind = r.random()
        if kind < (0.06 if last else 0.2) and not think:
            messages += chat()
        elif kind < (0.12 if last else 0.25) and not think:
            source, topic = invent(r, True)
            if all(not set(topic) & set(others) for others in about):
                messages += ask(Declared(r, source).ask(r, unseen).question, NO_TOOL)
                continue
            messages += chat()
        else:
            tasks = _together(r, tools, unseen) if r.random() < several else [r.choice(tools).ask(r, unseen)]
            messages += _exchange(r, tasks, think and last, not last or r.random() < 0.5)
    return messages, [tool.tool for tool in tools]


def _together(r: Random, tools: list[Declared], unseen: bool) -> list[Task]:
    """Tasks for one question: the same tool for several values, or two questions said in one breath."""
    if r.random() < 0.5:
        return r.choice(tools).several(r, unseen)
    tasks = [r.choice(tools).ask(r, unseen) for _ in range(2)]
    tasks.sort(key=lambda task: ":" in task.question)  # a text that runs to the end of its question comes last
    one, two = (task.question for task in tasks)
    if ":" in one:
        return tasks[:1]
    if one[-1] in ".?!" and r.random() < 0.6:
        tasks[0].question = f"{one} {r.choice(['', '', 'And ', 'Also, ', 'Then '])}{two}"
    else:
        tasks[0].question = f"{one.rstrip('.?!')} {r.choice(['and', 'and then', 'and also'])} {two[0].lower()}{two[1:]}"
    return tasks
