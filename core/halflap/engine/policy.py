"""Who goes first: a policy ranks work, the scheduler serves the lowest rank first and preempts the highest."""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

from halflap.engine.work import Work


class Policy(Protocol):
    """What `register_policies` registers, made once per model."""

    def rank(self, work: Work) -> tuple[float, ...]:
        """Lower is served first; asked anew at every step. `work` tells priority, user, arrival and served."""

    def served(self, work: Work, tokens: int) -> None:
        """So many tokens were just computed for it."""


class FirstCome:
    """By priority, then by arrival."""

    def rank(self, work: Work) -> tuple[float, ...]:
        return (-work.priority, work.arrival)

    def served(self, work: Work, tokens: int) -> None:
        pass


class Fair:
    """By priority, then whose user has had the fewest tokens of late; what was had is halved every SHARED tokens."""

    def __init__(self) -> None:
        self._had: defaultdict[str, float] = defaultdict(float)
        self._since = 0

    def rank(self, work: Work) -> tuple[float, ...]:
        return (-work.priority, self._had.get(work.user, 0.0), work.arrival)

    def served(self, work: Work, tokens: int) -> None:
        self._had[work.user] += tokens
        self._since += tokens
        if self._since >= SHARED:
            self._since = 0
            for user, had in list(self._had.items()):
                if had < 2:
                    del self._had[user]
                else:
                    self._had[user] = had / 2


SHARED = 1 << 16
"""Tokens after which `Fair` counts what users had by half."""
