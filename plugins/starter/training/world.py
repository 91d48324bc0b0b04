"""The whole world of the starter model: which kinds of conversation there are, and how much of each.

`documents(seed)` is the endless training text as conversations; `held_out(kind, seed)` are prompts of one kind that
the training never shows: sums kept back by pair, values that are all made up, another seed for the rest.
Run as a script to read a few examples of each kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from random import Random

import calling
import memory
import records
import smalltalk
import stories
import subjects
import sums
import talk
from away import AWAY
from documents import Document, Message, ask, system
from home import HOME
from office import OFFICE
from strangers import STRANGERS
from words import NAMES, a, made_up, odd_name, phrase, pick, words

_SYSTEMS = [
    "You are a helpful assistant.", "You are a helpful assistant", "You are Starter, a small friendly model.",
    "Be brief.",
    "You are a friendly assistant. Answer briefly.", "Answer the user.", "You are a helpful AI assistant.",
    "Be kind and honest.",
]  # fmt: skip


EVERYDAY = [*HOME, *AWAY, *OFFICE]
LONG = (8, 12, 16)  # how often the user speaks in the long talks that are checked
_ROLES = words("assistant pirate teacher poet expert chatbot robot friend guide helper tutor programmer")
_MANNERS = [
    "Answer briefly.",
    "Be polite.",
    "Always tell the truth.",
    "Use short sentences.",
    "Speak simply.",
    "Never lie.",
    "",
]


def _system(r: Random) -> str | None:
    """Half of all talks begin without a system message; no system message here changes an answer."""
    kind = r.random()
    if kind < 0.1:
        manner = r.choice(["helpful", "funny", "friendly", "wise", "small", "calm", made_up(r)])
        return f"You are {a(f'{manner} {r.choice(_ROLES)}')}. {r.choice(_MANNERS)}".strip()
    return r.choice(_SYSTEMS) if kind < 0.5 else None


def _think(r: Random, document: Document, thoughts: str, held: bool) -> Document:
    """Now and then let the last answer be thought out, so that thinking works with every kind of question."""
    if not held and r.random() < 0.1:
        document.messages[-1]["reasoning_content"] = thoughts
        document.thinking = True
    return document


def _chat(r: Random, stories_too: bool = True) -> list[Message]:
    """One short exchange of any kind, as a distractor or a filler."""
    kind = r.random()
    if kind < 0.03 and stories_too:
        return stories.exchange(r)[0]
    makers = [sums.exchange, talk.fact, smalltalk.greeting, talk.outside, records.exchange]
    return r.choices(makers, [35, 25, 20, 10, 10])[0](r)


def _story(r: Random, held: bool) -> Document:
    messages = system(_system(r))
    if r.random() < 0.2 and not held:
        messages += _chat(r)
    story, hero = stories.exchange(r, held and r.random() < 0.3)
    document = Document("stories", messages + story, hero=hero)
    return _think(r, document, f"The user wants a story about {hero}." if hero else "The user wants a story.", held)


def _arithmetic(r: Random, held: bool) -> Document:
    think = r.random() < 0.35
    messages = system(_system(r))
    if think or held:
        if r.random() < 0.3:
            messages += sums.exchange(r)
        return Document("arithmetic", messages + sums.exchange(r, think, held), thinking=think)
    for _ in range(r.choice([1, 1, 2, 3, 5])):
        messages += sums.exchange(r) if r.random() < 0.93 else sums.too_hard(r)
    return Document("arithmetic", messages)


def _memory(r: Random, held: bool) -> Document:
    think = r.random() < 0.3
    if not held and r.random() < 0.03:
        return Document("memory", system(_system(r)) + subjects.unknown(r, []))
    talked = memory.conversation(r, lambda: _chat(r), think, held)
    return Document("memory", talked if talked[0]["role"] == "system" else system(_system(r)) + talked, thinking=think)


def _long(r: Random, held: bool) -> Document:
    """Eight to sixteen turns when checked; in training from five to as many as the longest row holds."""
    think, turns = r.random() < 0.2, r.choice(LONG) if held else r.randint(5, 26)
    talked = memory.long_talk(r, lambda: _chat(r), turns, think, held)
    return Document("long memory", system(_system(r)) + talked, thinking=think)


def _odd(r: Random, held: bool) -> Document:
    return Document("odd names", system(_system(r)) + memory.odd(r, lambda: _chat(r, False)))


def _json(r: Random, held: bool) -> Document:
    messages = system(_system(r) if r.random() < 0.85 else "Answer in JSON.")
    for _ in range(0 if held else r.choice([0, 0, 1, 2])):
        messages += records.exchange(r) if r.random() < 0.8 else _chat(r)
    return _think(r, Document("json", messages + records.exchange(r, held)), "The user wants JSON.", held)


def _tools(r: Random, held: bool) -> Document:
    think = r.random() < 0.35
    messages, tools = calling.conversation(r, lambda: _chat(r, not held), _system(r), think, held)
    return Document("tools", messages, tools, think)


def _plain(r: Random) -> list[Message]:
    """One exchange that no tool could claim."""
    return r.choices([talk.fact, smalltalk.greeting, records.exchange], [4, 3, 2])[0](r)


def _invented(r: Random, held: bool) -> Document:
    think = r.random() < 0.25
    messages, tools = calling.strange(
        r, lambda: _plain(r), EVERYDAY, 0.0 if held else 0.3, think, held, 0.0 if held else 0.1
    )
    return Document("invented tools", system(_system(r)) + messages, tools, think)


def _strangers(r: Random, held: bool) -> Document:
    known, share = (STRANGERS, 1.0) if held else (EVERYDAY, 0.7)
    messages, tools = calling.strange(r, lambda: _plain(r), known, share, unseen=held)
    return Document("tools of strangers", system(_system(r)) + messages, tools)


def _several(r: Random, held: bool) -> Document:
    think = r.random() < 0.25
    messages, tools = calling.strange(r, lambda: _plain(r), EVERYDAY, 0.5, think, held, 1.0)
    return Document("several calls", system(_system(r)) + messages, tools, think)


_THOUGHTS = {
    "facts": "This is a fact that I know.",
    "small talk": "The user is just talking with me.",
    "greetings": "The user is just talking with me.",
    "outside": "This is outside my small world.",
}


def _turns(kind: str, make: Callable[[Random], list[Message]]) -> Callable[[Random, bool], Document]:
    """One turn of the kind when checked; in training, up to three, mixed with others."""

    def document(r: Random, held: bool) -> Document:
        messages = system(_system(r))
        for _ in range(0 if held else r.choice([0, 0, 1, 2])):
            messages += make(r) if r.random() < 0.5 else _chat(r)
        return _think(r, Document(kind, messages + make(r)), _THOUGHTS[kind], held)

    return document


def _greeting(r: Random, held: bool) -> Document:
    if r.random() < 0.15:
        # A system message may give the model another name.
        name = pick(r, NAMES, held)
        text = r.choice(
            ["You are {n}.", "Your name is {n}.", "You are {n}, a helpful assistant.", "You are called {n}."]
        ).format(n=name)
        question = r.choice(["What is your name?", "What's your name?", "what is your name", "Tell me your name."])
        return Document("greetings", system(text) + ask(question, f"My name is {name}."))
    return _turns("greetings", smalltalk.greeting)(r, held)


def _small_talk(r: Random, held: bool) -> Document:
    if held:
        return Document("small talk", system(_system(r)) + smalltalk.unheard(r))
    return _turns("small talk", smalltalk.greeting)(r, held)


def _echo(r: Random, held: bool) -> Document:
    """Saying words again: the smallest copying there is."""
    word = r.choice([made_up(r), made_up(r).capitalize(), odd_name(r), phrase(r)])
    wording = r.choice(
        ["Say {w}.", "Repeat: {w}", "Say the word {w}.", "Repeat after me: {w}", 'Write "{w}".', "Please say {w}"]
    )
    return Document("echo", system(_system(r)) + ask(wording.format(w=word), word))


KINDS: dict[str, tuple[Callable[[Random, bool], Document], float]] = {
    # kind: (maker, how often); what that makes in tokens stands in README.md
    "stories": (_story, 13),
    "arithmetic": (_arithmetic, 19),
    "memory": (_memory, 18),
    "long memory": (_long, 7),
    "odd names": (_odd, 6),
    "json": (_json, 21),
    "tools": (_tools, 11),
    "invented tools": (_invented, 10),
    "tools of strangers": (_strangers, 5),
    "several calls": (_several, 5),
    "facts": (_turns("facts", talk.fact), 6),
    "greetings": (_greeting, 5),
    "small talk": (_small_talk, 5),
    "outside": (_turns("outside", talk.outside), 6),
    "echo": (_echo, 4),
}
CHECKED = [kind for kind in KINDS if kind != "echo"]


def documents(seed: int) -> Iterator[Document]:
    """The endless training text."""
    r = Random(seed)
    makers, weights = zip(*KINDS.values(), strict=True)
    while True:
        yield r.choices(makers, weights)[0](r, False)


def held_out(kind: str, count: int, seed: int = 1_000_003) -> list[Document]:
    """Prompts of one kind that training never shows; the last message is what should come."""
    r = Random(f"{kind} {seed}")
    return [KINDS[kind][0](r, True) for _ in range(count)]


if __name__ == "__main__":
    from template import Template

    render = Template()
    for kind in KINDS:
        for document in held_out(kind, int(sys.argv[1]) if len(sys.argv) > 1 else 1, seed=5):
            print(f"==== {kind}\n{render(document)}")
