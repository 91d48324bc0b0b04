"""Ending text at given strings, or at a line that is not indented enough, while it is still arriving."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Indentation", "StopStrings"]


class StopStrings:
    """Passes text on until one of the stop strings appears in it.

    The stop string that is complete first ends the text; of several that are complete at the same character the one
    that began first, so that none of it is shown. Text that may be the beginning of a stop string is held back: never
    as much as the longest of them.

    Args:
        stops: the strings; empty ones are ignored.

    Attributes:
        met: the stop string that ended the text, or None.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in dict.fromkeys(stops) if stop)
        self._held = ""
        self.met: str | None = None

    def push(self, text: str) -> str:
        """Take `text`; return what may be shown. After a stop everything further is swallowed."""
        if self.met is not None:
            return ""
        text = self._held + text
        # A match cannot lie in the held text alone, so the earliest end is found by looking at each string once.
        ends = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            _, at, self.met = min(ends)
            self._held = ""
            return text[:at]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held


class Indentation:
    """Passes text on until a line behind the first begins with fewer than `least` spaces and tabs.

    Attributes:
        ended: there was such a line; it is left out but for its indentation.
    """

    def __init__(self, least: int) -> None:
        self._least, self.ended = least, False
        self._seen: int | None = None  # spaces and tabs of the line so far, while there is nothing else in it

    def push(self, text: str) -> str:
        """Take `text`; return what may be shown."""
        if self.ended or not self._least:
            return "" if self.ended else text
        for place, char in enumerate(text):
            if self._seen is not None and char in " \t":
                self._seen += 1
            elif self._seen is not None and self._seen < self._least:
                self.ended = True
                return text[:place]
            else:
                self._seen = 0 if char == "\n" else None
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper beginning of `stop` that `text` ends with."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
