"""Remembering: something is said, other things follow, and then it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from documents import Message, ask, system
from words import ANIMALS, COLOURS, FOODS, JOBS, NAMES, THINGS, TOWNS, a, loosely, made_up, pick, words

_NODS = ["Nice to know!", "Thank you for telling me.", "I will remember that.", "Good to know.", "All right."]
_RELATIVES = words("brother sister mother father friend teacher son daughter uncle aunt")
_FAVOURITES = words("film book song animal game sport drink day month city season")
_ROOMS = words("box drawer bag kitchen cupboard car garage attic")

Value = Callable[[Random, bool], str]  # the second argument: only what no list holds


@dataclass(frozen=True)
class Subject:
    """One kind of thing to remember; {v} is its value, {x} what that belongs to, {a_x} the same with its article."""

    topic: str
    value: Value
    said: list[str]
    asked: list[str]
    answer: str
    about: Callable[[Random], str] | None = None
    often: int = 1


@dataclass(frozen=True)
class Memo:
    """One thing told, how it is asked for, and the answer."""

    topic: str
    said: str
    asked: str
    answer: str
    thoughts: str


def _from(choices: list[str]) -> Value:
    return lambda r, unseen: pick(r, choices, unseen)


def _number(low: int, high: int) -> Value:
    return lambda r, _: str(r.randint(low, high))


def _name(r: Random, unseen: bool) -> str:
    name = pick(r, NAMES, unseen)
    return name.lower() if r.random() < 0.08 else name


def _anything(r: Random, _: bool) -> str:
    return made_up(r).capitalize() if r.random() < 0.4 else made_up(r)


def _one_of(choices: list[str]) -> Callable[[Random], str]:
    return lambda r: r.choice(choices)


_SUBJECTS = [
    Subject(
        "name", _name,
        ["My name is {v}.", "Hi, I am {v}.", "Call me {v}.", "Hello, my name is {v}.", "I'm {v}.", "my name is {v}",
         "Hi! My name is {v}.", "People call me {v}."],
        ["What is my name?", "Do you remember my name?", "Who am I?", "What's my name?", "what is my name",
         "Tell me my name.", "Do you know my name?"],
        "Your name is {v}.", often=3,
    ),
    Subject(
        "pet", _from(NAMES),
        ["I have {a_x} named {v}.", "My {x} is called {v}.", "My {x}'s name is {v}.", "I have {a_x}. Its name is {v}."],
        ["What is my {x} called?", "What is the name of my {x}?", "What is my {x}'s name?",
         "Do you remember the name of my {x}?"],
        "Your {x} is called {v}.", _one_of(ANIMALS),
    ),
    Subject(
        "relative", _from(NAMES),
        ["My {x} is called {v}.", "My {x}'s name is {v}.", "{v} is my {x}.", "I have {a_x} named {v}."],
        ["What is my {x} called?", "What is my {x}'s name?", "Who is my {x}?"],
        "Your {x} is called {v}.", _one_of(_RELATIVES),
    ),
    Subject(
        "colour", _from(COLOURS),
        ["My favourite colour is {v}.", "My favorite color is {v}.", "The colour I like best is {v}."],
        ["What is my favourite colour?", "What is my favorite color?", "Which colour do I like best?"],
        "Your favourite colour is {v}.",
    ),
    Subject(
        "favourite", _anything,
        ["My favourite {x} is {v}.", "My favorite {x} is {v}.", "{v} is my favourite {x}."],
        ["What is my favourite {x}?", "What's my favorite {x}?", "Do you know my favourite {x}?"],
        "Your favourite {x} is {v}.", lambda r: r.choice([*_FAVOURITES, made_up(r)]),
    ),
    Subject(
        "favourite number", _number(1, 99),
        ["My favourite number is {v}.", "My favorite number is {v}.", "My lucky number is {v}."],
        ["What is my favourite number?", "What's my favorite number?", "What is my lucky number?"],
        "Your favourite number is {v}.",
    ),
    Subject(
        "town", _from(TOWNS),
        ["I live in {v}.", "My home is in {v}.", "I live in the city of {v}."],
        ["Where do I live?", "In which city do I live?", "Which city do I live in?"],
        "You live in {v}.",
    ),
    Subject(
        "from", _from(TOWNS),
        ["I am from {v}.", "I come from {v}.", "I'm from {v}."],
        ["Where am I from?", "Where do I come from?"],
        "You are from {v}.",
    ),
    Subject(
        "age", _number(3, 99),
        ["I am {v} years old.", "My age is {v}.", "I'm {v} years old."],
        ["How old am I?", "What is my age?"],
        "You are {v} years old.",
    ),
    Subject(
        "food", _from(FOODS),
        ["My favourite food is {v}.", "I like to eat {v}.", "I love {v}."],
        ["What is my favourite food?", "What do I like to eat?", "Which food do I love?"],
        "You like {v}.",
    ),
    Subject(
        "job", _from(JOBS),
        ["I am {a_v}.", "I work as {a_v}.", "My job is {v}."],
        ["What is my job?", "What do I do for work?"],
        "Your job is {v}.",
    ),
    Subject(
        "key", lambda r, _: made_up(r),
        ["The {x} is {v}.", "Remember that the {x} is {v}.", "Please remember: {x} means {v}.", "My {x} is {v}."],
        ["What is the {x}?", "What did I say about {x}?", "Tell me the {x}."],
        "The {x} is {v}.", made_up,
    ),
    Subject(
        "place", _from(_ROOMS),
        ["I put my {x} in the {v}.", "My {x} is in the {v}.", "The {x} is in the {v}."],
        ["Where is my {x}?", "Where did I put the {x}?", "Where is the {x}?"],
        "The {x} is in the {v}.", _one_of(THINGS),
    ),
    Subject(
        "secret", lambda r, _: made_up(r),
        ["My {x} is {v}.", "The {x} is {v}.", "Remember the {x} {v}."],
        ["What is my {x}?", "What is the {x}?", "What was the {x}?"],
        "The {x} is {v}.", _one_of(["password", "secret word"]),
    ),
    Subject(
        "code", _number(10, 9999),
        ["My {x} is {v}.", "The {x} is {v}.", "Remember the {x} {v}."],
        ["What is my {x}?", "What is the {x}?", "What was the {x}?"],
        "The {x} is {v}.", _one_of(["code", "phone number", "room number"]),
    ),
]  # fmt: skip

_UNTOLD = {
    "name": (["What is my name?", "Do you know my name?", "Who am I?"], "You have not told me your name."),
    "town": (["Where do I live?"], "You have not told me where you live."),
    "age": (["How old am I?"], "You have not told me how old you are."),
    "colour": (["What is my favourite colour?"], "You have not told me your favourite colour."),
    "job": (["What is my job?"], "You have not told me your job."),
}


def _memo(r: Random, unseen: bool) -> Memo:
    """Something to remember."""
    subject = r.choices(_SUBJECTS, [s.often for s in _SUBJECTS])[0]
    x, v = subject.about(r) if subject.about else "", subject.value(r, unseen)
    slots = {"x": x, "v": v, "a_x": a(x) if x else "", "a_v": a(v)}
    asked = loosely(r, r.choice(subject.asked).format(**slots))
    said = r.choice(subject.said).format(**slots)
    topic = f"{subject.topic} {x}".strip()
    return Memo(topic, said, asked, subject.answer.format(**slots), f"The user said: {said.rstrip('.')}.")


def conversation(
    r: Random, chat: Callable[[], list[Message]], think: bool = False, unseen: bool = False
) -> list[Message]:
    """A talk in which one to three things are told, `chat` makes distractors between, and one thing is asked.

    Args:
        r: the source of chance.
        chat: makes one exchange about something else.
        think: give the last answer its thoughts.
        unseen: use only made-up values.
    """
    memos: list[Memo] = []
    for _ in range(r.choice([1, 1, 2, 2, 3])):
        memo = _memo(r, unseen)
        if all(memo.topic != other.topic for other in memos):
            memos.append(memo)
    wanted = r.choice(memos)
    if len(memos) == 1 and r.random() < 0.08:
        # In one turn: "My name is Mia. What is my name?"
        return ask(f"{wanted.said.rstrip('.')}. {wanted.asked}", wanted.answer, wanted.thoughts if think else None)
    messages: list[Message] = []
    if r.random() < 0.1:
        name = pick(r, NAMES, unseen)
        messages += system(r.choice([f"The user's name is {name}.", f"You are talking with {name}."]))
        memos = [m for m in memos if m.topic != "name"]
        asked, thoughts = r.choice(["What is my name?", "Who am I?"]), f"The system says that the user is {name}."
        wanted = Memo("name", "", asked, f"Your name is {name}.", thoughts)
    if r.random() < 0.3 and len(memos) > 1:
        messages += ask(" ".join(m.said.rstrip(".") + "." for m in memos), r.choice(_NODS))
    else:
        for memo in memos:
            reply = r.choice(_NODS)
            if memo.topic == "name" and r.random() < 0.7:
                reply = f"Nice to meet you, {memo.answer.removeprefix('Your name is ')}"[:-1] + "!"
            messages += ask(memo.said, reply)
            if r.random() < 0.25:
                messages += chat()
    for _ in range(r.choice([0, 0, 1, 1, 2])):
        messages += chat()
    if r.random() < 0.15 and len(memos) > 1:
        other = r.choice([m for m in memos if m is not wanted] or memos)
        messages += ask(other.asked, other.answer)
    if r.random() < 0.05 and not think and not unseen:
        return messages + unknown(r, [wanted, *memos])
    messages += ask(wanted.asked, wanted.answer, wanted.thoughts if think else None)
    if r.random() < 0.1 and not think and not unseen:
        for memo in memos:
            if memo is not wanted:
                messages += ask(memo.asked, memo.answer)
    return messages


def unknown(r: Random, memos: Sequence[Memo] = ()) -> list[Message]:
    """Asked for something that nobody said, whatever else was."""
    told = [memo.topic for memo in memos]
    if r.random() < 0.4:
        what = r.choice([x for x in (*_RELATIVES, *ANIMALS[:20]) if not any(topic.endswith(x) for topic in told)])
        return ask(loosely(r, f"What is my {what} called?"), f"You have not told me the name of your {what}.")
    topic = r.choice([topic for topic in _UNTOLD if topic not in told])
    questions, answer = _UNTOLD[topic]
    return ask(loosely(r, r.choice(questions)), answer)
