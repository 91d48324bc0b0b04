"""Ending text at given strings, while it is still arriving."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["StopStrings"]


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


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper beginning of `stop` that `text` ends with."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
