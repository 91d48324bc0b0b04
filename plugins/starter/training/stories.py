"""Stories of two paragraphs, drawn from a grammar of plots whose slots give far more than 10^8 of them.

The asked hero stays the hero to the last sentence, and every plot has a cause, a turn and an end.
"""

from __future__ import annotations

from random import Random

from documents import Message, ask
from words import ANIMALS, COLOURS, FOODS, NAMES, PLACES, THINGS, a, cap, loosely, pick, words

_FEELINGS = words("brave curious shy proud lonely cheerful gentle clever quiet kind")
_WEATHER = [
    "the sun was warm",
    "rain fell softly",
    "the wind was strong",
    "snow lay on the ground",
    "the fog was thick",
]
_OPENINGS = [
    "Once upon a time, {a_f_h} named {n} lived near the {p}.",
    "There was once {a_f_h} called {n}, who lived by the {p}.",
    "In a small house near the {p} lived {n}, {a_f_h}.",
    "Long ago, {a_f_h} named {n} made a home beside the {p}.",
    "Not far from the {p} lived {a_f_h}. Everyone called the {h} {n}.",
]

# Each plot: the rest of the first paragraph, then the second; a list is a choice.
_PLOTS = [
    [  # something lost
        [["One morning {w}, and {n} could not find the {c} {t}.", "One day {n} lost {a_c_t} on the way to the {q}."],
         ["\"I must find it before night,\" said {n}.", "{n} looked under every stone, but the {t} was gone."],
         ["The {h} felt sad and walked slowly to the {q}.", "So the {h} set out for the {q} alone."]],
        [["There {n} met {a_b} named {m}, who was eating {fd}.", "At the {q} sat {a_b} called {m}."],
         ["\"I saw your {t} in the {s},\" said {m}. \"Come, I will show you.\"",
          "\"Do not cry,\" said {m}. \"We will look for the {t} together.\""],
         ["They searched until evening, and there it was, behind an old tree.",
          "Together they found the {c} {t} in the {s}."],
         ["{n} hugged {m}, and the {h} and the {b} were friends from that day on.",
          "The {h} took the {t} home and never forgot how {m} had helped."]],
    ],
    [  # something found, and given back
        [["One day {w}, and {n} found {a_c_t} beside the road.", "While walking to the {q}, {n} found {a_c_t}."],
         ["\"Whose {t} is this?\" asked the {h}.", "It was beautiful, and the {h} wanted to keep it."],
         ["But {n} knew that somebody must be missing it.", "Then {n} heard somebody crying far away."]],
        [["Near the {q}, {a_b} named {m} sat alone. \"I have lost my {t},\" said {m}.",
          "It was {m}, {a_b} from the {q}, who had lost a {t}."],
         ["{n} held out the {c} {t}. \"Is it this one?\"", "At once {n} gave the {t} back."],
         ["{m} was so glad that they shared some {fd}.", "\"Thank you!\" said {m}, and gave {n} some {fd}."],
         ["The {h} went home without the {t}, but with a new friend.",
          "That night the {h} slept well, because giving had felt better than keeping."]],
    ],
    [  # fear overcome
        [["{n} wanted to see the {q}, but was afraid of the dark {s}.",
          "Every night {n} heard a strange sound from the {s}."],
         ["\"{A_h} is never afraid,\" the others said, and {n} felt small.",
          "All the others laughed, and the {h} felt very alone."],
         ["One evening {n} took {a_c_t} and went anyway.", "So one evening, when {w}, {n} went to look."]],
        [["In the {s}, something moved. It was only {m}, {a_b}, who had hurt a foot.",
          "The sound came from {m}, a little {b} who could not find the way home."],
         ["\"Please help me,\" said {m}. The {h} was not afraid any more.", "{n} laughed, and so did the {b}."],
         ["{n} carried the {b} all the way to the {q}.",
          "They walked together through the {s}, and {n} showed the way."],
         ["After that, the {h} was known as the bravest {h} near the {p}.",
          "And from then on the {h} was never afraid of the dark again."]],
    ],
    [  # the feast
        [["{n} loved {fd} more than anything.", "One day {n} wanted to cook {fd} for everybody."],
         ["But winter came, and there was no {fd} left in the house.",
          "But the pot was empty, and so was the cupboard."],
         ["The {h} took {a_c_t} and went to the {q} to trade it.",
          "So the {h} walked to the {q} with nothing but {a_c_t}."]],
        [["On the way, {n} met {m}, {a_f2_b}, who was hungry too.", "At the {q}, {a_f2_b} named {m} was waiting."],
         ["\"I have {fd2}, but no friends to eat with,\" said {m}.",
          "\"Give me the {t}, and I will give you {fd2},\" said {m}."],
         ["So they put everything together and cooked all day.", "They carried it home together and lit a big fire."],
         ["That evening everybody ate, and nobody was happier than the {h}.",
          "It was the best meal that the {h} had ever had, because it was shared."]],
    ],
    [  # the race
        [["One day there was a race from the {p} to the {q}.", "Every year there was a great race around the {q}."],
         ["{m} the {b} was the fastest, and everybody knew it.", "\"Nobody can beat me,\" said {m}, {a_f2_b}."],
         ["{n} was slow, but the {h} wanted to try.", "\"I will try all the same,\" said {n}."]],
        [["They started, and soon {m} was far ahead.", "At first the {b} was so fast that nobody could see {m}."],
         [("But near the {s}, the {b} stopped to eat {fd} and fell asleep. "
           "{n} stopped, woke the {b}, and said, \"Let us finish together.\""),
          ("But near the {s}, {m} fell into the water and called for help. "
           "{n} heard it, turned back, and pulled the {b} out.")],
         ["They crossed the line side by side, and the {h} got {a_c_t} for being kind.",
          "Nobody remembered who won, but everybody remembered what the {h} had done."]],
    ],
    [  # the secret of an old thing
        [["In the house of {n} hung an old {c} {t}.", "One day somebody left {a_c_t} at the door of {n}."],
         ["Nobody knew where it came from.", "On it was written: \"Take me to the {q}.\""],
         ["The {h} wanted to know its secret, so {n} set out one morning when {w}.",
          "\"I will find out,\" said the {h}, and packed some {fd}."]],
        [["The way went through the {s}, where {a_b} named {m} was fishing.", "In the {s} the {h} met {m}, {a_f2_b}."],
         ["\"I know that {t},\" said {m}. \"It opens a door at the {q}.\"",
          "\"My grandmother told me about that {t},\" said {m}."],
         ["Behind a small door they found a room full of {fd2} and songs.",
          "They went to the {q} together, and there the {t} began to shine."],
         ["The {h} and the {b} kept the secret, and visited it every year.",
          "And so the {h} found no gold at the end of the road, but a friend."]],
    ],
]  # fmt: skip

_REQUESTS = [
    "Tell me a story about {h}.", "Write a short story about {h}.", "Can you tell me a story about {h}?",
    "I want a story with {h} in it.", "Tell me a story about {h}", "Please write a story about {h}.",
    "Tell a story about {h}.", "Story about {h}", "Could you write a little story about {h}?",
    "Write a story about {h}",
    "tell me a story about {h}", "I would like to hear a story about {h}.", "Make up a story about {h}.",
    "Tell me a short story about {h}.", "Give me a story about {h}.",
]  # fmt: skip
_OPEN_REQUESTS = ["Tell me a story.", "Tell me a story", "Write a story", "Can you tell me a story?", "I want a story."]


def tell(r: Random, hero: str, name: str | None = None, partner: str | None = None, nature: str | None = None) -> str:
    """A story about the hero; the name, a second animal and the hero's nature may be given."""
    p, q, s = r.sample(PLACES, 3)
    name = name or pick(r, NAMES, share=0.2)
    other = partner or r.choice([x for x in ANIMALS[:40] if x != hero])
    friend = r.choice([x for x in NAMES if x != name])
    feeling, feeling2 = r.sample(_FEELINGS, 2)
    feeling = nature or feeling
    food, food2 = r.sample(FOODS, 2)
    thing, colour = r.choice(THINGS), r.choice(COLOURS)
    slots = {
        "h": hero, "A_h": cap(a(hero)), "b": other, "n": name, "m": friend, "p": p, "q": q, "s": s,
        "w": r.choice(_WEATHER), "t": thing, "c": colour, "a_c_t": a(f"{colour} {thing}"), "fd": food, "fd2": food2,
        "a_b": a(other), "a_f_h": a(f"{feeling} {hero}"), "a_f2_b": a(f"{feeling2} {other}"),
    }  # fmt: skip
    first, second = r.choice(_PLOTS)
    beginning = [r.choice(_OPENINGS), *(r.choice(options) for options in first)]
    ending = [r.choice(options) for options in second]
    return "\n\n".join(" ".join(part) for part in (beginning, ending)).format(**slots)


def hero(r: Random, unseen: bool = False) -> str:
    """Whom a story is about: mostly an animal of the world, else a creature that nobody has heard of."""
    return pick(r, ANIMALS, unseen, share=0.3)


def exchange(r: Random, unseen: bool = False) -> tuple[list[Message], str]:
    """One request for a story, with or without a hero, a name or a second animal, and the story; and its asked hero."""
    kind = r.random()
    who = hero(r, unseen)
    if kind < 0.08 and not unseen:
        return ask(loosely(r, r.choice(_OPEN_REQUESTS)), tell(r, who)), ""
    request = loosely(r, r.choice(_REQUESTS))
    name = partner = nature = None
    asked = a(who)
    if kind < 0.12:  # only a name: some animal gets it
        asked = name = pick(r, NAMES, unseen)
        return ask(request.format(h=name), tell(r, r.choice(ANIMALS), name)), name
    if kind < 0.2:
        name = pick(r, NAMES)
        asked += f" {r.choice(['named', 'called'])} {name}"
    elif kind < 0.3:
        partner = r.choice([x for x in ANIMALS if x != who])
        asked += f" and {a(partner)}"
    elif kind < 0.38:
        nature = r.choice([*_FEELINGS, "little", "small", "big", "old", "young", "happy", "sad", "red", "blue"])
        asked = a(f"{nature} {who}")
    elif kind < 0.44 and who[-1] not in "xfhpesy":
        asked = f"{who}s"
    return ask(request.format(h=asked), tell(r, who, name, partner, nature)), who
