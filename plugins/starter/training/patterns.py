"""Tools as patterns: what they are called, what they take, how people ask for them, and what comes back.

A pattern becomes a declaration with names of its own, of which any number of questions can be asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tools import Property, Task
from words import loosely, made_up, pick, words

Maker = Callable[[Random, bool], Any]  # the second argument: only values that no list holds

_NUMBERS = words("zero one two three four five six seven eight nine ten eleven twelve")


@dataclass(frozen=True)
class Slot:
    """One parameter: its possible keys and descriptions, its type, and what makes a value."""

    keys: list[str]
    abouts: list[str]
    kind: str
    value: Maker
    options: Sequence[str] = ()
    rows: bool = False  # whether several values can be said in a row, as names can

    def property(self, r: Random, described: bool) -> Property:
        """Its declaration."""
        found: Property = {"type": self.kind}
        if self.options:
            found["enum"] = list(self.options)
        if described or r.random() < 0.5:
            found = found | {"description": r.choice(self.abouts)}
            if r.random() < 0.15:
                found = dict(reversed(found.items()))
        return found


def string(keys: str, abouts: str, choices: list[str]) -> Slot:
    """A text out of a list, or made up."""
    return Slot(keys.split(), abouts.split("|"), "string", lambda r, unseen: pick(r, choices, unseen), rows=True)


def made(keys: str, abouts: str, value: Callable[[Random], str]) -> Slot:
    """A text that `value` makes."""
    return Slot(keys.split(), abouts.split("|"), "string", lambda r, _: value(r))


def integer(keys: str, abouts: str, low: int, high: int) -> Slot:
    """A whole number."""
    return Slot(keys.split(), abouts.split("|"), "integer", lambda r, _: r.randint(low, high))


def option(keys: str, abouts: str, options: str) -> Slot:
    """One of a few words that the declaration lists."""
    listed = options.split()
    return Slot(keys.split(), abouts.split("|"), "string", lambda r, _: r.choice(listed), listed)


@dataclass(frozen=True)
class Pattern:
    """A tool; each question holds the slots that its call gives."""

    names: list[str]
    abouts: list[str]
    slots: dict[str, Slot]
    asked: list[str]
    result: Maker  # makes the result's value
    keys: list[str]  # of the result; "ok" and the like come with True
    answer: str  # may hold {r}, the result's value, {k}, its key, and the slots of every question


def pattern(
    names: str, abouts: str, slots: dict[str, Slot], asked: str, result: Maker, keys: str, answer: str
) -> Pattern:
    """A pattern with its lists written as lines: words, or parts between bars."""
    return Pattern(names.split(), abouts.split("|"), slots, asked.split("|"), result, keys.split(), answer)


def _holds(asked: str) -> list[str]:
    """The slots of a question, in their order."""
    return re.findall(r"\{(\w+)\}", asked)


def _shown(r: Random, value: Any, many: bool) -> str:
    if isinstance(value, bool):
        return "with" if value else "without"
    if isinstance(value, int) and value <= 12 and r.random() < (0.25 if many else 0):
        return _NUMBERS[value]
    return str(value)


class Declared:
    """A pattern with its name, keys and descriptions chosen."""

    def __init__(self, r: Random, source: Pattern, unseen: bool = False) -> None:
        self.source = source
        slots = [*source.slots]
        always = [s for s in slots if all(s in _holds(asked) for asked in source.asked)]
        self._asked = source.asked
        plain = [asked for asked in source.asked if set(_holds(asked)) == set(always)]
        if plain and r.random() < 0.3:  # without what may be left out
            slots, self._asked = always, plain
        if r.random() < 0.3:  # or with all of it required
            full = [asked for asked in self._asked if set(_holds(asked)) == set(slots)]
            always, self._asked = (slots, full) if full else (always, self._asked)
        self._keys: dict[str, str] = {}
        properties: dict[str, Property] = {}
        for slot in r.sample(slots, len(slots)) if r.random() < 0.3 else slots:
            spec = source.slots[slot]
            strange = r.random() < 0.12
            key = made_up(r) if strange else r.choice(spec.keys)
            if key in properties:
                key = made_up(r)
            self._keys[slot] = key
            properties[key] = spec.property(r, strange)
        strange = r.random() < 0.15
        name = made_up(r) if strange else r.choice(source.names)
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        required = [self._keys[s] for s in slots if s in always]
        if required or r.random() < 0.5:
            parameters["required"] = required
        if r.random() < 0.1:
            parameters["additionalProperties"] = False
        function: dict[str, Any] = {"name": name}
        if strange or r.random() < 0.85:
            function["description"] = r.choice(source.abouts)
        function["parameters"] = parameters
        if r.random() < 0.1:
            function = dict(r.sample(list(function.items()), len(function)))
        self.tool = {"type": "function", "function": function}

    @property
    def name(self) -> str:
        """The name by which the tool is called."""
        return self.tool["function"]["name"]

    def ask(self, r: Random, unseen: bool = False) -> Task:
        """A question that needs this tool."""
        return self._tasks(r, unseen, 1)[0]

    def several(self, r: Random, unseen: bool = False) -> list[Task]:
        """One question that needs two or three calls, which differ in one value; the first task holds it."""
        return self._tasks(r, unseen, r.choice([2, 2, 3]))

    def _tasks(self, r: Random, unseen: bool, count: int) -> list[Task]:
        asked = r.choice(self._asked)
        holds = _holds(asked)
        given = {s: self.source.slots[s].value(r, unseen) for s in holds}
        rows = [s for s in holds if self.source.slots[s].rows]
        lots = [given]
        if count > 1 and rows:
            each = r.choice(rows)
            lots += [given | {each: self.source.slots[each].value(r, unseen)} for _ in range(count - 1)]
            values = [lot[each] for lot in lots]
            if len(set(values)) < count:
                lots = lots[:1]
        shown = {s: _shown(r, v, self.source.slots[s].kind != "string") for s, v in given.items()}
        if len(lots) > 1:
            shown[each] = ", ".join(values[:-1]) + f" and {values[-1]}"
        question = asked.format(**shown)
        question = question[0].upper() + question[1:]
        return [self._task(r, loosely(r, question), lot, unseen) for lot in lots]

    def _task(self, r: Random, question: str, given: dict[str, Any], unseen: bool) -> Task:
        # Arguments come in the order of the declaration.
        arguments = {key: given[slot] for slot, key in self._keys.items() if slot in given}
        value, key = self.source.result(r, unseen), r.choice(self.source.keys)
        answer = self.source.answer.format(r=value, k=key.replace("_", " "), **given)
        return Task(self.tool, question, arguments, {key: value}, answer, keyed="{k}" in self.source.answer)
