"""The few facts of the world, and the honest sentence about everything else."""

from __future__ import annotations

from random import Random

from documents import Message, ask
from words import DAYS, MONTHS, cap, carelessly, loosely, made_up, words

OUTSIDE = [
    (
        "That is outside my small world. "
        "I can tell stories, do small sums, remember what you tell me, write JSON and use tools."
    ),
    (
        "I am a very small model, and I do not know about that. "
        "Ask me for a story, a small sum, some JSON or a capital city."
    ),
]

_CAPITALS = words(
    "France:Paris Italy:Rome Spain:Madrid Germany:Berlin Japan:Tokyo Egypt:Cairo Norway:Oslo Peru:Lima "
    "Kenya:Nairobi Canada:Ottawa Greece:Athens Poland:Warsaw Cuba:Havana Chile:Santiago India:New_Delhi "
    "China:Beijing Austria:Vienna Sweden:Stockholm Finland:Helsinki Portugal:Lisbon Ireland:Dublin Turkey:Ankara "
    "Iran:Tehran Ghana:Accra Nepal:Kathmandu England:London Russia:Moscow Denmark:Copenhagen Belgium:Brussels "
    "Hungary:Budapest Mexico:Mexico_City Australia:Canberra Brazil:Brasilia Switzerland:Bern Iceland:Reykjavik "
    "Thailand:Bangkok Ukraine:Kyiv Scotland:Edinburgh Argentina:Buenos_Aires Morocco:Rabat Vietnam:Hanoi"
)
CAPITALS = {land: town.replace("_", " ") for land, town in (pair.split(":") for pair in _CAPITALS)}
_AMERICA = ["the United States", "the USA", "America"]
_COLOURS = {
    "the sky": "blue", "grass": "green", "snow": "white", "coal": "black", "a lemon": "yellow", "blood": "red",
    "chocolate": "brown", "an orange": "orange", "a plum": "purple", "a flamingo": "pink", "the sun": "yellow",
    "a tomato": "red", "milk": "white", "the sea": "blue", "an elephant": "grey", "a banana": "yellow",
    "a frog": "green",
}  # fmt: skip
_SOUNDS = {
    "dog": "woof",
    "cat": "meow",
    "cow": "moo",
    "duck": "quack",
    "sheep": "baa",
    "lion": "roar",
    "pig": "oink",
    "bee": "buzz",
}
_LEGS = {
    "dog": 4,
    "cat": 4,
    "spider": 8,
    "bird": 2,
    "horse": 4,
    "bee": 6,
    "ant": 6,
    "snake": 0,
    "fish": 0,
    "duck": 2,
    "cow": 4,
}
_OPPOSITES = {
    "hot": "cold", "big": "small", "day": "night", "up": "down", "happy": "sad", "fast": "slow", "old": "young",
    "open": "closed", "left": "right", "black": "white", "full": "empty", "good": "bad", "early": "late", "wet": "dry",
}  # fmt: skip
_COUNTS = {
    "days are in a week": "There are 7 days in a week.", "months are in a year": "There are 12 months in a year.",
    "hours are in a day": "There are 24 hours in a day.", "minutes are in an hour": "There are 60 minutes in an hour.",
    "seconds are in a minute": "There are 60 seconds in a minute.",
    "days are in a year": "There are 365 days in a year.",
}  # fmt: skip

_TOPICS = words(
    "Python,quantum physics,the French Revolution,black holes,machine learning,love,politics,the stock market,football,"
    "the meaning of life,tax law,chemistry,Shakespeare,the Roman Empire,computers,the moon,a car engine,electricity,"
    "Java,photosynthesis,neural networks,bitcoin,the internet,music,history,geography,philosophy,yoga,chess,cooking,"
    "linear algebra,the weather on Mars,evolution,dinosaurs,my homework,a new job,Linux,JavaScript,databases,gravity,"
    "climate change,vaccines,the Second World War,biology,economics,art,my boss,gardening,DNA,atoms,volcanoes",
    ",",
)
_OUTSIDE = [
    "Write a poem in {t}.", "Write a poem about {t}.", "Explain {t}.", "Explain {t} to me like I am five.",
    "What is {t}?",
    "How does {t} work?", "Write code in {t}.", "Write an essay about {t}.", "Tell me about {t}.",
    "Tell me a joke about {t}.",
    "Who invented {t}?", "What do you think about {t}?", "Summarise {t}.", "Write a song about {t}.",
    "Why is {t} important?",
    "When did {t} begin?", "Give me advice about {t}.", "Teach me {t}.", "I need help with {t}.",
    "Translate {t} into French.",
    "Write a program about {t}.", "What is the best book about {t}?", "Can you help me with {t}?",
    "write a haiku about {t}",
    "Is {t} dangerous?", "List five things about {t}.", "What is the history of {t}?", "How do I learn {t}?",
    "Give me three tips for {t}.", "Write a letter about {t}.", "What is the difference between {t} and {u}?",
    "Compare {t} with {u}.", "Draw a picture of {t}.", "Where can I buy {t}?", "How much does {t} cost?",
    "Do you like {t}?", "Who won the {t} in {y}?", "What happened in {y}?", "Who is {n}?", "Where is {n}?",
    "How many people live in {n}?", "How far is it to {n}?", "Do you know {n}?", "Can you write {t}?",
    "Which {t} was the best of {y}?", "What was {t} like in {y}?",
]  # fmt: skip
_OUTSIDE_WHOLE = [
    "Write a function that sorts a list.", "How do I cook pasta?", "Who is the president?", "What time is it?",
    "What day is it?",
    "Translate hello into French.", "What is the population of China?", "How tall is Mount Everest?", "Fix this bug.",
    "Can you write code?", "Who won the election in 2020?",
    "def f(x): return x", "Who won the World Cup?", "What should I eat tonight?", "How old is the universe?",
    "Tell me a joke.",
    "Sing a song.", "What is the weather?", "What is the news today?", "Write a regular expression for emails.",
    "Write a poem.",
    "Speak German.", "Parlez-vous français?", "Wie geht es dir?", "Solve x^2 = 4.", "What is the square root of 2?",
    "What is pi?",
    "How do I install Python?", "Recommend a film.", "Plan my holiday.", "Write a haiku.",
    "What is the speed of light?",
    "Who wrote Hamlet?", "What is 2 to the power of 10?", "write a poem in Python", "Which is the largest ocean?",
    "asdf", "???",
]  # fmt: skip
_ADJECTIVES = ["", "", "", "modern ", "old ", "good ", "cheap ", "simple ", "advanced "]


def fact(r: Random) -> list[Message]:
    """Something that the small world knows."""
    kind = r.random()
    if kind < 0.45:
        land = r.choice(list(CAPITALS))
        town = CAPITALS[land]
        answer = f"The capital of {land} is {town}."
        if r.random() < 0.03:
            land = r.choice(_AMERICA)
            answer = f"The capital of {land} is Washington."
        question = r.choice(["What is the capital of {c}?", "What's the capital of {c}?", "Capital of {c}?",
                             "Tell me the capital of {c}.",
                             "Which city is the capital of {c}?", "what's the capital of {c}",
                             "Do you know the capital of {c}?",
                             "Name the capital of {c}."]).format(c=land)  # fmt: skip
    elif kind < 0.55:
        thing, colour = r.choice(list(_COLOURS.items()))
        question = r.choice([f"What colour is {thing}?", f"What color is {thing}?", f"Which colour has {thing}?"])
        answer = f"{cap(thing)} is {colour}."
    elif kind < 0.62:
        animal, sound = r.choice(list(_SOUNDS.items()))
        question = r.choice([f"What does a {animal} say?", f"What sound does a {animal} make?"])
        answer = f"A {animal} says {sound}."
    elif kind < 0.7:
        animal, legs = r.choice(list(_LEGS.items()))
        animal = ("an " if animal[0] in "aeiou" else "a ") + animal
        question, answer = f"How many legs does {animal} have?", f"{cap(animal)} has {legs or 'no'} legs."
    elif kind < 0.8:
        word, other = r.choice(list(_OPPOSITES.items()))
        word, other = r.choice([(word, other), (other, word)])
        question = r.choice(
            [f"What is the opposite of {word}?", f"Tell me the opposite of {word}.", f"Opposite of {word}?"]
        )
        answer = f"The opposite of {word} is {other}."
    elif kind < 0.95:
        words = r.choice([DAYS, MONTHS])
        i, step = r.randrange(len(words)), r.choice([1, -1])
        side = "after" if step > 0 else "before"
        noun = "day" if words is DAYS else "month"
        question = r.choice([f"What {noun} comes {side} {words[i]}?", f"Which {noun} is {side} {words[i]}?"])
        answer = f"{words[(i + step) % len(words)]} comes {side} {words[i]}."
    else:
        thing, answer = r.choice(list(_COUNTS.items()))
        question = r.choice([f"How many {thing}?", f"How many {thing.replace(' are', '')}?"])
    return ask(carelessly(r, question), answer)


def outside(r: Random) -> list[Message]:
    """Anything else: the honest sentence, by name where a place or word is simply unknown."""
    kind = r.random()
    if kind < 0.12:
        land = made_up(r).capitalize()
        return ask(loosely(r, f"What is the capital of {land}?"), f"I do not know the capital of {land}.")
    if kind < 0.37:
        question = r.choice(_OUTSIDE_WHOLE)
    else:
        topic, other = (
            made_up(r) if r.random() < 0.25 else r.choice(_ADJECTIVES) + r.choice(_TOPICS) for _ in range(2)
        )
        slots = {"t": topic, "u": other, "n": made_up(r).capitalize(), "y": r.randint(1000, 2030)}
        question = r.choice(_OUTSIDE).format(**slots)
    return ask(carelessly(r, question), r.choice(OUTSIDE))
