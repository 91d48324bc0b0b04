"""What an engine counts, as of now: for `Model.metrics`, the command line and servers that export it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict, field, frozen

BOUNDS: Final = tuple(0.001 * 2**i for i in range(20))
"""Upper bounds of the histograms' buckets in seconds: 1 ms to 524 s, each twice the last."""


@frozen
class Histogram:
    """Observed durations.

    Attributes:
        counts: observations up to each of BOUNDS and not up to the one before; the last entry is of those beyond.
        total: seconds of all together.
    """

    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The bound below which this share of the observations lies; 0 without any."""
        wanted, seen = share * self.count, 0
        bounds: tuple[float, ...] = (*BOUNDS, float("inf"))
        for bound, count in zip(bounds, self.counts, strict=True):
            seen += count
            if seen >= wanted and seen:
                return bound
        return 0.0


@frozen
class Metrics:
    """Counters of one engine, as of now.

    Attributes:
        generated_tokens: of answers; prompt_tokens were computed to read prompts.
        cached_tokens: tokens that were not computed because an earlier sequence had.
        drafts: how often guesses were checked.
        drafted_tokens: guesses that were checked; accepted_tokens of them were right.
        accepted_at: right guesses by their place in the draft.
        longest: tokens of the longest sequence that has ended.
        preemptions: how often a sequence had to make room for others and begin again.
        missing: state group -> tokens computed again because it had given up what stood behind them.
        finished: reason -> requests that ended so; "error" for those that failed.
        queue: seconds from submission until a request was admitted.
        first_token: seconds from submission to the first token.
        between_tokens: seconds from each token to the next.
        whole: seconds from submission to the end.
        blocks_used: blocks that running sequences hold; blocks_cached are kept for later ones. Slots likewise.
    """

    running: int
    waiting: int
    steps: int
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int
    drafts: int
    drafted_tokens: int
    accepted_tokens: int
    accepted_at: tuple[int, ...]
    longest: int
    preemptions: int
    missing: Mapping[str, int]
    finished: Mapping[str, int]
    queue: Histogram
    first_token: Histogram
    between_tokens: Histogram
    whole: Histogram
    blocks_used: Mapping[str, int] = field(factory=dict)
    blocks_cached: Mapping[str, int] = field(factory=dict)
    blocks_total: Mapping[str, int] = field(factory=dict)
    slots_used: Mapping[str, int] = field(factory=dict)
    slots_cached: Mapping[str, int] = field(factory=dict)
    slots_total: Mapping[str, int] = field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Recorder:
    """Collects durations and ends on the engine's thread."""

    def __init__(self) -> None:
        self._counts = {name: [0] * (len(BOUNDS) + 1) for name in ("queue", "first_token", "between_tokens", "whole")}
        self._totals = dict.fromkeys(self._counts, 0.0)
        self.finished: dict[str, int] = {}
        self.drafts = self.drafted = self.accepted = self.longest = 0
        self.accepted_at: list[int] = []

    def observe(self, name: str, seconds: float) -> None:
        self._counts[name][bisect_left(BOUNDS, seconds)] += 1
        self._totals[name] += seconds

    def histograms(self) -> dict[str, Histogram]:
        return {name: Histogram(tuple(counts), self._totals[name]) for name, counts in self._counts.items()}

    def checked(self, drafted: int, accepted: int) -> None:
        """A draft was checked; its first `accepted` tokens were right."""
        self.drafts += 1
        self.drafted += drafted
        self.accepted += accepted
        self.accepted_at += [0] * (accepted - len(self.accepted_at))
        for place in range(accepted):
            self.accepted_at[place] += 1

    def ended(self, reason: str, seconds: float, tokens: int) -> None:
        """A sequence of `tokens` ended."""
        self.longest = max(self.longest, tokens)
        self.finished[reason] = self.finished.get(reason, 0) + 1
        self.observe("whole", seconds)
