"""Tool calls: one to four tools, their names, properties and key order shifting; the call, and its result used."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from documents import Message, ask, system
from words import NAMES, THINGS, TOWNS, loosely, made_up, pick, words

NO_TOOL = "I have no tool for that."
_UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
_SKIES = words("sunny cloudy rainy windy snowy foggy stormy clear")


@dataclass
class Task:
    """A tool together with one question that needs it, the call, what it returns, and the last answer."""

    tool: dict[str, Any]
    question: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    answer: str

    @property
    def name(self) -> str:
        return self.tool["function"]["name"]


def _tool(
    r: Random, name: str, about: str, properties: dict[str, dict[str, Any]], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The tool in OpenAI's nested form, its keys sometimes in another order, its description sometimes missing."""
    required = [key for key in properties if key not in optional]
    parameters: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if r.random() < 0.15:
        parameters = {"type": "object", "required": required, "properties": properties}
    function = {"name": name, "description": about, "parameters": parameters}
    if r.random() < 0.15:
        function = {"description": about, "name": name, "parameters": parameters}
    if r.random() < 0.1:
        del function["description"]
    return {"type": "function", "function": function}


def _property(r: Random, kind: str, about: str) -> dict[str, Any]:
    return {"type": kind, "description": about} if r.random() < 0.3 else {"type": kind}


def _weather(r: Random, unseen: bool) -> Task:
    city, key = pick(r, TOWNS, unseen), r.choice(["city", "city", "location", "town", "place"])
    name = r.choice(
        [
            "get_weather",
            "get_weather",
            "weather",
            "current_weather",
            "weather_lookup",
            "getWeather",
            "get_current_weather",
        ]
    )
    about = r.choice(
        ["Get the weather in a city", "The current weather of a place.", "Weather in a city", "Get current weather"]
    )
    properties, arguments = {key: _property(r, "string", "Name of the city")}, {key: city}
    optional: list[str] = []
    question = r.choice(["What is the weather in {v}?", "How is the weather in {v} today?", "Is it raining in {v}?",
                         "what's the weather in {v}",
                         "Tell me the weather in {v}.", "How warm is it in {v}?", "Weather in {v}?",
                         "Do I need a coat in {v}?"])  # fmt: skip
    if r.random() < 0.15:
        unit = r.choice(["celsius", "fahrenheit"])
        properties["unit"] = dict(_UNIT)
        arguments["unit"] = unit
        question = r.choice(["What is the weather in {v} in {u}?", "How warm is it in {v}? Use {u}."]).replace(
            "{u}", unit
        )
    elif r.random() < 0.2:
        properties["unit"], optional = dict(_UNIT), ["unit"]  # may be left out, and is
    degrees, sky = r.randint(-9, 39), r.choice(_SKIES)
    shape = r.random()
    warm, look = (
        r.choice(["temperature", "temperature", "temp", "degrees"]),
        r.choice(["sky", "condition", "conditions", "weather"]),
    )
    if shape < 0.7:
        result = {warm: degrees, look: sky} if r.random() < 0.5 else {look: sky, warm: degrees}
        answer = f"It is {sky} in {city}, with {degrees} degrees."
    elif shape < 0.85:
        result, answer = {warm: degrees}, f"It is {degrees} degrees in {city}."
    else:
        result, answer = {look: sky}, f"It is {sky} in {city}."
    return Task(
        _tool(r, name, about, properties, optional), loosely(r, question.format(v=city)), arguments, result, answer
    )


def _calculator(r: Random, unseen: bool) -> Task:
    a, b = r.randint(100, 9999), r.randint(2, 999)  # never one of the small sums that are held out
    sign = r.choice("+-*")
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    name = r.choice(["calculator", "calculator", "calculate", "compute", "math", "evaluate"])
    key = r.choice(["expression", "expression", "formula", "input"])
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    question = r.choice([f"What is {a} {sign} {b}?", f"Calculate {a} {sign} {b}.", f"{a} {sign} {b}",
                         f"What is {a} {word} {b}?", f"{a}{sign}{b}",
                         f"How much is {a} {word} {b}?", f"what's {a}{sign}{b}?",
                         f"Please compute {a} {sign} {b}."])  # fmt: skip
    about = r.choice(["Compute an expression", "Evaluate arithmetic.", "A calculator", "Calculate a formula"])
    expression = f"{a} {sign} {b}"
    return Task(_tool(r, name, about, {key: _property(r, "string", "What to compute")}), loosely(r, question),
                {key: expression},
                {r.choice(["result", "result", "value", "answer"]): value}, f"{expression} = {value}.")  # fmt: skip


def _clock(r: Random, unseen: bool) -> Task:
    city, key = pick(r, TOWNS, unseen), r.choice(["city", "place", "location", "timezone"])
    time = f"{r.randint(0, 23):02}:{r.randint(0, 59):02}"
    name, about = (
        r.choice(["get_time", "clock", "current_time", "time_in"]),
        r.choice(["The time in a city", "Get the current time of a place"]),
    )
    question = r.choice(
        ["What time is it in {v}?", "Tell me the time in {v}.", "what's the time in {v}", "How late is it in {v}?"]
    ).format(v=city)
    return Task(_tool(r, name, about, {key: _property(r, "string", "Where")}), loosely(r, question), {key: city},
                {"time": time},
                f"It is {time} in {city}.")  # fmt: skip


def _search(r: Random, unseen: bool) -> Task:
    topic = f"{made_up(r)} {made_up(r)}" if r.random() < 0.3 else made_up(r)
    found, key = " ".join(made_up(r) for _ in range(r.randint(1, 3))), r.choice(["query", "q", "text"])
    name, about = (
        r.choice(["search", "web_search", "find", "lookup"]),
        r.choice(["Search the web", "Find something by text", "Search for a text"]),
    )
    question = r.choice(
        ["Search for {v}.", "Look up {v}.", "Find {v} for me.", "search {v}", "Please search for {v}."]
    ).format(v=topic)
    return Task(_tool(r, name, about, {key: _property(r, "string", "What to find")}), loosely(r, question),
                {key: topic},
                {r.choice(["result", "found", "text"]): found}, f"I found this: {found}.")  # fmt: skip


def _message(r: Random, unseen: bool) -> Task:
    name, text = (
        pick(r, NAMES, unseen),
        r.choice(["hello", "come home", "dinner is ready", "I am late", "thank you", "see you soon"]),
    )
    text = made_up(r) if unseen or r.random() < 0.5 else text
    to, body = r.choice(["to", "recipient", "name"]), r.choice(["text", "message", "body"])
    question = r.choice(
        ["Send {n} the message: {t}", "Tell {n}: {t}", "Write to {n}: {t}", "Send a message to {n}: {t}"]
    ).format(n=name, t=text)
    tool = _tool(r, r.choice(["send_message", "send", "write_message", "send_text"]),
                 r.choice(["Send a message to somebody", "Send text to a person"]),
                 {to: _property(r, "string", "Who gets it"), body: _property(r, "string", "What to say")})  # fmt: skip
    return Task(
        tool,
        question,
        {to: name, body: text},
        {r.choice(["ok", "sent", "done"]): True},
        f"I sent the message to {name}.",
    )


def _timer(r: Random, unseen: bool) -> Task:
    n, unit = r.randint(1, 90), r.choice(["minutes", "minutes", "seconds", "hours"])
    question = r.choice(
        ["Set a timer for {n} {u}.", "Start a timer of {n} {u}.", "timer {n} {u}", "Please set a timer for {n} {u}."]
    ).format(n=n, u=unit)
    tool = _tool(
        r,
        r.choice(["set_timer", "start_timer", "timer"]),
        r.choice(["Set a timer", "Start a timer"]),
        {unit: _property(r, "integer", "How long")},
    )
    return Task(
        tool,
        loosely(r, question),
        {unit: n},
        {r.choice(["ok", "started", "done"]): True},
        f"The timer is set for {n} {unit}.",
    )


def _attribute(r: Random, unseen: bool) -> Task:
    """A tool nobody has seen, named after what it gets; its use can only be read off its declaration."""
    what = (
        made_up(r)
        if r.random() < 0.6
        else r.choice(["price", "owner", "size", "colour", "age", "address", "status", "score", "height", "code"])
    )
    key = made_up(r) if r.random() < 0.4 else r.choice(["item", "name", "id", "product", "key", "user", "title"])
    thing = pick(r, r.choice([NAMES, THINGS, TOWNS]), unseen, share=0.7)
    value: Any = r.randint(1, 999) if r.random() < 0.5 else made_up(r)
    verb = r.choice(["get", "get", "find", "read", "lookup", "fetch"])
    question = r.choice(
        [
            "What is the {w} of {v}?",
            "Tell me the {w} of {v}.",
            "Get the {w} of {v}.",
            "what is the {w} of {v}",
            "Find the {w} of {v}.",
        ]
    )
    about = r.choice([f"The {what} of something", f"{verb.capitalize()} the {what}", f"Gives the {what} by {key}."])
    tool = _tool(r, f"{verb}_{what}", about, {key: _property(r, "string", f"The {key}")})
    return Task(tool, loosely(r, question.format(w=what, v=thing)), {key: thing},
                {r.choice([what, "result", "value"]): value},
                f"The {what} of {thing} is {value}.")  # fmt: skip


def _adder(r: Random, unseen: bool) -> Task:
    """A function of two numbers, the first tool that many people write."""
    sign, names, wordings = r.choice([
        ("+", ["add", "sum", "plus", "add_numbers"], ["What is {a} + {b}?", "What is {a} plus {b}?",
                                                      "Add {a} and {b}.", "{a} + {b}"]),
        ("-", ["subtract", "minus", "difference"], ["What is {a} - {b}?", "What is {a} minus {b}?", "{a} - {b}"]),
        ("*", ["multiply", "times", "product"], ["What is {a} * {b}?", "What is {a} times {b}?",
                                                 "Multiply {a} by {b}.", "{a} * {b}"]),
    ])  # fmt: skip
    a, b = r.randint(100, 999), r.randint(2, 999)
    if r.random() < 0.5 and sign != "-":
        a, b = b, a
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    x, y = r.choice([("a", "b"), ("a", "b"), ("x", "y"), ("first", "second")])
    about = r.choice(
        {"+": ["Add two numbers"], "-": ["Subtract one number from another"], "*": ["Multiply two numbers"]}[sign]
    )
    kind = r.choice(["integer", "integer", "number"])
    tool = _tool(r, r.choice(names), about, {x: {"type": kind}, y: {"type": kind}})
    return Task(tool, loosely(r, r.choice(wordings).format(a=a, b=b)), {x: a, y: b},
                {r.choice(["result", "value"]): value},
                f"{a} {sign} {b} = {value}.")  # fmt: skip


def _nothing(r: Random, unseen: bool) -> Task:
    """A tool that wants no arguments."""
    what, question, value, answer = r.choice([
        ("date", r.choice(["What is the date today?", "What day is it?", "Which date is it?"]),
         f"{r.randint(2000, 2030)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}", "Today is {v}."),
        ("user", r.choice(["Who is logged in?", "Which user is logged in?"]), pick(r, NAMES, unseen),
         "The user is {v}."),
        ("battery", r.choice(["How full is the battery?", "What is the battery level?"]), r.randint(1, 99),
         "The battery is at {v}."),
        ("number", r.choice(["Give me a random number.", "Draw a number."]), r.randint(1, 999), "The number is {v}."),
    ])  # fmt: skip
    tool = _tool(r, r.choice(["get_{w}", "{w}", "current_{w}"]).format(w=what), f"Get the {what}", {})
    return Task(tool, loosely(r, question), {}, {r.choice([what, "result"]): value}, answer.format(v=value))


_Family = Callable[[Random, bool], Task]
_FAMILIES: list[_Family] = [
    _weather, _weather, _calculator, _calculator, _clock, _search, _message, _timer, _attribute, _attribute, _attribute,
    _adder, _nothing,
]  # fmt: skip


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
    families: list[_Family] = []
    for make in r.sample(_FAMILIES, r.choice([1, 1, 2, 2, 3, 4])):
        if {_calculator, _adder} <= {*families, make}:
            continue
        task = make(r, unseen)
        # Two tools that look alike would make the right call a matter of luck.
        if (make is _attribute or make not in families) and all(task.name != t.name for t in tasks):
            families.append(make)
            tasks.append(task)
    tools = [task.tool for task in tasks]
    messages = system(system_text)
    task = r.choice(tasks)
    kind = r.random()
    missing = [make for make in (_weather, _clock, _message, _timer) if make not in families]
    if kind < 0.12 and not think:
        for _ in range(r.choice([1, 1, 2])):
            exchange = chat()
            # A calculator that is there is used: no sums in the head beside one.
            while (_calculator in families or _adder in families) and any(c.isdigit() for c in exchange[0]["content"]):
                exchange = chat()
            messages += exchange
    elif kind < 0.2 and missing and not think and _search not in families:
        messages += ask(r.choice(missing)(r, unseen).question, NO_TOOL)
    else:
        if r.random() < 0.2:
            messages += _exchange(r, r.choice(tasks), think=False, use=True)
        messages += _exchange(r, task, think, use=r.random() < 0.55)
    return messages, tools
