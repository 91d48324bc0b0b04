"""Small talk: greetings, moods, thanks, and who is speaking."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from documents import Message, ask
from words import carelessly

Wordings = list[tuple[list[str], str]]  # what may be said, and the answer to all of it


def _read(text: str) -> Wordings:
    blocks = (block.strip().partition("\n= ") for block in text.split("\n\n"))
    return [(asked.replace("\n", "").split("|"), answer) for asked, mark, answer in blocks if mark]


_GREETINGS, _UNHEARD = map(_read, Path(__file__).with_name("smalltalk.txt").read_text(encoding="utf-8").split("----"))
_BEFORE = ["Oh, ", "Well, ", "So, ", "Hey, ", "Hm, ", "Ah, ", "Hi Starter, ", "Oh well, ", "By the way, ", "Okay, "]
_AFTER = [
    ", Starter",
    " :)",
    "!!",
    ", my friend",
    " then",
    "...",
    ", please",
    " now",
    " today",
    " ;-)",
    ", you know",
    "??",
]

_KEPT = {re.sub(r"\W", "", asked).lower() for wordings, _ in _UNHEARD for asked in wordings}


def _worded(r: Random, question: str) -> str:
    kind = r.random()
    if kind < 0.12:
        start = r.choice(_BEFORE)
        question = start + (question if question.startswith(("I ", "I'")) else question[0].lower() + question[1:])
    elif kind < 0.24:
        question = question.rstrip(".?!") + r.choice(_AFTER)
    question = carelessly(r, question)
    if r.random() < 0.1:  # a slip of the finger
        at = r.randrange(len(question))
        question = question[:at] + r.choice([question[at] * 2, "", question[at : at + 2][::-1]]) + question[at + 1 :]
    return question or "Hi"


def greeting(r: Random) -> list[Message]:
    """Hello, thanks, goodbye, and who is speaking, in the many ways of saying so."""
    wordings, answer = r.choice(_GREETINGS)
    while re.sub(r"\W", "", question := _worded(r, r.choice(wordings))).lower() in _KEPT:
        pass
    return ask(question, answer)


def unheard(r: Random) -> list[Message]:
    """Small talk in wordings that `greeting` never uses."""
    wordings, answer = r.choice(_UNHEARD)
    return ask(r.choice(wordings), answer)
