"""How many tokens to guess: as many as pay, by what guesses were worth and what steps cost until now.

A draft is checked by choosing each token as ever from its own row, and going on while it is the one that was guessed.
So the tokens are those of plain decoding, whatever the samplers, where rows do not depend on their neighbours.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Protocol
from weakref import WeakKeyDictionary

from halflap.engine.work import Work

LONGEST = 16
"""Most tokens of one draft."""

PROBE = 64
"""Steps with drafts until one without shows what that costs now; and steps without until one with PROBED tokens."""
PROBED = 2
FORGET = 4 * PROBE
"""Steps after which a time that was not measured again no longer counts: it may have been taken in a bad moment."""
HOPED = 0.05
FIRST = 7
"""Tokens of a sequence's first draft at most."""
FADE = 0.95
"""What is left of a checked guess's weight after each later one."""
PRIOR, CHANCE = 2, 0.4
"""A new sequence is taken for one with so many guesses checked, and at least this share of them right."""


class Drafter(Protocol):
    """What `register_drafters` registers, made once per model and called on the engine's thread."""

    def draft(self, works: Sequence[Work], most: Sequence[int]) -> Sequence[Sequence[int]]:
        """For each sequence what may follow its `ids`, at most so many tokens; fewer or none where it cannot say."""

    def close(self) -> None: ...


class StepCosts:
    """Seconds of a step by its tokens, as measured: the median of the last few, at most straight lines between."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[float]] = {}
        self._medians: dict[int, float] = {}
        self._last: dict[int, int] = {}  # the step in which each was measured
        self._steps = 0

    def add(self, tokens: int, seconds: float) -> None:
        self._steps += 1
        for old in [t for t, step in self._last.items() if self._steps - step > FORGET]:
            del self._last[old], self._seen[old], self._medians[old]
        self._last[tokens] = self._steps
        seen = self._seen.setdefault(tokens, deque(maxlen=9))
        seen.append(seconds)
        self._medians[tokens] = median(seen)

    def known(self, tokens: int) -> bool:
        return tokens in self._seen

    def of(self, tokens: int) -> float:
        """Expected seconds. A token beyond what was measured adds HOPED of a step, so that what might pay is tried."""
        known = sorted(self._medians)
        if not known:
            return 1 + HOPED * tokens
        below = max((t for t in known if t <= tokens), default=None)
        above = min((t for t in known if t >= tokens), default=None)
        if below is None:
            assert above is not None
            return self._medians[above]
        hoped = self._medians[below] * (1 + HOPED * (tokens - below))
        if above is None:
            return hoped
        if above == below:
            return self._medians[below]
        low, high = self._medians[below], max(self._medians[below], self._medians[above])
        return min(hoped, low + (high - low) * (tokens - below) / (above - below))


class _Record:
    """How one sequence's guesses fared, the newest counting most.

    Attributes:
        longest: tokens of its next draft at most; twice as many once a whole draft was right.
    """

    def __init__(self) -> None:
        self._tried = self._right = 0.0
        self.longest = FIRST

    def add(self, drafted: int, accepted: int) -> None:
        tried = min(accepted + 1, drafted)  # what follows the first wrong token was not looked at
        fade = FADE**tried
        self._tried, self._right = fade * self._tried + tried, fade * self._right + accepted
        if accepted == drafted == self.longest:
            self.longest = min(2 * self.longest, LONGEST)

    def right(self, usual: float) -> float:
        """The share that is right, beginning with what is usual."""
        return min(0.98, (self._right + PRIOR * max(usual, CHANCE)) / (self._tried + PRIOR))


class Speculator:
    """Chooses the length of every draft, so that the expected tokens per second are the most."""

    def __init__(self, drafter: Drafter) -> None:
        self._drafter = drafter
        self._costs = StepCosts()
        self._per_token = 0.0
        self._records: WeakKeyDictionary[Work, _Record] = WeakKeyDictionary()
        self._usual = 0.7
        self._drafting, self._since = False, 0

    def propose(self, works: Sequence[Work], room: Sequence[int], tokens: int) -> None:
        """Give drafts to sequences that decode, each at most `room` long and all at most `tokens`."""
        lengths = self._lengths(works, [max(0, min(LONGEST, n)) for n in room], tokens)
        asked = sum(lengths)
        self._since = self._since + 1 if bool(asked) == self._drafting else 0
        self._drafting = bool(asked)
        if not asked:
            return
        before = time.perf_counter()
        drafts = self._drafter.draft(works, lengths)
        spent = (time.perf_counter() - before) / asked
        self._per_token += 0.1 * (spent - self._per_token)
        for work, draft, most in zip(works, drafts, lengths, strict=True):
            work.propose([int(token) for token in draft[:most]])

    def measured(self, tokens: int, seconds: float) -> None:
        """A step in which sequences only decoded took so long."""
        self._costs.add(tokens, seconds)

    def checked(self, work: Work, drafted: int, accepted: int) -> None:
        """Of a draft so many tokens were right."""
        record = self._records.setdefault(work, _Record())
        record.add(drafted, accepted)
        self._usual += 0.05 * (record.right(self._usual) - self._usual)

    def close(self) -> None:
        self._drafter.close()

    def _lengths(self, works: Sequence[Work], room: Sequence[int], tokens: int) -> list[int]:
        """The draft tokens that are likeliest right, while one more still raises the tokens per second."""
        lengths = [0] * len(works)
        if self._since >= PROBE or not self._costs.known(len(works)):  # the other way, to see what it is worth now
            probed = 0 if self._drafting or not self._costs.known(len(works)) else PROBED
            return [min(probed, most) if place == 0 else 0 for place, most in enumerate(room)]
        records = [self._records.setdefault(work, _Record()) for work in works]
        right = [record.right(self._usual) for record in records]
        room = [min(most, record.longest) for most, record in zip(room, records, strict=True)]
        queue = [(-p, place) for place, p in enumerate(right) if room[place]]
        heapq.heapify(queue)
        gain, taken = float(len(works)), 0
        best, chosen = gain / self._costs.of(len(works)), list(lengths)
        while queue and taken < tokens:
            value, place = heapq.heappop(queue)
            lengths[place] += 1
            taken += 1
            gain -= value
            rate = gain / (self._costs.of(len(works) + taken) + self._per_token * taken)
            if rate > best * 1.01:
                best, chosen = rate, list(lengths)
            if lengths[place] < room[place]:
                heapq.heappush(queue, (value * right[place], place))
        return chosen
