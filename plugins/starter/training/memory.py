"""Remembering: something is said, other things follow, and then it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from documents import Message, ask, system
from words import ANIMALS, COLOURS, FOODS, JOBS, NAMES, THINGS, TOWNS, a, loosely, made_up, pick, words


@dataclass(frozen=True)
class Memo:
    """One thing to remember: how it is said, how it is asked for, and the answer."""

    topic: str
    said: str
    asked: str
    answer: str
    thoughts: str


_NODS = ["Nice to know!", "Thank you for telling me.", "I will remember that.", "Good to know.", "All right."]
_RELATIVES = words("brother sister mother father friend teacher son daughter uncle aunt")


def _memo(r: Random, unseen: bool) -> Memo:
    kind = r.choice(["name"] * 3 + "pet colour town from relative age food job key place number favourite".split())
    if kind == "name":
        v = pick(r, NAMES, unseen)
        v = v.lower() if r.random() < 0.08 else v
        said = ["My name is {v}.", "Hi, I am {v}.", "Call me {v}.", "Hello, my name is {v}.", "I'm {v}.",
                "my name is {v}",
                "Hi! My name is {v}.", "People call me {v}."]  # fmt: skip
        asked = ["What is my name?", "Do you remember my name?", "Who am I?", "What's my name?", "what is my name",
                 "Tell me my name.",
                 "Do you know my name?"]  # fmt: skip
        answer = "Your name is {v}."
    elif kind == "pet":
        v, x = pick(r, NAMES, unseen), r.choice(ANIMALS)
        said = [
            f"I have {a(x)} named {{v}}.",
            f"My {x} is called {{v}}.",
            f"My {x}'s name is {{v}}.",
            f"I have {a(x)}. Its name is {{v}}.",
        ]
        asked = [
            f"What is my {x} called?",
            f"What is the name of my {x}?",
            f"What is my {x}'s name?",
            f"Do you remember the name of my {x}?",
        ]
        answer = f"Your {x} is called {{v}}."
    elif kind == "colour":
        v = pick(r, COLOURS, unseen)
        said = ["My favourite colour is {v}.", "My favorite color is {v}.", "The colour I like best is {v}."]
        asked = ["What is my favourite colour?", "What is my favorite color?", "Which colour do I like best?"]
        answer = "Your favourite colour is {v}."
    elif kind == "favourite":
        x = r.choice([*words("film book song animal game number sport drink day month city season"), made_up(r)])
        v = str(r.randint(1, 99)) if x == "number" else made_up(r)
        v = v.capitalize() if r.random() < 0.4 else v
        spelt = r.choice(["favourite", "favorite"])
        said = [f"My {spelt} {x} is {{v}}.", f"{{v}} is my {spelt} {x}."]
        asked = [f"What is my {spelt} {x}?", f"What's my {spelt} {x}?", f"Do you know my {spelt} {x}?"]
        answer = f"Your favourite {x} is {{v}}."
    elif kind == "from":
        v = pick(r, TOWNS, unseen)
        said, asked = (
            ["I am from {v}.", "I come from {v}.", "I'm from {v}."],
            ["Where am I from?", "Where do I come from?"],
        )
        answer = "You are from {v}."
    elif kind == "town":
        v = pick(r, TOWNS, unseen)
        said = ["I live in {v}.", "My home is in {v}.", "I live in the city of {v}."]
        asked, answer = ["Where do I live?", "In which city do I live?", "Which city do I live in?"], "You live in {v}."
    elif kind == "relative":
        v, x = pick(r, NAMES, unseen), r.choice(_RELATIVES)
        said = [
            f"My {x} is called {{v}}.",
            f"My {x}'s name is {{v}}.",
            f"{{v}} is my {x}.",
            f"I have a {x} named {{v}}.",
        ]
        asked, answer = (
            [f"What is my {x} called?", f"What is my {x}'s name?", f"Who is my {x}?"],
            f"Your {x} is called {{v}}.",
        )
    elif kind == "age":
        v = str(r.randint(3, 99))
        said, asked = (
            ["I am {v} years old.", "My age is {v}.", "I'm {v} years old."],
            ["How old am I?", "What is my age?"],
        )
        answer = "You are {v} years old."
    elif kind == "food":
        v = pick(r, FOODS, unseen)
        said = ["My favourite food is {v}.", "I like to eat {v}.", "I love {v}."]
        asked = ["What is my favourite food?", "What do I like to eat?", "Which food do I love?"]
        answer = "You like {v}."
    elif kind == "job":
        v = pick(r, JOBS, unseen)
        said = [f"I am {a(v)}.", f"I work as {a(v)}.", "My job is {v}."]
        asked, answer = ["What is my job?", "What do I do for work?"], "Your job is {v}."
    elif kind == "key":
        x, v = made_up(r), made_up(r)
        said = [
            f"The {x} is {{v}}.",
            f"Remember that the {x} is {{v}}.",
            f"Please remember: {x} means {{v}}.",
            f"My {x} is {{v}}.",
        ]
        asked, answer = [f"What is the {x}?", f"What did I say about {x}?", f"Tell me the {x}."], f"The {x} is {{v}}."
    elif kind == "place":
        x, v = r.choice(THINGS), pick(r, words("box drawer bag kitchen cupboard car garage attic"), unseen)
        said = [f"I put my {x} in the {{v}}.", f"My {x} is in the {{v}}.", f"The {x} is in the {{v}}."]
        asked, answer = (
            [f"Where is my {x}?", f"Where did I put the {x}?", f"Where is the {x}?"],
            f"The {x} is in the {{v}}.",
        )
    else:
        x, v = r.choice(["code", "password", "phone number", "room number", "lucky number", "secret word"]), None
        v = made_up(r) if x in ("password", "secret word") else str(r.randint(10, 9999))
        said = [f"My {x} is {{v}}.", f"The {x} is {{v}}.", f"Remember the {x} {{v}}."]
        asked, answer = [f"What is my {x}?", f"What is the {x}?", f"What was the {x}?"], f"The {x} is {{v}}."
        kind = x
    told = r.choice(said).format(v=v)
    answer = answer.format(v=v)
    topic = f"{kind} {x}" if kind in ("pet", "relative", "key", "place", "favourite") else kind
    return Memo(
        topic,
        told,
        loosely(r, r.choice(asked)),
        answer,
        f"The user said: {told}" if told[-1] == "." else f"The user said: {told}.",
    )


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
        wanted = Memo(
            "name",
            "",
            r.choice(["What is my name?", "Who am I?"]),
            f"Your name is {name}.",
            f"The system says that the user is {name}.",
        )
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
    messages += ask(wanted.asked, wanted.answer, wanted.thoughts if think else None)
    if r.random() < 0.1 and not think and not unseen:
        for memo in memos:
            if memo is not wanted:
                messages += ask(memo.asked, memo.answer)
    return messages


def unknown(r: Random) -> list[Message]:
    """Asked for something that nobody said."""
    if r.random() < 0.4:
        what = r.choice([*_RELATIVES, *ANIMALS[:20]])
        return ask(loosely(r, f"What is my {what} called?"), f"You have not told me the name of your {what}.")
    questions = {
        "What is my name?": "You have not told me your name.",
        "Where do I live?": "You have not told me where you live.",
        "How old am I?": "You have not told me how old you are.",
        "What is my favourite colour?": "You have not told me your favourite colour.",
        "Do you know my name?": "You have not told me your name.", "Who am I?": "You have not told me your name.",
    }  # fmt: skip
    question, answer = r.choice(list(questions.items()))
    return ask(loosely(r, question), answer)
