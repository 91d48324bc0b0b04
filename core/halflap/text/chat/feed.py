"""Text that comes in pieces, read as if it were all there: readers are generators that yield where more is needed.

Each reader takes what it has understood, so no character is looked at more than a few times, however the text is cut.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, None, T]
"""A reader under way: it yields when it has used up what has come."""


class Tags:
    """Texts to look for, longest first where several begin at one place."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(sorted(set(filter(None, texts)), key=lambda text: (-len(text), text)))
        self.pattern = re.compile("|".join(map(re.escape, self.texts)) or r"(?!)")
        self.longest = len(self.texts[0]) if self.texts else 0
        self.beginnings = frozenset(text[:n] for text in self.texts for n in range(1, len(text)))
        self.firsts = frozenset(text[0] for text in self.texts)


class Feed:
    """The text that has come and was not read.

    Attributes:
        ended: no more will come.
    """

    def __init__(self) -> None:
        self._text, self._at, self.ended = "", 0, False
        self._marked: list[str] | None = None

    def __len__(self) -> int:
        """Characters that wait to be read."""
        return len(self._text) - self._at

    def push(self, text: str) -> None:
        self._text, self._at = self._text[self._at :] + text, 0

    def mark(self, *before: str) -> None:
        """Remember what is taken from here on, behind `before`, in case it must be given back as text."""
        self._marked = list(before)

    def forget(self) -> None:
        """What was taken since the mark has been understood."""
        if self._marked:
            self._marked.clear()

    def unmark(self) -> str:
        """What was taken since the mark, and not forgotten."""
        taken, self._marked = "".join(self._marked or ()), None
        return taken

    def take(self, count: int) -> str:
        taken = self._text[self._at : self._at + count]
        self._at += count
        if self._marked is not None:
            self._marked.append(taken)
        return taken

    def give_back(self, text: str) -> None:
        """Puts back what was taken last."""
        self._text, self._at = text + self._text[self._at :], 0
        if self._marked:
            taken = "".join(self._marked)
            self._marked[:] = [taken[: max(len(taken) - len(text), 0)]]

    def char(self) -> Reading[str]:
        """The next character, left where it is; "" at the end."""
        while self._at >= len(self._text):
            if self.ended:
                return ""
            yield
        return self._text[self._at]

    def ahead(self, count: int) -> Reading[str]:
        """The next `count` characters, left where they are; fewer at the end."""
        while len(self._text) - self._at < count and not self.ended:
            yield
        return self._text[self._at : self._at + count]

    def begins(self, literal: str) -> Reading[bool]:
        """Whether the text goes on with this; waits only as long as it may."""
        while True:
            coming = self._text[self._at : self._at + len(literal)]
            if coming == literal:
                return True
            if self.ended or not literal.startswith(coming):
                return False
            yield

    def accept(self, literal: str) -> Reading[bool]:
        """Takes this if the text goes on with it."""
        found = yield from self.begins(literal)
        if found:
            self.take(len(literal))
        return found

    def run(self, pattern: re.Pattern[str]) -> Reading[str]:
        """Takes the longest run of characters that a pattern (of one or more of them) matches; what has come of it.

        "" means that the next character is not among them, or the end.
        """
        yield from self.char()
        match = pattern.match(self._text, self._at)
        return self.take(match.end() - self._at) if match else ""

    def space(self) -> Reading[str]:
        """Takes white space."""
        parts = []
        while part := (yield from self.run(_SPACE)):
            parts.append(part)
        return "".join(parts)

    def chunk(self, tags: Tags) -> Reading[tuple[str, str]]:
        """Takes what comes next: (text that is certain to be no tag, "") or ("", a tag); both are "" at the end."""
        while True:
            match = tags.pattern.search(self._text, self._at)
            if match is not None:
                coming = self._text[match.start() : match.start() + tags.longest]
                if self.ended or coming not in tags.beginnings:
                    if match.start() > self._at:
                        return self.take(match.start() - self._at), ""
                    return "", self.take(len(match[0]))
                safe = match.start()  # it may become a longer one
            else:
                safe = len(self._text)
                if not self.ended:
                    first = max(self._at, safe - tags.longest + 1)
                    safe = next(
                        (
                            place
                            for place in range(first, safe)
                            if self._text[place] in tags.firsts and self._text[place:] in tags.beginnings
                        ),
                        safe,
                    )
            if safe > self._at or self.ended:
                return self.take(safe - self._at), ""
            yield

    def head(self, tags: Tags, limit: int) -> Reading[tuple[str, str] | None]:
        """All text up to a tag, and the tag; both are taken. None: there is none within `limit` characters."""
        parts, size = [], 0
        while True:
            text, tag = yield from self.chunk(tags)
            parts.append(text)
            size += len(text)
            if size > limit or not (text or tag):
                return None
            if tag:
                return "".join(parts), tag


_SPACE = re.compile(r"\s+")
