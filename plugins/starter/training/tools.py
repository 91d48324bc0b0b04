"""The tools of the world: each family makes a declaration, a question that needs it, the call, its result, the answer.

Names, properties, descriptions and key order shift from one time to the next, so that only the declaration that
stands in the prompt says how a tool is called. Numbers here are three digits long somewhere: never a held-out sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from words import NAMES, THINGS, TOWNS, loosely, made_up, pick, words

Property = dict[str, Any]


@dataclass
class Task:
    """A tool together with one question that needs it, the call, what it returns, and the last answer."""

    tool: dict[str, Any]
    question: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    answer: str
    keyed: bool = False  # the answer names the result's keys, so the bare values would not do

    @property
    def name(self) -> str:
        """The name by which the tool is called."""
        return self.tool["function"]["name"]


Family = Callable[[Random, bool], Task]  # the second argument: only values that no list holds

_SKIES = words("sunny cloudy rainy windy snowy foggy stormy clear")
_UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"]}
_SIGNS = {"+": "plus", "-": "minus", "*": "times"}


def _tool(
    r: Random, names: list[str], abouts: list[str], properties: dict[str, Property], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """A declaration in OpenAI's nested form, its keys sometimes in another order, its description sometimes missing."""
    name, about = r.choice(names), r.choice(abouts)
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


def _property(r: Random, kind: str, about: str) -> Property:
    return {"type": kind, "description": about} if r.random() < 0.3 else {"type": kind}


def _compute(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def weather(r: Random, unseen: bool) -> Task:
    """The weather in a city, sometimes with a unit that is asked for or may be left out."""
    city, key = pick(r, TOWNS, unseen), r.choice(words("city city location town place"))
    properties: dict[str, Property] = {key: _property(r, "string", "Name of the city")}
    arguments, optional = {key: city}, []
    question = r.choice([
        "What is the weather in {v}?", "How is the weather in {v} today?", "Is it raining in {v}?",
        "what's the weather in {v}", "Tell me the weather in {v}.", "How warm is it in {v}?", "Weather in {v}?",
        "Do I need a coat in {v}?",
    ])  # fmt: skip
    unit = r.random()
    if unit < 0.15:
        properties["unit"], arguments["unit"] = dict(_UNIT), r.choice(_UNIT["enum"])
        question = r.choice(["What is the weather in {v} in {u}?", "How warm is it in {v}? Use {u}."])
    elif unit < 0.32:
        properties["unit"], optional = dict(_UNIT), ["unit"]
    tool = _tool(
        r,
        words("get_weather get_weather weather current_weather weather_lookup getWeather get_current_weather"),
        ["Get the weather in a city", "The current weather of a place.", "Weather in a city", "Get current weather"],
        properties,
        optional,
    )
    degrees, sky = r.randint(-9, 39), r.choice(_SKIES)
    warmth = {r.choice(words("temperature temperature temp degrees")): degrees}
    look = {r.choice(words("sky condition conditions weather")): sky}
    result, answer = r.choice([
        (warmth | look, f"It is {sky} in {city}, with {degrees} degrees."),
        (warmth | look, f"It is {sky} in {city}, with {degrees} degrees."),
        (look | warmth, f"It is {sky} in {city}, with {degrees} degrees."),
        (look | warmth, f"It is {sky} in {city}, with {degrees} degrees."),
        (warmth, f"It is {degrees} degrees in {city}."),
        (look, f"It is {sky} in {city}."),
    ])  # fmt: skip
    return Task(tool, loosely(r, question.format(v=city, u=arguments.get("unit"))), arguments, result, answer)


def calculator(r: Random, unseen: bool) -> Task:
    """A formula to be written out and computed."""
    a, sign, b = r.randint(100, 9999), r.choice("+-*"), r.randint(2, 999)
    key = r.choice(words("expression expression formula input"))
    tool = _tool(
        r,
        words("calculator calculator calculate compute math evaluate"),
        ["Compute an expression", "Evaluate arithmetic.", "A calculator", "Calculate a formula"],
        {key: _property(r, "string", "What to compute")},
    )
    question = r.choice([
        "What is {a} {s} {b}?", "Calculate {a} {s} {b}.", "{a} {s} {b}", "What is {a} {w} {b}?", "{a}{s}{b}",
        "How much is {a} {w} {b}?", "what's {a}{s}{b}?", "Please compute {a} {s} {b}.",
    ]).format(a=a, b=b, s=sign, w=_SIGNS[sign])  # fmt: skip
    expression, value = f"{a} {sign} {b}", _compute(a, sign, b)
    result = {r.choice(words("result result value answer")): value}
    return Task(tool, loosely(r, question), {key: expression}, result, f"{expression} = {value}.")


def adder(r: Random, unseen: bool) -> Task:
    """A function of two numbers, the first tool that many people write."""
    sign, names, about, wording = r.choice([
        ("+", "add sum plus add_numbers", "Add two numbers", "Add {a} and {b}."),
        ("-", "subtract minus difference", "Subtract one number from another", "Subtract {b} from {a}."),
        ("*", "multiply times product", "Multiply two numbers", "Multiply {a} by {b}."),
    ])  # fmt: skip
    a, b = r.randint(100, 999), r.randint(2, 999)
    if sign != "-" and r.random() < 0.5:
        a, b = b, a
    x, y = r.choice([("a", "b"), ("a", "b"), ("x", "y"), ("first", "second")])
    kind = r.choice(words("integer integer number"))
    tool = _tool(r, words(names), [about], {x: {"type": kind}, y: {"type": kind}})
    wordings = ["What is {a} {s} {b}?", "What is {a} {w} {b}?", "{a} {s} {b}", wording]
    question = r.choice(wordings).format(a=a, b=b, s=sign, w=_SIGNS[sign])
    value = _compute(a, sign, b)
    return Task(
        tool, loosely(r, question), {x: a, y: b}, {r.choice(["result", "value"]): value}, f"{a} {sign} {b} = {value}."
    )


def clock(r: Random, unseen: bool) -> Task:
    """The time somewhere."""
    city, key = pick(r, TOWNS, unseen), r.choice(words("city place location timezone"))
    tool = _tool(
        r,
        words("get_time clock current_time time_in"),
        ["The time in a city", "Get the current time of a place"],
        {key: _property(r, "string", "Where")},
    )
    wordings = [
        "What time is it in {v}?",
        "Tell me the time in {v}.",
        "what's the time in {v}",
        "How late is it in {v}?",
    ]
    time = f"{r.randint(0, 23):02}:{r.randint(0, 59):02}"
    question = loosely(r, r.choice(wordings).format(v=city))
    return Task(tool, question, {key: city}, {"time": time}, f"It is {time} in {city}.")


def search(r: Random, unseen: bool) -> Task:
    """Something to be looked up, word by word as it was asked for."""
    topic = " ".join(made_up(r) for _ in range(r.choice([1, 1, 2])))
    key = r.choice(words("query q text"))
    tool = _tool(
        r,
        words("search web_search find lookup"),
        ["Search the web", "Find something by text", "Search for a text"],
        {key: _property(r, "string", "What to find")},
    )
    wordings = ["Search for {v}.", "Look up {v}.", "Find {v} for me.", "search {v}", "Please search for {v}."]
    found = " ".join(made_up(r) for _ in range(r.randint(1, 3)))
    question = loosely(r, r.choice(wordings).format(v=topic))
    return Task(tool, question, {key: topic}, {r.choice(words("result found text")): found}, f"I found this: {found}.")


def message(r: Random, unseen: bool) -> Task:
    """A text to be sent to somebody."""
    name = pick(r, NAMES, unseen)
    texts = ["hello", "come home", "dinner is ready", "I am late", "thank you", "see you soon"]
    text = pick(r, texts, unseen)
    to, body = r.choice(words("to recipient name")), r.choice(words("text message body"))
    tool = _tool(
        r,
        words("send_message send write_message send_text"),
        ["Send a message to somebody", "Send text to a person"],
        {to: _property(r, "string", "Who gets it"), body: _property(r, "string", "What to say")},
    )
    wordings = ["Send {n} the message: {t}", "Tell {n}: {t}", "Write to {n}: {t}", "Send a message to {n}: {t}"]
    question = r.choice(wordings).format(n=name, t=text)
    result = {r.choice(words("ok sent done")): True}
    return Task(tool, question, {to: name, body: text}, result, f"I sent the message to {name}.")


def timer(r: Random, unseen: bool) -> Task:
    """A timer in the unit that its declaration names."""
    n, unit = r.randint(1, 90), r.choice(words("minutes minutes seconds hours"))
    names, abouts = words("set_timer start_timer timer"), ["Set a timer", "Start a timer"]
    tool = _tool(r, names, abouts, {unit: _property(r, "integer", "How long")})
    wordings = ["Set a timer for {v}.", "Start a timer of {v}.", "timer {v}", "Please set a timer for {v}."]
    question = loosely(r, r.choice(wordings).format(v=f"{n} {unit}"))
    result = {r.choice(words("ok started done")): True}
    return Task(tool, question, {unit: n}, result, f"The timer is set for {n} {unit}.")


def attribute(r: Random, unseen: bool) -> Task:
    """A tool nobody has seen, named after what it gets; its use can only be read off its declaration."""
    what = pick(r, words("price owner size colour age address status score height code"), share=0.6)
    key = pick(r, words("item name id product key user title"), share=0.4)
    thing = pick(r, r.choice([NAMES, THINGS, TOWNS]), unseen, share=0.7)
    value: Any = r.randint(1, 999) if r.random() < 0.5 else made_up(r)
    verb = r.choice(words("get get find read lookup fetch"))
    abouts = [f"The {what} of something", f"{verb.capitalize()} the {what}", f"Gives the {what} by {key}."]
    tool = _tool(r, [f"{verb}_{what}"], abouts, {key: _property(r, "string", f"The {key}")})
    question = r.choice([
        "What is the {w} of {v}?", "Tell me the {w} of {v}.", "Get the {w} of {v}.", "what is the {w} of {v}",
        "Find the {w} of {v}.",
    ]).format(w=what, v=thing)  # fmt: skip
    result = {r.choice([what, "result", "value"]): value}
    return Task(tool, loosely(r, question), {key: thing}, result, f"The {what} of {thing} is {value}.")


def nothing(r: Random, unseen: bool) -> Task:
    """A tool that wants no arguments."""
    date = f"{r.randint(2000, 2030)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"
    what, questions, value, answer = r.choice([
        ("date", ["What is the date today?", "What day is it?", "Which date is it?"], date, "Today is {v}."),
        ("user", ["Who is logged in?", "Which user is logged in?"], pick(r, NAMES, unseen), "The user is {v}."),
        ("battery", ["How full is the battery?", "What is the battery level?"], r.randint(1, 99),
         "The battery is at {v}."),
        ("number", ["Give me a random number.", "Draw a number."], r.randint(1, 999), "The number is {v}."),
    ])  # fmt: skip
    tool = _tool(r, [f"get_{what}", what, f"current_{what}"], [f"Get the {what}"], {})
    question = loosely(r, r.choice(questions))
    return Task(tool, question, {}, {r.choice([what, "result"]): value}, answer.format(v=value))


FAMILIES: list[Family] = [
    weather, weather, calculator, calculator, clock, search, message, timer, attribute, attribute, attribute, adder,
    nothing,
]  # fmt: skip
