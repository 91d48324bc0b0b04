"""Arithmetic: a + b and a - b >= 0 for 0..99, tables to 12, in many wordings, alone or thought out."""

from __future__ import annotations

import json
import zlib
from random import Random

from documents import Message, ask
from words import NAMES, loosely, made_up, pick, words

Sum = tuple[int, str, int, int]  # a, sign, b, result

_WORDINGS = {
    "+": [
        "What is {a} + {b}?", "What is {a}+{b}?", "What's {a} + {b}?", "What is {a} plus {b}?", "{a} + {b}", "{a}+{b}",
        "{a}+{b}=", "{a} + {b} = ?", "Calculate {a} + {b}.", "How much is {a} plus {b}?", "How much is {a} + {b}?",
        "Add {a} and {b}.", "What is the sum of {a} and {b}?", "Compute {a}+{b}.", "Can you add {a} and {b}?",
        "Please calculate {a} + {b}", "what's {a}+{b}", "and {a} + {b}?", "{a} plus {b}",
    ],
    "-": [
        "What is {a} - {b}?", "What is {a}-{b}?", "What's {a} - {b}?", "What is {a} minus {b}?", "{a} - {b}", "{a}-{b}",
        "{a}-{b}=", "{a} - {b} = ?", "Calculate {a} - {b}.", "How much is {a} minus {b}?", "How much is {a} - {b}?",
        "Subtract {b} from {a}.", "Take {b} away from {a}.", "Compute {a}-{b}.", "{a} minus {b}", "what's {a}-{b}",
        "Please calculate {a} - {b}", "and {a} - {b}?",
    ],
    "×": [
        "What is {a} × {b}?", "What is {a} * {b}?", "What is {a}*{b}?", "What is {a} times {b}?", "{a} * {b}",
        "{a}*{b}", "{a} x {b}", "{a}*{b}=", "{a} × {b} = ?", "Calculate {a} * {b}.", "How much is {a} times {b}?",
        "Multiply {a} by {b}.", "Compute {a}*{b}.", "{a} times {b}", "what's {a}*{b}", "what is {a} x {b}?",
    ],
}  # fmt: skip
_GAIN = [
    "{n} has {a} {t} and finds {b} more.",
    "{n} had {a} {t} and bought {b} more.",
    "{n} has {a} {t} and gets {b} more.",
]
_LOSS = [
    "{n} has {a} {t} and eats {b} of them.",
    "{n} had {a} {t} and gave away {b}.",
    "{n} has {a} {t} and loses {b}.",
]
_THINGS = words("apples nuts pears coins books cards stones shells berries cakes")
TOO_BIG = "That is too big for me. I add and subtract numbers up to 99, and I know the tables up to 12."
BELOW_ZERO = "That is less than zero, which I have not learned. I subtract smaller numbers from larger ones, up to 99."
NO_DIVISION = "I have not learned to divide. I add and subtract numbers up to 99, and I know the tables up to 12."


def held_out(a: int, sign: str, b: int) -> bool:
    """Whether this sum is kept from training: one in ten of those that have two digits somewhere.

    Sums of two single digits stay in, because the thinking steps are made of them; tables stay in, because
    they are facts, held out by `wording_held_out`. Both orders of an addition are held out together.
    """
    if sign == "×" or max(a, b) < 10:
        return False
    if sign == "+":
        a, b = min(a, b), max(a, b)
    return zlib.crc32(f"{a}{sign}{b}".encode()) % 10 == 0


def wording_held_out(a: int, b: int, wording: str) -> bool:
    """Whether training never asks for this entry of a table in this wording."""
    return zlib.crc32(f"{a}×{b} {wording}".encode()) % 10 == 0


def draw(r: Random, held: bool = False) -> Sum:
    """A sum from the training side, or with `held` from the kept one (tables belong to both)."""
    sign = r.choice("++--×")
    if sign == "×":
        a, b = r.randint(0, 12), r.randint(0, 12)
        return a, sign, b, a * b
    while True:
        # A third of the sums are short ones: people try those first, and they are the steps of the long ones.
        top = r.choice((99, 99, 30))
        a, b = r.randint(0, top), r.randint(0, top)
        if sign == "-" and b > a:
            a, b = b, a
        if held_out(a, sign, b) == held:
            return a, sign, b, a + b if sign == "+" else a - b


def thoughts(a: int, sign: str, b: int, result: int) -> str:
    """The written method: units, carry or loan, tens."""
    if sign == "×":
        return f"The table of {a}: {a} times {b} is {result}."
    (s, u), (t, v) = divmod(a, 10), divmod(b, 10)
    if sign == "+":
        units = f"Units: {u} + {v} = {u + v}"
        if u + v < 10:
            return f"{units}. Tens: {s} + {t} = {s + t}. Together {result}."
        return f"{units}, write {u + v - 10}, carry 1. Tens: {s} + {t} + 1 = {s + t + 1}. Together {result}."
    if u >= v:
        return f"Units: {u} - {v} = {u - v}. Tens: {s} - {t} = {s - t}. Together {result}."
    units = f"Units: {u} is less than {v}, borrow: {u + 10} - {v} = {u + 10 - v}"
    return f"{units}. Tens: {s} - 1 - {t} = {s - 1 - t}. Together {result}."


def exchange(r: Random, think: bool = False, held: bool = False) -> list[Message]:
    """One question about a sum and its answer."""
    a, sign, b, result = draw(r, held)
    answer = f"{a} {sign} {b} = {result}."
    if sign != "×" and r.random() < 0.1:
        name, thing = pick(r, NAMES), r.choice(_THINGS)
        told = r.choice(_GAIN if sign == "+" else _LOSS).format(n=name, a=a, b=b, t=thing)
        asked = r.choice([f"How many {thing} does {name} have now?", f"How many {thing} are there now?"])
        question, answer = f"{told} {asked}", f"{answer} There are {result} {thing} now."
    else:
        wordings = _WORDINGS[sign]
        if sign == "×":
            wordings = [w for w in wordings if wording_held_out(a, b, w) == held] or wordings
        question = loosely(r, r.choice(wordings).format(a=a, b=b))
    return ask(question, answer, thoughts(a, sign, b, result) if think else None)


def too_hard(r: Random) -> list[Message]:
    """A sum beyond the small world, and the honest sentence about it."""
    sign = r.choice("+-×/")
    if r.random() < 0.12:
        a = r.randint(0, 98)
        question = r.choice(_WORDINGS["-"]).format(a=a, b=r.randint(a + 1, 99))
        return ask(loosely(r, question), BELOW_ZERO)
    if sign == "/":
        a, b = r.randint(2, 99), r.randint(2, 12)
        wording = r.choice(["What is {a} / {b}?", "{a}/{b}", "What is {a} divided by {b}?", "Divide {a} by {b}."])
        return ask(loosely(r, wording.format(a=a, b=b)), NO_DIVISION)
    if sign == "×":
        a, b = r.randint(13, 999), r.randint(2, 99)
        if r.random() < 0.5:
            a, b = b, a
    else:
        a, b = r.randint(100, 9999), r.randint(1, 9999)
        if sign == "+" and r.random() < 0.5:
            a, b = b, a
        elif sign == "-":
            a, b = max(a, b), min(a, b)
    return ask(loosely(r, r.choice(_WORDINGS[sign]).format(a=a, b=b)), TOO_BIG)


def drill(r: Random) -> str:
    """A page of exercises for the first part of the training: bare sums, or bare copying of made-up words.

    The word lines are what remembering is made of: say it again, say it again in another dress, find it by its key.
    """
    if r.random() < 0.6:
        return "".join(f"{a}{s}{b}={n}\n" for a, s, b, n in (draw(r) for _ in range(24)))
    lines = []
    for _ in range(6):
        keys = [*r.sample(words("name city pet friend colour food title"), 3), made_up(r)]
        values = {key: made_up(r).capitalize() if r.random() < 0.6 else made_up(r) for key in keys}
        if r.random() < 0.4:  # the same words, in quotes
            said = list(values.values())
            lines.append(f"{', '.join(said)}={json.dumps(said)}\n")
            continue
        key = r.choice(keys)
        said = ", ".join(f"{k} {w}" for k, w in values.items())
        lines.append(r.choice([f"{said}: {key}= {values[key]}", f'{said}: "{key}"="{values[key]}"']) + "\n")
    return "".join(lines)
