"""Work that computes given ids once: embeddings, scores, logits of a prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.work import F32, Work
from halflap.events import FinishReason
from halflap.graph.candidates import Highest
from halflap.sampling.chain import likeliest, log_probabilities


class Scoring(Work):
    """Collects rows of some outputs.

    Args:
        outputs: such as "logits", "hidden", "scores".
        rows: which positions are wanted, ascending.
        done: called on the engine thread with (rows, width) of each output, or the error.
    """

    def __init__(
        self,
        ids: Sequence[int],
        outputs: tuple[str, ...],
        rows: Sequence[int],
        done: Callable[[dict[str, F32] | BaseException], None],
        images: Images = NO_IMAGES,
        **sharing: Any,
    ) -> None:
        super().__init__(ids, len(ids), outputs, images, **sharing)
        self._rows, self._done = list(rows), done
        self._parts: list[Mapping[str, F32]] = []
        self._found = 0

    @property
    def latest_start(self) -> int:
        return self._rows[self._found] if self._found < len(self._rows) else len(self.ids) - 1

    def wanted(self, start: int, stop: int) -> list[int]:
        first = max(bisect_left(self._rows, start), self._found)  # those before were found before a preemption
        return self._rows[first : bisect_left(self._rows, stop)]

    def advance(self, stop: int, rows: Mapping[str, F32], found: Sequence[Highest | None] = ()) -> None:
        self.computed = stop
        if rows:
            self._parts.append(self._kept(rows))
            self._found += len(rows[self.outputs[0]])
        if stop == len(self.ids):
            self.finished = True
            none = np.zeros((0, 0), np.float32)
            names = self._parts[0] if self._parts else self.outputs
            kept = {name: [part[name] for part in self._parts] or [none] for name in names}
            self._done({name: np.concatenate(parts) for name, parts in kept.items()})

    def _kept(self, rows: Mapping[str, F32]) -> Mapping[str, F32]:
        """What is kept of the rows that a step gave."""
        return rows

    def end(self, reason: FinishReason) -> None:
        self.finished = True

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.finished = True
            self._done(error)


class Judging(Scoring):
    """Each token's log-probability given those before it. Rows are reduced as they come: no step's outlives it.

    What `done` gets: "logprobs" f32 (n, 1) of all ids but the first; of the likeliest tokens at their places, best
    first, "top" f32 (n, top) and their "ids" i32 (n, top).

    Args:
        ids: two or more; the last is judged but not computed.
        top: how many of the likeliest to tell.
        sharing: what `Scoring` takes beside these.
    """

    def __init__(
        self, ids: Sequence[int], done: Callable[[dict[str, Any] | BaseException], None], top: int, **sharing: Any
    ) -> None:
        super().__init__(ids[:-1], ("logits",), range(len(ids) - 1), done, **sharing)
        self._judged, self._top = list(ids[1:]), top

    def _kept(self, rows: Mapping[str, F32]) -> Mapping[str, Any]:
        chances = [log_probabilities(row) for row in rows["logits"]]
        ids = self._judged[self._found : self._found + len(chances)]
        best = [likeliest(row, self._top) for row in chances]
        return {
            "logprobs": np.stack([row[[token]] for row, token in zip(chances, ids, strict=True)]),
            "top": np.stack([row[places] for row, places in zip(chances, best, strict=True)]),
            "ids": np.stack(best).astype(np.int32),
        }
