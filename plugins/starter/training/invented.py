"""Tools that nobody has written, put together from verbs, things and parameters: only the declaration explains them."""

from __future__ import annotations

from random import Random

from patterns import Maker, Pattern, Slot
from values import clock, date, done
from words import (
    ANIMALS,
    COLOURS,
    DAYS,
    FOODS,
    JOBS,
    MONTHS,
    NAMES,
    PLACES,
    THINGS,
    TOWNS,
    a,
    cap,
    made_up,
    phrase,
    pick,
    words,
)

_VERBS = words(
    "make build create open close start stop send move clean wash fill empty count check test update delete add "
    "remove buy sell order cancel copy print draw cut break fix repair hide show find get read fetch load store "
    "save share join leave visit invite call wake feed catch throw push pull lift drop turn spin heat cool cook "
    "bake freeze burn lock guard measure weigh sort mix pack wrap label rename assign approve reject publish "
    "archive scan upload download export import install deploy restart enable disable connect book reserve rent "
    "hire train teach record play pause schedule plan post"
)
_SAME = dict(
    pair.split(":")
    for pair in words(
        "make:create delete:remove buy:purchase fix:repair close:shut begin:start show:display find:locate get:fetch "
        "change:edit send:deliver stop:halt check:verify build:construct join:enter throw:toss hire:employ wash:clean "
        "book:reserve"
    )
)
_OBJECTS = words(
    "report invoice ticket account room house car bus ship rocket engine robot drone camera lamp door window wall "
    "roof garden tree flower seed field farm river bridge road tunnel tower castle island planet star moon cloud "
    "storm machine tool hammer rope chair table bed clock radio phone screen page book letter card picture song "
    "poem game puzzle team player match score race party wedding trip flight hotel museum school class lesson exam "
    "student teacher doctor patient recipe cake soup meal menu shop market price coin bank loan contract server "
    "database table file folder branch build pipeline job task project event meeting message channel group user "
    "profile photo video playlist album order parcel delivery warehouse box bottle pump valve sensor battery motor "
    "switch signal alarm filter oven fridge spell potion dragon ghost treasure map sword shield crew cabin tank "
    "pool fence gate barn tractor field orchard hive"
)
_GET = words("get find fetch read check show lookup query load retrieve")
_KEYS = words(
    "name title type kind mode status level group owner label tag code number value weight height width depth speed "
    "size colour shape style format version limit reason comment target source language currency category priority"
)
_FLAGS = words(
    "urgent quiet loud public private secret loop repeat force backup music lights insurance breakfast sugar tracking"
)


def _among(choices: list[str]) -> Maker:
    return lambda r, unseen: pick(r, choices, unseen)


def _title(r: Random, _: bool) -> str:
    return made_up(r) if r.random() < 0.5 else pick(r, NAMES)


Role = tuple[str, str, Maker, str]  # keys; descriptions; what makes a value; how a question names it

_NAMED: list[Role] = [  # several of these can be said in a row
    ("city place location town where site", "The city|Where|Where it happens|Name of the place", _among(TOWNS),
     " in {x}| at {x}| near {x}"),
    ("person name recipient guest user customer who for_whom client", "For whom|Name of the person|Who it is for",
     _among(NAMES), " for {x}"),
    ("owner author maker creator by", "Who made it|The owner", _among(NAMES), " by {x}| of {x}"),
    ("helper partner companion with_whom friend", "Who helps|Who comes along", _among(NAMES),
     " with {x}| together with {x}"),
    ("colour color paint shade", "The colour", _among(COLOURS), " in {x}| coloured {x}"),
    ("animal pet species", "Which animal", _among(ANIMALS), " for the {x}| with the {x}"),
    ("job role profession", "Which job|The role", _among(JOBS), " as {x}"),
]  # fmt: skip
_ROLES: list[Role] = [
    *_NAMED,
    ("day date when on", "The day|On which day|Date", lambda r, _: date(r), " on {x}| for {x}"),
    ("month", "In which month", lambda r, _: r.choice(MONTHS), " in {x}"),
    ("time hour at start when", "At what time|When it begins", lambda r, _: clock(r), " at {x}"),
    ("title name called new_name id_name", "What it is called|The title|Its name", _title, " called {x}| named {x}"),
    ("source from origin start_point", "From where|Where it comes from", _among(PLACES), " from {x}| from the {x}"),
    ("target to destination goal", "To where|Where it goes", _among(PLACES), " to {x}| to the {x}"),
    ("material ingredient tool using", "What it is made with|What is used", _among([*THINGS, *FOODS]),
     " with {x}| using {x}"),
    ("text message content note body comment", "The text|What it says", lambda r, _: phrase(r, 4),
     ": {x}| saying: {x}| with the text {x}"),
]  # fmt: skip
_BEFORE = "{x} "  # stands before the thing: "three boxes"
_COUNTS = [
    ("count number amount quantity how_many n total", "How many", _BEFORE),
    ("minutes duration duration_minutes time", "How long, in minutes|Minutes", " for {x} minutes"),
    ("hours duration length", "How long, in hours|Hours", " for {x} hours"),
    ("days nights duration", "How many days|For how many days", " for {x} days"),
    ("people guests persons size", "How many people|Number of guests", " for {x} people| for {x} guests"),
    (
        "max_price budget limit price max",
        "What it may cost",
        " for at most {x}| under {x}| up to {x}",
    ),
    ("level volume percent strength value", "From 0 to 100|Percent", " at {x} percent| at level {x}| to {x}"),
    ("id number index no", "Its number|Number of the {n}", " number {x}| {x}| with the number {x}| no. {x}"),
    ("metres distance length width", "How far, in metres|Metres", " by {x} metres| {x} metres"),
]
_PLAIN = [
    " with {k} {x}", " with the {k} {x}", ", {k} {x}", ", {k}: {x}", " ({k} = {x})", " where {k} is {x}",
    " of {k} {x}", ". The {k} is {x}",
]  # fmt: skip


def _number(low: int, high: int) -> Maker:
    return lambda r, _: r.randint(low, high)


def _slot(r: Random, noun: str) -> tuple[Slot, str]:
    """One parameter and the phrase that names it in a question; {x} stands for its value."""
    kind = r.random()
    if kind < 0.4:
        role = r.choice(_ROLES)
        keys, abouts, value, shown = role
        return Slot(keys.split(), abouts.split("|"), "string", value, rows=role in _NAMED), r.choice(shown.split("|"))
    if kind < 0.65:
        keys, about, shown = r.choice(_COUNTS)
        abouts = about.format(n=noun).split("|")
        value = _number(1, r.choice([9, 30, 100, 1000]))
        return Slot(keys.split(), abouts, r.choice(["integer", "integer", "number"]), value), r.choice(shown.split("|"))
    if kind < 0.72:
        flag = made_up(r) if r.random() < 0.3 else r.choice(_FLAGS)
        abouts = [f"With {flag} or without", f"Whether with {flag}"]
        return Slot([flag, f"with_{flag}"], abouts, "boolean", lambda r, _: r.random() < 0.6), " {x} " + flag
    key = made_up(r) if r.random() < 0.5 else r.choice(_KEYS)
    shown, abouts = r.choice(_PLAIN).replace("{k}", key), [f"The {key}", f"{cap(key)} of the {noun}", f"Which {key}"]
    if r.random() < 0.25:
        options = [made_up(r) if r.random() < 0.5 else r.choice(COLOURS + THINGS) for _ in range(r.randint(2, 4))]
        return Slot([key], abouts, "string", lambda r, _: r.choice(options), options), shown
    if r.random() < 0.4:
        return Slot([key], abouts, "integer", _number(0, 999)), shown
    value = _among(r.choice([NAMES, THINGS, TOWNS]))
    return Slot([key], abouts, "string", value, rows=True), shown


def _slots(r: Random, noun: str) -> list[tuple[Slot, str]]:
    """Up to four parameters that no question would confuse."""
    found: list[tuple[Slot, str]] = []
    for _ in range(r.choice([0, 1, 1, 1, 2, 2, 2, 3, 3, 4])):
        new = _slot(r, noun)
        if all(set(new[0].keys).isdisjoint(slot.keys) and new[1] != shown for slot, shown in found):
            found.append(new)
    return found


_DO = [
    "{V} {t}", "{V} {t}", "Please {v} {t}", "Can you {v} {t}", "Could you {v} {t}", "I want to {v} {t}",
    "I need you to {v} {t}", "{v} {t}", "I would like to {v} {t}", "Go and {v} {t}",
]  # fmt: skip
_ASK = [
    "What is the {n}", "Show me the {n}", "Tell me the {n}", "Get the {n}", "I need the {n}", "Which {n} is it",
    "Find the {n}", "what is the {n}",
]  # fmt: skip


def _asked(r: Random, verb: str, noun: str, asks: bool, phrases: list[str]) -> str:
    """A question with most of the phrases."""
    chosen = [p for p in phrases if r.random() < 0.75]
    r.shuffle(chosen)
    # What runs to the end of the question comes last.
    chosen.sort(key=lambda p: p.startswith((":", " saying", ". ", " with the text")))
    before = next((p for p in chosen if p.endswith("} ")), "")
    tail = "".join(p for p in chosen if p != before)
    thing = f"{before}{noun}s" if before else r.choice([a(noun), f"the {noun}", f"my {noun}", noun])
    start = r.choice(_ASK if asks else _DO).format(V=cap(verb), v=verb, t=thing, n=noun)
    end = "?" if start.lower().startswith(("what", "which", "can", "could")) else "."
    return start + tail + ("" if tail and chosen[-1].startswith((":", " saying")) else end)


def _named(r: Random, verb: str, noun: str, asks: bool) -> str:
    """A name as programmers write it."""
    return r.choice([
        f"{verb}_{noun}", f"{verb}_{noun}", f"{verb}{noun.capitalize()}", f"{noun}_{verb}", noun if asks else verb,
        f"{verb}-{noun}", f"{made_up(r)}_{verb}_{noun}",
    ])  # fmt: skip


def _value(r: Random, _: bool) -> str | int:
    return r.choice([r.randint(0, 9999), r.randint(0, 99), made_up(r), pick(r, NAMES), clock(r), r.choice(DAYS)])


def invent(r: Random, unseen: bool = False, like: tuple[str, str] | None = None) -> tuple[Pattern, tuple[str, str]]:
    """A pattern, and the verb and the thing that it is about.

    Args:
        r: the source of chance.
        unseen: of a thing, and often with a verb, that no list holds.
        like: share the verb or the thing with these, so that only the other tells the two tools apart.
    """
    asks = r.random() < 0.3  # for something, rather than to do something
    verb = r.choice(_GET) if asks else made_up(r) if r.random() < (0.5 if unseen else 0.25) else r.choice(_VERBS)
    noun = made_up(r) if unseen or r.random() < 0.5 else r.choice(_OBJECTS)
    if like:
        verb, noun = (like[0], noun) if r.random() < 0.5 else (verb, like[1])
    told = _SAME.get(verb, verb) if r.random() < 0.3 else verb
    about = r.choice([
        f"{cap(told)} {a(noun)}", f"{cap(told)} the {noun}", f"Use this to {told} {a(noun)}.", f"{cap(told)} {noun}s",
        f"Lets you {told} {a(noun)}",
    ])  # fmt: skip
    found = _slots(r, noun)
    slots = {f"s{i}": slot for i, (slot, _) in enumerate(found)}
    phrases = [shown.replace("{x}", f"{{s{i}}}") for i, (_, shown) in enumerate(found)]
    asked = [_asked(r, verb, noun, asks, phrases) for _ in range(4)]
    result, keys, answer = _value, [r.choice([noun, "result", "value"])], f"The {noun} is {{r}}."
    if not asks and r.random() < 0.55:
        result, keys, answer = done, words("ok done success"), "Done."
    elif not asks:
        keys = [made_up(r) if r.random() < 0.3 else r.choice([*_KEYS, "id", "result", "time", "price"])]
        answer = "The {k} is {r}."
    return Pattern([_named(r, verb, noun, asks)], [about], slots, asked, result, keys, answer), (verb, noun)
