"""Values as models write them (JSON, Python, Gemma's own) to JSON, piece by piece, whatever the text is cut into."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from halflap.text.chat.feed import Feed, Reading, Tags

DEPTH: Final = 200
"""Levels of a value; readers of JSON refuse a thousand."""
WORD: Final = 1000
"""Characters of a number, or of a key without quotes."""

_JSON_WORDS: Final = {"true": "true", "false": "false", "null": "null"}
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_WORD: Final = re.compile(r"[-+.\w]+")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_ESCAPES: Final = {"a": "\\u0007", "v": "\\u000b", "0": "\\u0000", "'": "'", "\n": ""}
_CLOSES: Final = {"[": "]", "{": "}", "(": ")"}
_WRITTEN: Final = {"]": "]", "}": "}", ")": "]"}


@frozen
class Style:
    """How values are written.

    Attributes:
        quotes: what may stand around a string.
        words: names of constants, and what they are in JSON.
        escapes: a backslash in a string escapes what follows.
        bare_keys: keys may stand without quotes.
        loose: a quote inside a string need not be escaped if the value plainly goes on.
    """

    quotes: tuple[str, ...]
    words: Mapping[str, str] = _JSON_WORDS
    escapes: bool = True
    bare_keys: bool = False
    loose: bool = False
    _ends: Mapping[str, Tags] = field(init=False, repr=False)

    @_ends.default
    def _make_ends(self) -> dict[str, Tags]:
        return {quote: Tags([quote, "\\"] if self.escapes else [quote]) for quote in self.quotes}

    @property
    def brackets(self) -> str:
        return "[{(" if self.loose else "[{"


JSON: Final = Style(('"',))
PYTHON: Final = Style(('"', "'"), {**_JSON_WORDS, "True": "true", "False": "false", "None": "null"}, loose=True)
GEMMA: Final = Style(('<|"|>',), escapes=False, bare_keys=True)

Put = Callable[[str], None]
"""Takes the next piece of JSON."""


def escaped(text: str) -> str:
    """Text as it stands in a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def value(feed: Feed, style: Style, put: Put) -> Reading[bool]:
    """Reads one value and writes it as JSON; False: it is none, and what was written is its beginning."""
    closes: list[str] = []
    state, comma, gap = "value", "", ""
    while True:
        if closes:
            gap = "".join(c if c in " \t\n\r" else " " for c in (yield from feed.space()))
            if gap and not comma:
                put(gap)
        char = yield from feed.char()
        if not char:
            return False
        if closes and char == closes[-1] and (comma or state in ("after", "first")):
            feed.take(1)
            put(_WRITTEN[closes.pop()])
            state, comma = "after", ""
        elif state == "after":
            if char != ",":
                return False
            feed.take(1)
            comma, state = ",", "key" if closes[-1] == "}" else "value"
        elif state == "colon":
            if char != ":":
                return False
            feed.take(1)
            put(":")
            state = "value"
        else:
            if comma:  # a comma before a closing bracket is left out
                put(comma + gap)
                comma = ""
            if state == "key" or (state == "first" and closes[-1] == "}"):
                if not (yield from _key(feed, style, put)):
                    return False
                state = "colon"
            elif char in style.brackets:
                feed.take(1)
                closes.append(_CLOSES[char])
                if len(closes) > DEPTH:
                    return False
                put("[" if char == "(" else char)
                state = "first"
            elif (yield from _scalar(feed, style, put)):
                state = "after"
            else:
                return False
        if not closes and state == "after":
            return True


def _key(feed: Feed, style: Style, put: Put) -> Reading[bool]:
    for quote in style.quotes:
        if (yield from feed.accept(quote)):
            return (yield from string(feed, style, quote, put))
    if not style.bare_keys:
        return False
    word = yield from _word(feed)
    put(f'"{escaped(word)}"')
    return bool(word)


def _scalar(feed: Feed, style: Style, put: Put) -> Reading[bool]:
    for quote in style.quotes:
        if (yield from feed.accept(quote)):
            return (yield from string(feed, style, quote, put))
    word = yield from _word(feed)
    written = style.words.get(word) or number(word)
    put(written)
    return bool(written)


def number(word: str) -> str:
    """A number in JSON; "" if the word is none."""
    if _NUMBER.fullmatch(word):
        return word
    if not word or not word[-1].isascii() or word[0] == "_":
        return ""
    try:
        found = float(word)
        if not math.isfinite(found):
            return ""
        return str(int(word)) if re.fullmatch(r"[-+]?[\d_]+", word) else repr(found)
    except ValueError:
        return ""


def _word(feed: Feed) -> Reading[str]:
    parts, size = [], 0
    while part := (yield from feed.run(_WORD)):
        parts.append(part)
        size += len(part)
        if size > WORD:
            return ""
    return "".join(parts)


def string(feed: Feed, style: Style, quote: str, put: Put) -> Reading[bool]:
    """Reads a string whose opening quote was taken; False: it has no end."""
    put('"')
    ends = style._ends[quote]
    while True:
        text, tag = yield from feed.chunk(ends)
        if text:
            put(escaped(text))
        if tag == "\\":
            if not (yield from _escape(feed, put)):
                return False
        elif tag:
            if style.loose and not (yield from _ends_here(feed)):
                put(escaped(tag))
                continue
            put('"')
            return True
        elif not text:
            return False


def _escape(feed: Feed, put: Put) -> Reading[bool]:
    """What a backslash escapes; one that escapes nothing stands for itself."""
    char = yield from feed.char()
    if not char:
        return False
    digits = {"u": 4, "x": 2}.get(char)
    if digits is not None:
        code = (yield from feed.ahead(1 + digits))[1:]
        if len(code) == digits and _HEX.fullmatch(code):
            feed.take(1 + digits)
            put(f"\\u{code:0>4}")
        else:
            put("\\\\")
    elif char in '"\\/bfnrt':
        feed.take(1)
        put(f"\\{char}")
    elif char in _ESCAPES:
        feed.take(1)
        put(_ESCAPES[char])
    else:
        put("\\\\")
    return True


def _ends_here(feed: Feed) -> Reading[bool]:
    """Whether what follows a quote is what follows a value."""
    for count in range(1, 32):
        coming = yield from feed.ahead(count)
        if len(coming) < count or not coming[-1].isspace():
            return len(coming) < count or coming[-1] in ",:)]}"
    return True


def as_json(text: str, style: Style = PYTHON) -> str | None:
    """A whole value as JSON; None if it is none."""
    feed, parts = Feed(), []  # type: ignore[var-annotated]
    feed.push(text.strip())
    feed.ended = True

    def read() -> Reading[bool]:
        whole = yield from value(feed, style, parts.append)
        return whole and not (yield from feed.char())

    reading = read()
    try:
        next(reading)
    except StopIteration as done:
        return "".join(parts) if done.value else None
    raise AssertionError("a feed that has ended waits for nothing")
