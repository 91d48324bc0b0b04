"""Drafts out of the sequence itself: what followed the last few tokens when they stood there before.

Source: Saxena, "Prompt lookup decoding", 2023: https://github.com/apoorvumang/prompt-lookup-decoding
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from halflap.engine.work import Work

LONGEST, SHORTEST = 4, 2
"""Tokens that must repeat: the longest match wins, shorter ones are chance."""


class Lookup:
    """Finds repeated runs; registered as "lookup"."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Work, _Index] = WeakKeyDictionary()

    def draft(self, works: Sequence[Work], most: Sequence[int]) -> list[Sequence[int]]:
        return [self._seen.setdefault(work, _Index()).after(work.ids, n) for work, n in zip(works, most, strict=True)]

    def close(self) -> None:
        pass


class _Index:
    """Where each run of a sequence ended last."""

    def __init__(self) -> None:
        self._ends: list[dict[tuple[int, ...], int]] = [{} for _ in range(SHORTEST, LONGEST + 1)]
        self._known = 0

    def after(self, ids: Sequence[int], most: int) -> Sequence[int]:
        """What followed the newest tokens before, at most so many."""
        if len(ids) < self._known:  # tokens were dropped
            self.__init__()  # type: ignore[misc]
        found: int | None = None
        for ends, length in zip(self._ends, range(SHORTEST, LONGEST + 1), strict=True):
            for end in range(max(self._known, length), len(ids)):  # runs that something follows
                ends[tuple(ids[end - length : end])] = end
            found = ends.get(tuple(ids[-length:]), found)
        self._known = len(ids)
        return ids[found : found + most] if found is not None else ()
