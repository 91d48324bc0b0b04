"""Work that computes given ids once: embeddings, scores, logits of a prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.work import F32, Work
from halflap.events import FinishReason


class Scoring(Work):
    """Collects one output's rows.

    Args:
        output: "logits", "hidden" or "scores".
        rows: which positions are wanted, ascending.
        done: called on the engine thread with (rows, width) or the error.
    """

    def __init__(
        self,
        ids: Sequence[int],
        output: str,
        rows: Sequence[int],
        done: Callable[[F32 | BaseException], None],
        images: Images = NO_IMAGES,
        source: Sequence[int] = (),
    ) -> None:
        super().__init__(ids, len(ids), (output,), images, source=source)
        self._rows, self._done = list(rows), done
        self._parts: list[F32] = []
        self._found = 0

    @property
    def latest_start(self) -> int:
        return self._rows[self._found] if self._found < len(self._rows) else len(self.ids) - 1

    def wanted(self, start: int, stop: int) -> list[int]:
        first = max(bisect_left(self._rows, start), self._found)  # those before were found before a preemption
        return self._rows[first : bisect_left(self._rows, stop)]

    def advance(self, stop: int, rows: Mapping[str, F32]) -> None:
        self.computed = stop
        if self.outputs[0] in rows:
            self._parts.append(rows[self.outputs[0]])
            self._found += len(self._parts[-1])
        if stop == len(self.ids):
            self.finished = True
            self._done(np.concatenate(self._parts) if self._parts else np.zeros((0, 0), np.float32))

    def end(self, reason: FinishReason) -> None:
        self.finished = True

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.finished = True
            self._done(error)
