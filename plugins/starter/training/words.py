"""The words of the starter model's world, and the made-up ones that teach it to copy.

Half of all names, places and values are pronounceable strings that no list holds: a model that only ever
sees thirty names learns thirty names, not remembering.
"""

from __future__ import annotations

from random import Random


def words(text: str, mark: str | None = None) -> list[str]:
    """A list written as one line."""
    return text.split(mark)


NAMES = words(
    "Mia Leo Ada Ben Zoe Max Ivy Sam Eva Tom Lily Noah Ruth Omar Nina Hugo Rosa Finn Tara Jack Anna Paul Mei Ravi Sara "
    "Luka Emma Otis Vera Carl Kim Alex Maria John David Sofia Peter Julia Lena Oscar Amir Yuki Chen Fatima Ivan Bob "
    "Alice Clara Felix Greta Hanna Ian Jane Karl Laura Martin Nora Olga Pablo Rita Simon Theo Ursula Victor Wendy"
)
ANIMALS = words(
    "fox owl rabbit bear mouse hedgehog frog crow deer squirrel cat dog turtle badger duck goat pony snail whale swan "
    "wolf lion tiger horse cow pig sheep hen goose otter beaver mole bat bee ant spider fish penguin seal monkey "
    "elephant giraffe zebra camel panda koala kitten puppy dragon robot dinosaur unicorn parrot robin raven lizard"
)
COLOURS = words("red blue green yellow orange purple white black brown pink silver golden grey")
PLACES = words("forest meadow river hill village garden lake harbour mountain barn library market beach cave orchard")
THINGS = words("lantern key acorn kite bell map ribbon drum shell button basket stone whistle book boat cup hat")
FOODS = words("apples berries bread honey soup cheese nuts cake pears porridge pizza rice pasta plums")
JOBS = words("baker teacher doctor farmer painter pilot singer writer sailor gardener nurse cook driver")
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words("January February March April May June July August September October November December")
TOWNS = words(
    "London Boston Sydney Munich Geneva Kyoto Porto Bergen Naples Seville Paris Rome Madrid Berlin Tokyo Cairo Oslo "
    "Lima Nairobi Athens Vienna Dublin Chicago Toronto Mumbai Hamburg Zurich Milan Lyon Prague"
)

_SMALL = words(
    "the a my your is are to in on at with for of new old big small good long go come buy call make take bring "
    "read write please tomorrow today soon late early very not more two three home school work door car water day week"
)
_BETWEEN = words("of de van von la del the al bin")
_MARKS = words("II III IV")
_TITLES = words("Dr. Mr. Mrs. Ms. Captain Professor Aunt Uncle Sir Lady")
_HEADS = [
    *words("b c d f g h j k l m n p r s t v w z b d f g k l m n p r s t v y qu br dr gr kr tr fl pl st sh ch th sch"),
    *("", ""),
]
_VOWELS = words("a e i o u a e i o u a e i o u ai ea ou ia oo ee y")
_JOINTS = [*[""] * 12, *words("n r l s m")]
_TAILS = [*[""] * 8, *words("n r l s k m t x nd rt ck ll son ton ska witz")]


def made_up(r: Random) -> str:
    """A pronounceable lower-case string of one to three syllables that is (almost surely) no word."""
    syllables = r.choice((1, 2, 2, 2, 2, 2, 3))
    parts = [r.choice(_HEADS) + r.choice(_VOWELS) + r.choice(_JOINTS) for _ in range(syllables)]
    text = "".join(parts) + r.choice(_TAILS)
    return text if len(text) > 3 else text + "ra"


def long_word(r: Random) -> str:
    """A made-up word of four to six syllables, now and then with a letter that English lacks."""
    word = "".join(r.choice(_HEADS) + r.choice(_VOWELS) + r.choice(_JOINTS) for _ in range(r.choice((4, 4, 5, 6))))
    if r.random() < 0.2:
        at = r.randrange(len(word))
        word = word[:at] + r.choice("áéíóúäöüèçñøåšž") + word[at + 1 :]
    return word + r.choice(_TAILS)


def odd_name(r: Random) -> str:
    """A name that is long, of several words, or written in no usual way."""
    one, two = made_up(r).capitalize(), made_up(r).capitalize()
    return r.choice([
        long_word(r).capitalize(), long_word(r).capitalize(), f"{one} {two}",
        f"{r.choice(NAMES)} {long_word(r).capitalize()}",
        f"{r.choice(NAMES)} {one} {two}", f"{one} {r.choice(_BETWEEN)} {two}", f"{one}-{two}", f"{one}-{two.lower()}",
        f"{r.choice('ODL')}'{one}", f"{r.choice(['Mc', 'Mac', 'De', 'Van'])}{one}", f"{one}{two}",
        f"{one} {r.choice(_MARKS)}", f"{one}{r.randint(1, 999)}", one.upper(), f"{r.choice(_TITLES)} {one}",
        "".join(r.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(r.randint(4, 9))).capitalize(),
    ])  # fmt: skip


def phrase(r: Random, most: int = 6) -> str:
    """A few words that mean nothing together, known and made-up: what somebody might want written down."""
    lists = (ANIMALS, COLOURS, PLACES, THINGS, FOODS, JOBS, _SMALL, _SMALL)
    return " ".join(made_up(r) if r.random() < 0.3 else r.choice(r.choice(lists)) for _ in range(r.randint(1, most)))


def pick(r: Random, choices: list[str], unseen: bool = False, share: float = 0.5) -> str:
    """One of the choices or, for a share of the time and always when `unseen`, a made-up word in its place."""
    if not unseen and r.random() >= share:
        return r.choice(choices)
    word = made_up(r)
    if not choices[0][0].isupper():
        return word if r.random() < 0.92 else long_word(r)
    second = r.random()
    if second < 0.08:  # two words, as in "Anna Kowalska" or "New Zealand"
        return f"{r.choice(choices) if second < 0.04 else word.capitalize()} {made_up(r).capitalize()}"
    return odd_name(r) if second > 0.88 else word.capitalize()


def a(noun: str) -> str:
    """The noun with its article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def cap(text: str) -> str:
    """The text with its first letter raised, the rest untouched."""
    return text[:1].upper() + text[1:]


def loosely(r: Random, question: str) -> str:
    """The question as people type it: often without its last mark, sometimes all in small letters."""
    if question[-1] in ".?!" and r.random() < 0.3:
        question = question[:-1].rstrip()
    if r.random() < 0.06:
        return r.choice(["Hi, ", "Hello! ", "Please, ", "Hey, ", "OK, ", "And "]) + question[0].lower() + question[1:]
    if r.random() < 0.15:
        question = question[0].lower() + question[1:]
    return question


def carelessly(r: Random, question: str) -> str:
    """Like `loosely`, and now and then without any capital; for questions whose answer copies nothing from them."""
    question = loosely(r, question)
    return question.lower() if r.random() < 0.12 else question
