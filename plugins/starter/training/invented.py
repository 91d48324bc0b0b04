"""Tools that nobody has written, put together from verbs, things and parameters: only the declaration explains them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from everyday import clock, date, done
from patterns import Pattern, Slot
from words import ANIMALS, COLOURS, DAYS, FOODS, JOBS, MONTHS, NAMES, PLACES, THINGS, TOWNS, a, cap, made_up, phrase, pick, words

_VERBS = words(
    "make build create open close start stop send move clean wash fill empty count check test update delete add remove "
    "buy sell order cancel copy print draw cut break fix repair hide show find get read fetch load store save share join "
    "leave visit invite call wake feed catch throw push pull lift drop turn spin heat cool cook bake freeze burn lock guard "
    "measure weigh sort mix pack wrap label rename assign approve reject publish archive scan upload download export import "
    "install deploy restart enable disable connect book reserve rent hire train teach record play pause schedule plan post"
)  # fmt: skip
_SAME = dict(pair.split(":") for pair in words(
    "make:create delete:remove buy:purchase fix:repair close:shut begin:start show:display find:locate get:fetch book:reserve "
    "change:edit send:deliver stop:halt check:verify build:construct join:enter throw:toss hire:employ wash:clean"
))  # fmt: skip
_OBJECTS = words(
    "report invoice ticket account room house car bus ship rocket engine robot drone camera lamp door window wall roof "
    "garden tree flower seed field farm river bridge road tunnel tower castle island planet star moon cloud storm machine "
    "tool hammer rope chair table bed clock radio phone screen page book letter card picture song poem game puzzle team "
    "player match score race party wedding trip flight hotel museum school class lesson exam student teacher doctor patient "
    "recipe cake soup meal menu shop market price coin bank loan contract server database table file folder branch build "
    "pipeline job task project event meeting message channel group user profile photo video playlist album order parcel "
    "delivery warehouse box bottle pump valve sensor battery motor switch signal alarm filter oven fridge spell potion dragon "
    "ghost treasure map sword shield crew cabin tank pool fence gate barn tractor field orchard hive"
)  # fmt: skip
_GET = words("get find fetch read check show lookup query load retrieve")
_KEYS = words(
    "name title type kind mode status level group owner label tag code number value weight height width depth speed size "
    "colour shape style format version limit reason comment target source language currency category priority"
)
_FLAGS = words("urgent quiet loud public private secret loop repeat force backup music lights insurance breakfast sugar tracking")


def _string(keys: str, abouts: str, value: Callable[[Random, bool], Any]) -> tuple[str, str, str, Callable[[Random, bool], Any]]:
    return keys, abouts, "string", value


def _among(choices: list[str]) -> Callable[[Random, bool], Any]:
    return lambda r, unseen: pick(r, choices, unseen)


# Keys; descriptions; type; what makes a value; how a question names it.
_ROLES = [
    (*_string("city place location town where site", "The city|Where|Where it happens|Name of the place", _among(TOWNS)), " in {x}| at {x}| near {x}"),
    (*_string("person name recipient guest user customer who for_whom client", "For whom|Name of the person|Who it is for", _among(NAMES)), " for {x}"),
    (*_string("owner author maker creator by", "Who made it|The owner", _among(NAMES)), " by {x}| of {x}"),
    (*_string("helper partner companion with_whom friend", "Who helps|Who comes along", _among(NAMES)), " with {x}| together with {x}"),
    (*_string("day date when on", "The day|On which day|Date", lambda r, _: date(r)), " on {x}| for {x}"),
    (*_string("month", "In which month", lambda r, _: r.choice(MONTHS)), " in {x}"),
    (*_string("time hour at start when", "At what time|When it begins", lambda r, _: clock(r)), " at {x}"),
    (*_string("title name called new_name id_name", "What it is called|The title|Its name", lambda r, _: made_up(r) if r.random() < 0.5 else pick(r, NAMES)), " called {x}| named {x}"),
    (*_string("colour color paint shade", "The colour", _among(COLOURS)), " in {x}| coloured {x}"),
    (*_string("source from origin start_point", "From where|Where it comes from", _among(PLACES)), " from {x}| from the {x}"),
    (*_string("target to destination goal", "To where|Where it goes", _among(PLACES)), " to {x}| to the {x}"),
    (*_string("material ingredient tool using", "What it is made with|What is used", _among([*THINGS, *FOODS])), " with {x}| using {x}"),
    (*_string("animal pet species", "Which animal", _among(ANIMALS)), " for the {x}| with the {x}"),
    (*_string("job role profession", "Which job|The role", _among(JOBS)), " as {x}"),
    (*_string("text message content note body comment", "The text|What it says", lambda r, _: phrase(r, 4)), ": {x}| saying: {x}| with the text {x}"),
]  # fmt: skip
_NAMED = [role for role in _ROLES if role[0].split()[0] in words("city person owner helper colour animal job")]
_COUNTS = [
    ("count number amount quantity how_many n total", "How many", "{x} "),
    ("minutes duration duration_minutes time", "How long, in minutes|Minutes", " for {x} minutes"),
    ("hours duration length", "How long, in hours|Hours", " for {x} hours"),
    ("days nights duration", "How many days|For how many days", " for {x} days"),
    ("people guests persons size", "How many people|Number of guests", " for {x} people| for {x} guests"),
    ("max_price budget limit price max", "What it may cost|The highest price", " for at most {x}| under {x}| up to {x}"),
    ("level volume percent strength value", "From 0 to 100|Percent", " at {x} percent| at level {x}| to {x}"),
    ("id number index no", "Its number|Number of the {n}", " number {x}| {x}| with the number {x}| no. {x}"),
    ("metres distance length width", "How far, in metres|Metres", " by {x} metres| {x} metres"),
]


def _slots(r: Random, noun: str) -> list[tuple[Slot, str]]:
    """Up to four parameters, each with the phrase that names it in a question; {x} stands for its value."""
    found: list[tuple[Slot, str]] = []
    count = r.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4])
    for role in r.sample(_ROLES, min(count, 4)):
        kind = r.random()
        if kind < 0.4:
            keys, abouts, what, value, phrases = role
            found.append((Slot(keys.split(), abouts.split("|"), what, value, rows=role in _NAMED), r.choice(phrases.split("|"))))
        elif kind < 0.65:
            number, about, phrases = r.choice(_COUNTS)
            high = r.choice([9, 30, 100, 1000])
            slot = Slot(number.split(), about.format(n=noun).split("|"), r.choice(["integer", "integer", "number"]), lambda r, _, high=high: r.randint(1, high))
            if all(slot.abouts != other.abouts for other, _ in found):
                found.append((slot, r.choice(phrases.split("|"))))
        elif kind < 0.72:
            flag = made_up(r) if r.random() < 0.3 else r.choice(_FLAGS)
            found.append((Slot([flag, f"with_{flag}"], [f"With {flag} or without", f"Whether with {flag}"], "boolean", lambda r, _: r.random() < 0.6), " {x} " + flag))
        else:
            key = made_up(r) if r.random() < 0.5 else r.choice(_KEYS)
            about = [f"The {key}", f"{cap(key)} of the {noun}", f"Which {key}"]
            if r.random() < 0.25:
                options = tuple(made_up(r) if r.random() < 0.5 else r.choice(COLOURS + THINGS) for _ in range(r.randint(2, 4)))
                slot = Slot([key], about, "string", lambda r, _, options=options: r.choice(options), options)
            elif r.random() < 0.4:
                slot = Slot([key], about, "integer", lambda r, _: r.randint(0, 999))
            else:
                slot = Slot([key], about, "string", lambda r, unseen: pick(r, r.choice([NAMES, THINGS, TOWNS]), unseen, share=0.7), rows=True)
            shown = r.choice([" with {k} {x}", " with the {k} {x}", ", {k} {x}", ", {k}: {x}", " ({k} = {x})", " where {k} is {x}", " of {k} {x}", ". The {k} is {x}"])
            found.append((slot, shown.replace("{k}", key)))
    return [item for i, item in enumerate(found) if all(set(item[0].keys).isdisjoint(other[0].keys) for other in found[:i])]


def invent(r: Random, unseen: bool = False, like: tuple[str, str] | None = None) -> tuple[Pattern, tuple[str, str]]:
    """A pattern, and the verb and the thing that it is about.

    Args:
        r: the source of chance.
        unseen: of a thing, and often with a verb, that no list holds.
        like: share the verb or the thing with these, so that only the other tells the two tools apart.
    """
    verb = made_up(r) if r.random() < (0.5 if unseen else 0.25) else r.choice(_VERBS)
    noun = made_up(r) if unseen or r.random() < 0.5 else r.choice(_OBJECTS)
    asks = r.random() < 0.3  # for something, rather than to do something
    if asks:
        verb = r.choice(_GET)
    if like:
        verb, noun = (like[0], noun) if r.random() < 0.5 else (verb, like[1])
    name = r.choice([f"{verb}_{noun}", f"{verb}_{noun}", f"{verb}{noun.capitalize()}", f"{noun}_{verb}", noun if asks else verb, f"{verb}-{noun}", f"{made_up(r)}_{verb}_{noun}"])
    told = _SAME.get(verb, verb) if r.random() < 0.3 else verb
    about = r.choice([f"{cap(told)} {a(noun)}", f"{cap(told)} the {noun}", f"Use this to {told} {a(noun)}.", f"{cap(told)} {noun}s", f"Lets you {told} {a(noun)}"])
    slots, phrases, before = {}, {}, ""
    for i, (slot, shown) in enumerate(_slots(r, noun)):
        slots[f"s{i}"] = slot
        part = shown.replace("{x}", f"{{s{i}}}")
        if shown == "{x} ":
            before = part
        else:
            phrases[f"s{i}"] = part
    asked = []
    for _ in range(4):
        chosen = [p for p in phrases.values() if r.random() < 0.75]
        r.shuffle(chosen)
        # What runs to the end of the question comes last.
        chosen.sort(key=lambda p: p.startswith((":", " saying", ". ", " with the text")))
        tail = "".join(chosen)
        thing = r.choice([a(noun), f"the {noun}", f"my {noun}", noun])
        if before and r.random() < 0.8:
            thing = f"{before}{noun}s"
        if asks:
            start = r.choice(["What is the {n}", "Show me the {n}", "Tell me the {n}", "Get the {n}", "I need the {n}", "Which {n} is it", "Find the {n}", "what is the {n}"]).replace("{n}", noun)
        else:
            start = r.choice(["{V} {t}", "{V} {t}", "Please {v} {t}", "Can you {v} {t}", "Could you {v} {t}", "I want to {v} {t}", "I need you to {v} {t}", "{v} {t}", "I would like to {v} {t}", "Go and {v} {t}"]).replace("{V}", cap(verb)).replace("{v}", verb).replace("{t}", thing)
        end = "?" if start.startswith(("What", "Which", "what", "Can", "Could")) else "."
        asked.append(start + tail + ("" if tail and chosen[-1].startswith((":", " saying")) else end))
    if asks:
        key = r.choice([noun, "result", "value"])
        result = (lambda r, _: r.randint(0, 9999)) if r.random() < 0.4 else (lambda r, unseen: pick(r, [*NAMES], True) if r.random() < 0.3 else phrase(r, 2))
        return Pattern([name], [about], slots, asked, result, [key], f"The {noun} is {{r}}."), (verb, noun)
    kind = r.random()
    if kind < 0.55:
        return Pattern([name], [about], slots, asked, done, words("ok done success status_ok"), "Done."), (verb, noun)
    keys = [made_up(r) if r.random() < 0.3 else r.choice([*_KEYS, "id", "result", "time", "price"])]
    result = (lambda r, _: r.randint(0, 9999)) if r.random() < 0.5 else (lambda r, _: r.choice([made_up(r), pick(r, NAMES), clock(r), r.choice(DAYS)]))
    return Pattern([name], [about], slots, asked, result, keys, "The {k} is {r}."), (verb, noun)
