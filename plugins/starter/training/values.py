"""What tools take and give back: makers of values, and the lists they draw from."""

from __future__ import annotations

from random import Random
from typing import Any

from patterns import Maker
from words import DAYS, NAMES, made_up, phrase, pick, words

LANGUAGES = words("French German Spanish Italian Dutch Polish Greek Latin Turkish Swedish Danish Finnish Welsh")
MONEY = words("EUR USD GBP JPY CHF SEK NOK PLN CAD AUD euros dollars pounds yen francs crowns")
ROOMS = words("kitchen bedroom bathroom hall office garage cellar attic garden balcony study")
LANDS = words("France Italy Spain Germany Japan Egypt Norway Peru Kenya Canada Greece Poland Cuba Chile India China")
SONGS = words("Yesterday,Imagine,Thunder,Hello,Blue Moon,Let It Be,Sunrise,Happy Birthday,Autumn Leaves", ",")


def number(low: int, high: int) -> Maker:
    """A whole number as a result."""
    return lambda r, _: r.randint(low, high)


def done(r: Random, _: bool) -> Any:
    """A result that says no more than that it was done."""
    return True


def word(r: Random, unseen: bool) -> Any:
    """A word or two as a result."""
    return " ".join(made_up(r) for _ in range(r.choice([1, 1, 2, 3])))


def person(r: Random, unseen: bool) -> Any:
    """A name as a result."""
    return pick(r, NAMES, unseen)


def date(r: Random) -> str:
    """A day in the form of ISO 8601, or of the week."""
    if r.random() < 0.4:
        return r.choice([*DAYS, "today", "tomorrow"])
    return f"{r.randint(2000, 2040)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"


def clock(r: Random) -> str:
    """A time of the day."""
    return r.choice([f"{r.randint(0, 23):02}:{r.randint(0, 59):02}", f"{r.randint(1, 12)} {r.choice(['am', 'pm'])}"])


def when(r: Random, unseen: bool) -> Any:
    """A time as a result."""
    return f"{r.randint(0, 23):02}:{r.randint(0, 59):02}"


def topic(r: Random) -> str:
    """Something to look for or to write down."""
    return phrase(r, 4)


OK = "ok done success sent saved"
