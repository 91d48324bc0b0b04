"""What can be remembered: what is said, how it is asked for, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from documents import Message, ask
from words import (
    ANIMALS,
    COLOURS,
    DAYS,
    FOODS,
    JOBS,
    NAMES,
    PLACES,
    THINGS,
    TOWNS,
    a,
    loosely,
    made_up,
    phrase,
    pick,
    words,
)

_RELATIVES = words("brother sister mother father friend teacher son daughter uncle aunt")
_FAVOURITES = words("film book song animal game sport drink day month city season")
_EVENTS = words("meeting party exam lesson concert trip wedding dinner train flight appointment game")
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
    about: Value | None = None
    often: float = 1


@dataclass(frozen=True)
class Memo:
    """One thing told: of which kind, about what, its value, and in which words."""

    subject: Subject
    about: str
    value: str
    said: str

    @property
    def topic(self) -> str:
        """What two memos of one talk must not share."""
        return f"{self.subject.topic} {self.about}".strip()

    @property
    def answer(self) -> str:
        """What is right when it is asked for."""
        return self.subject.answer.format(x=self.about, v=self.value)

    @property
    def thoughts(self) -> str:
        """What leads to the answer."""
        return f"The user said: {self.said.rstrip('.')}."

    def question(self, r: Random) -> str:
        """How it is asked for, in other words each time."""
        return loosely(r, r.choice(self.subject.asked).format(x=self.about))


def _from(choices: list[str]) -> Value:
    return lambda r, unseen: pick(r, choices, unseen)


def _number(low: int, high: int) -> Value:
    return lambda r, _: str(r.randint(low, high))


def _name(r: Random, unseen: bool) -> str:
    name = pick(r, NAMES, unseen)
    return name.lower() if r.random() < 0.08 else name


def _anything(r: Random, _: bool) -> str:
    return made_up(r).capitalize() if r.random() < 0.4 else made_up(r)


def _one_of(choices: list[str]) -> Value:
    return lambda r, _: r.choice(choices)


def _time(r: Random, _: bool) -> str:
    return f"{r.randint(0, 23)}:{r.randint(0, 59):02}"


def _note(r: Random, _: bool) -> str:
    return phrase(r, 4)


SUBJECTS = [
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
        "Your favourite {x} is {v}.", lambda r, _: r.choice([*_FAVOURITES, made_up(r)]),
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
        "The {x} is {v}.", lambda r, _: made_up(r),
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
        "friend lives", _from(TOWNS),
        ["{x} lives in {v}.", "My friend {x} lives in {v}.", "{x} has a house in {v}."],
        ["Where does {x} live?", "In which city does {x} live?", "Do you know where {x} lives?"],
        "{x} lives in {v}.", _from(NAMES), often=2,
    ),
    Subject(
        "friend likes", _from([*FOODS, *ANIMALS]),
        ["{x} likes {v}.", "My friend {x} likes {v}.", "{x} loves {v}."],
        ["What does {x} like?", "Do you remember what {x} likes?", "What did I say that {x} likes?"],
        "{x} likes {v}.", _from(NAMES), often=2,
    ),
    Subject(
        "friend's age", _number(1, 99),
        ["{x} is {v} years old.", "My friend {x} is {v} years old."], ["How old is {x}?", "What is the age of {x}?"],
        "{x} is {v} years old.", _from(NAMES),
    ),
    Subject(
        "friend's job", _from(JOBS),
        ["{x} is {a_v}.", "{x} works as {a_v}.", "The job of {x} is {v}."],
        ["What is the job of {x}?", "What does {x} do for work?"], "The job of {x} is {v}.", _from(NAMES),
    ),
    Subject(
        "friend's pet", _from(NAMES),
        ["The pet of {x} is called {v}.", "{x} has a pet named {v}."],
        ["What is the pet of {x} called?", "What is the name of the pet of {x}?"],
        "The pet of {x} is called {v}.", _from(NAMES),
    ),
    Subject(
        "meeting", _time,
        ["My {x} is at {v}.", "I have {a_x} at {v}.", "The {x} starts at {v}."],
        ["When is my {x}?", "At what time is the {x}?", "When is the {x}?"],
        "The {x} is at {v}.", lambda r, _: r.choice([*_EVENTS, made_up(r)]),
    ),
    Subject(
        "day", _from(DAYS),
        ["The {x} is on {v}.", "My {x} is on {v}.", "We have {a_x} on {v}."],
        ["On which day is the {x}?", "Which day is the {x}?", "What day is my {x}?"],
        "The {x} is on {v}.", lambda r, _: r.choice([*_EVENTS, made_up(r)]),
    ),
    Subject(
        "note", _note,
        ["Note: {v}", "Please note: {v}", "Note for later: {v}", "Write down this note: {v}"],
        ["What is my note?", "What was the note?", "Read me my note.", "What did I note?"],
        "Your note is: {v}", often=0.7,
    ),
    Subject(
        "went", _from(PLACES),
        ["Yesterday I went to the {v}.", "Yesterday I was at the {v}."],
        ["Where did I go yesterday?", "Where was I yesterday?"], "Yesterday you went to the {v}.", often=0.7,
    ),
    Subject(
        "code", _number(10, 9999),
        ["My {x} is {v}.", "The {x} is {v}.", "Remember the {x} {v}."],
        ["What is my {x}?", "What is the {x}?", "What was the {x}?"],
        "The {x} is {v}.", _one_of(["code", "phone number", "room number"]),
    ),
]  # fmt: skip
PEOPLE = SUBJECTS[:3]

_UNTOLD = {
    "name": (["What is my name?", "Do you know my name?", "Who am I?"], "You have not told me your name."),
    "town": (["Where do I live?"], "You have not told me where you live."),
    "age": (["How old am I?"], "You have not told me how old you are."),
    "colour": (["What is my favourite colour?"], "You have not told me your favourite colour."),
    "job": (["What is my job?"], "You have not told me your job."),
}


def memo(
    r: Random, unseen: bool = False, kinds: Sequence[Subject] = SUBJECTS, name: Callable[[Random], str] | None = None
) -> Memo:
    """Something to remember of one of the kinds; `name` makes its value where one is given."""
    subject = r.choices(kinds, [s.often for s in kinds])[0]
    about = subject.about(r, unseen) if subject.about else ""
    return _told(r, subject, about, name(r) if name else subject.value(r, unseen))


def changed(r: Random, old: Memo, unseen: bool = False) -> Memo:
    """The same thing with another value."""
    return _told(r, old.subject, old.about, old.subject.value(r, unseen))


def _told(r: Random, subject: Subject, about: str, value: str) -> Memo:
    slots = {"x": about, "v": value, "a_x": a(about) if about else "", "a_v": a(value)}
    return Memo(subject, about, value, r.choice(subject.said).format(**slots))


def unknown(r: Random, told: Sequence[str]) -> list[Message]:
    """Asked for something that nobody said; `told` are the topics of what was."""
    if r.random() < 0.4 or all(topic in told for topic in _UNTOLD):
        what = r.choice([x for x in (*_RELATIVES, *ANIMALS[:20]) if not any(topic.endswith(x) for topic in told)])
        return ask(loosely(r, f"What is my {what} called?"), f"You have not told me the name of your {what}.")
    questions, answer = _UNTOLD[r.choice([topic for topic in _UNTOLD if topic not in told])]
    return ask(loosely(r, r.choice(questions)), answer)
