"""Work that computes given ids once: embeddings, scores, logits of a prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.work import F32, Work
from halflap.events import FinishReason


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

    def advance(self, stop: int, rows: Mapping[str, F32]) -> None:
        self.computed = stop
        if rows:
            self._parts.append(rows)
            self._found += len(rows[self.outputs[0]])
        if stop == len(self.ids):
            self.finished = True
            none = np.zeros((0, 0), np.float32)
            found = {name: [part[name] for part in self._parts] or [none] for name in self.outputs}
            self._done({name: np.concatenate(parts) for name, parts in found.items()})

    def end(self, reason: FinishReason) -> None:
        self.finished = True

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.finished = True
            self._done(error)
