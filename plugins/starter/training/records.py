"""JSON: facts in a sentence or a list become one object or array on one line."""

from __future__ import annotations

from random import Random
from typing import Any

from documents import Message, ask, dumps
from words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, NAMES, THINGS, TOWNS, cap, loosely, made_up, pick, words

_PLAIN = [
    "Answer in JSON with {k}: {s}.", "Give me a JSON object with the keys {k}. {S}.",
    "{S}. Write that as JSON with {k}.",
    "Make JSON with {k} from this: {s}.", "Write a JSON object with {k}. {S}.", "Turn this into JSON with {k}: {s}.",
    "Extract {k} as JSON: {s}.", "Return JSON with the keys {k}. {S}.", "{S}. Give me {k} as JSON.",
]  # fmt: skip
_WHOLE = ["Write this as JSON: {s}.", "Turn this into JSON: {s}.", "{S}. Write that as JSON.", "JSON please: {s}",
          "Convert to JSON: {s}",
          "Make a JSON object: {s}.", "As JSON: {s}"]  # fmt: skip
_INLINE = [
    "Make a JSON object with {s}.",
    "Give me JSON with {s}.",
    "Create JSON with {s}",
    "Write a JSON object with {s}.",
    "JSON with {s}",
]
_LISTS = [
    "Write a JSON list of {s}.",
    "Put these in a JSON list: {s}.",
    "Make a JSON array: {s}",
    "JSON array of {s}",
    "Give me a JSON list with {s}.",
]


def _value(r: Random, key: str, unseen: bool) -> Any:
    """A value that fits the key."""
    lists = {"name": NAMES, "city": TOWNS, "colour": COLOURS, "color": COLOURS, "job": JOBS, "pet": ANIMALS,
             "food": FOODS, "day": DAYS,
             "item": THINGS, "friend": NAMES, "title": THINGS, "country": TOWNS}  # fmt: skip
    if key in lists:
        return pick(r, lists[key], unseen)
    if key in ("age", "count", "price", "size", "year", "score"):
        return r.randint(1900, 2030) if key == "year" else r.randint(1, 99) if r.random() < 0.6 else r.randint(100, 999)
    if key in ("open", "done", "active"):
        return r.random() < 0.5
    return r.randint(1, 99) if r.random() < 0.2 else made_up(r)


_KEYS = words(
    "name age city colour job pet food day item friend title country count price size year score open done active color"
)


def _said(r: Random, key: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{key} is {'true' if value else 'false'}"
    return r.choice(["the {k} is {v}", "the {k} is {v}", "{k} is {v}", "{k}: {v}", "{k} = {v}"]).format(k=key, v=value)


def _person(r: Random, unseen: bool) -> tuple[str, dict[str, Any]]:
    """A natural sentence about somebody, and what it says."""
    name, age, city, job = pick(r, NAMES, unseen), r.randint(3, 99), pick(r, TOWNS, unseen), pick(r, JOBS, unseen)
    colour = pick(r, COLOURS, unseen)
    return r.choice([
        (f"{name} is {age} years old and lives in {city}", {"name": name, "age": age, "city": city}),
        (f"{name} lives in {city} and is {age} years old", {"name": name, "city": city, "age": age}),
        (f"{name} from {city} likes {colour}", {"name": name, "city": city, "colour": colour}),
        (f"{name} is a {job} in {city}", {"name": name, "job": job, "city": city}),
        (f"{name} works as a {job} and is {age}", {"name": name, "job": job, "age": age}),
    ])  # fmt: skip


def exchange(r: Random, unseen: bool = False) -> list[Message]:
    """One request for JSON and the line that answers it."""
    kind = r.random()
    if kind < 0.12:
        values = [
            _value(r, r.choice(["name", "city", "colour", "food", "pet"]), unseen) for _ in range(r.randint(2, 5))
        ]
        said = r.choice([", ".join(values), ", ".join(values[:-1]) + " and " + values[-1]])
        return ask(loosely(r, r.choice(_LISTS).format(s=said)), dumps(values))
    if kind < 0.4:
        said, record = _person(r, unseen)
        keys = list(record)
        if r.random() < 0.5:
            keys = r.sample(keys, r.randint(1, len(keys)) if r.random() < 0.3 else len(keys))
            wording = r.choice(_PLAIN)
        else:
            wording = r.choice(_WHOLE)
    else:
        keys = r.sample(_KEYS, r.randint(1, 4)) if r.random() < 0.6 else [made_up(r) for _ in range(r.randint(1, 3))]
        record = {key: _value(r, key, unseen) for key in keys}
        inline = r.random() < 0.2  # "Make a JSON object with name Mia and age 7."
        wording = r.choice(_INLINE if inline else _PLAIN if r.random() < 0.7 else _WHOLE)
        # Told in the order of the keys where no keys are named, else in any order.
        order = r.sample(keys, len(keys)) if "{k}" in wording else keys
        form = r.choice(["{k} {v}", "{k} '{v}'", "{k} = {v}"]) if inline else None
        parts = [
            form.format(k=key, v=dumps(record[key]).strip('"')) if form else _said(r, key, record[key]) for key in order
        ]
        said = (
            r.choice([", ", ", ", "; "]).join(parts)
            if len(parts) < 2 or r.random() < 0.7
            else ", ".join(parts[:-1]) + " and " + parts[-1]
        )
    named = ", ".join(keys[:-1]) + " and " + keys[-1] if len(keys) > 1 and r.random() < 0.5 else ", ".join(keys)
    question = wording.format(k=named, s=said, S=cap(said))
    return ask(question, dumps({key: record[key] for key in keys}))
