"""Remembering: something is said, other things follow, and then it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from documents import Message, ask, system
from subjects import PEOPLE, SUBJECTS, Memo, changed, memo, unknown
from words import NAMES, odd_name, pick

Chat = Callable[[], list[Message]]

_NODS = ["Nice to know!", "Thank you for telling me.", "I will remember that.", "Good to know.", "All right."]
_CORRECTIONS = ["Correction: ", "No, wait. ", "Sorry, I was wrong. ", "I made a mistake. ", "Actually: ", "Actually, "]


def _tell(r: Random, said: Memo) -> list[Message]:
    reply = r.choice(_NODS)
    if said.topic == "name" and r.random() < 0.7:
        reply = f"Nice to meet you, {said.value}!"
    return ask(said.said, reply)


def conversation(r: Random, chat: Chat, think: bool = False, unseen: bool = False) -> list[Message]:
    """A talk in which one to three things are told, `chat` makes distractors between, and one thing is asked.

    Args:
        r: the source of chance.
        chat: makes one exchange about something else.
        think: give the last answer its thoughts.
        unseen: use only made-up values.
    """
    memos: list[Memo] = []
    for _ in range(r.choice([1, 1, 2, 2, 3])):
        told = memo(r, unseen)
        if all(told.topic != other.topic for other in memos):
            memos.append(told)
    wanted = r.choice(memos)
    question, answer, thoughts = wanted.question(r), wanted.answer, wanted.thoughts
    if len(memos) == 1 and r.random() < 0.08:
        # In one turn: "My name is Mia. What is my name?"
        return ask(f"{wanted.said.rstrip('.')}. {question}", answer, thoughts if think else None)
    messages: list[Message] = []
    topics = [m.topic for m in memos]
    if r.random() < 0.1:
        topics.append("name")
        name = pick(r, NAMES, unseen)
        messages += system(r.choice([f"The user's name is {name}.", f"You are talking with {name}."]))
        memos = [m for m in memos if m.topic != "name"]
        question, answer = r.choice(["What is my name?", "Who am I?"]), f"Your name is {name}."
        thoughts = f"The system says that the user is {name}."
    if r.random() < 0.3 and len(memos) > 1:
        messages += ask(" ".join(m.said.rstrip(".") + "." for m in memos), r.choice(_NODS))
    else:
        for told in memos:
            messages += _tell(r, told)
            if r.random() < 0.25:
                messages += chat()
    for _ in range(r.choice([0, 0, 1, 1, 2])):
        messages += chat()
    others = [m for m in memos if m is not wanted]
    if r.random() < 0.15 and others:
        other = r.choice(others)
        messages += ask(other.question(r), other.answer)
    if r.random() < 0.05 and not think and not unseen:
        return messages + unknown(r, topics)
    messages += ask(question, answer, thoughts if think else None)
    if r.random() < 0.1 and not think and not unseen:
        for other in others:
            messages += ask(other.question(r), other.answer)
    return messages


def long_talk(r: Random, chat: Chat, turns: int, think: bool = False, unseen: bool = False) -> list[Message]:
    """A talk of many turns in which much is told, some of it corrected, and asked for early and late.

    Args:
        r: the source of chance.
        chat: makes one exchange about something else.
        turns: how often the user speaks; the last time to ask for something told long ago.
        think: give the last answer its thoughts.
        unseen: use only made-up values.
    """
    # Few kinds make a crowd of things that only their owners' names tell apart.
    kinds = r.sample(SUBJECTS, 3) if r.random() < 0.35 else SUBJECTS
    memos: dict[str, Memo] = {}
    messages: list[Message] = []
    telling, asking = r.uniform(0.2, 0.6), r.uniform(0.05, 0.3)
    for turn in range(turns - 1):
        act = r.random()
        told = memo(r, unseen, kinds)
        if not turn or (act < telling and told.topic not in memos):
            memos[told.topic] = told
            messages += _tell(r, told)
        elif act < telling + asking:
            other = r.choice(list(memos.values()))
            messages += ask(other.question(r), other.answer)
        elif act > 0.96:
            told = changed(r, r.choice(list(memos.values())), unseen)
            memos[told.topic] = told
            start, said = r.choice(_CORRECTIONS), told.said
            if start[-2] == "," and said.startswith(("My ", "The ")):
                said = said[0].lower() + said[1:]
            messages += ask(start + said, r.choice(_NODS))
        elif act > 0.93:
            messages += unknown(r, list(memos))
        else:
            messages += chat()
    early = list(memos.values())[: max(2, len(memos) // 2)]
    wanted = r.choice(early if unseen or r.random() < 0.6 else list(memos.values()))
    return messages + ask(wanted.question(r), wanted.answer, wanted.thoughts if think else None)


def odd(r: Random, chat: Chat) -> list[Message]:
    """A short talk about somebody with a long or odd name."""
    told = memo(r, kinds=PEOPLE, name=odd_name)
    messages = _tell(r, told)
    for _ in range(r.choice([0, 1, 1, 2])):
        messages += chat()
    return messages + ask(told.question(r), told.answer)
