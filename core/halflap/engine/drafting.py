"""Drafts out of a smaller model with the same vocabulary: it runs ahead greedily, all sequences side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from halflap.engine.blocks import BlockManager
from halflap.engine.runner import Runner
from halflap.engine.scheduler import Chunk
from halflap.engine.scoring import Scoring
from halflap.engine.steps import build_step
from halflap.engine.work import Work
from halflap.graph.ir import StateGroup
from halflap.graph.step import Limits


class ModelDrafter:
    """A draft model and its own KV blocks.

    Args:
        make_runner: opens it; called on the engine's thread.
        groups: its state; blocks only, for what was guessed wrong must be taken back.
    """

    def __init__(self, make_runner: Callable[[], Runner], groups: tuple[StateGroup, ...], limits: Limits) -> None:
        self._runner, self._limits = make_runner(), limits
        self._blocks = BlockManager(groups, limits)
        self._mirrors: dict[Work, _Mirror] = {}

    def draft(self, works: Sequence[Work], most: Sequence[int]) -> list[Sequence[int]]:
        for work in [w for w in self._mirrors if w.blocks is None]:
            self._mirrors.pop(work).release(self._blocks)
        pairs = [(self._mirror(work), n) for work, n in zip(works, most, strict=True)]
        active = [(mirror, n) for mirror, n in pairs if mirror is not None and n]
        starts = [len(mirror.ids) for mirror, _ in active]
        while ready := [m for (m, n), start in zip(active, starts, strict=True) if len(m.ids) - start < n]:
            if not self._step(ready):
                break
        drafts = {id(m): m.ids[start:] for (m, _), start in zip(active, starts, strict=True)}
        return [drafts.get(id(mirror), ()) for mirror, _ in pairs]

    def close(self) -> None:
        self._runner.close()

    def _mirror(self, work: Work) -> _Mirror | None:
        """The draft model's own view of a sequence, brought up to date; None while there is no room for one."""
        if len(work.ids) >= self._limits.context - 1 or work.images.given:
            return None
        mirror = self._mirrors.get(work)
        if mirror is None:
            mirror = self._mirrors[work] = _Mirror(work.ids)
            mirror.blocks = self._blocks.admit(b"")
        mirror.follow(work.ids)
        return mirror

    def _step(self, mirrors: Sequence[_Mirror]) -> bool:
        """Compute what is missing, one more token for each that has all; False if nothing could be done."""
        chunks, tokens = [], self._limits.tokens
        for mirror in mirrors[: min(self._limits.sequences, self._limits.rows)]:
            stop = min(len(mirror.ids), mirror.computed + tokens)
            assert mirror.blocks is not None
            if stop == mirror.computed or not self._blocks.grow(mirror.blocks, mirror.computed, stop):
                continue
            tokens -= stop - mirror.computed
            chunks.append(Chunk(mirror, mirror.computed, stop, (stop - 1,)))
        if not chunks:
            return False
        rows = self._runner.run(build_step(chunks)[0], ["logits"])["logits"]
        for chunk, token in zip(chunks, np.argmax(rows, axis=-1).tolist(), strict=True):
            chunk.sequence.computed = chunk.stop
            if chunk.stop == len(chunk.sequence.ids):
                chunk.sequence.ids.append(token)
        return True


class _Mirror(Scoring):
    """One sequence as the draft model knows it."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__(ids, ("logits",), (), lambda found: None)
        self._real = 0  # ids up to here are no guesses

    def follow(self, ids: Sequence[int]) -> None:
        """Take the real tokens; what was computed of others is computed again."""
        most = min(self.computed, len(ids) - 1)
        same = min(self._real, most)
        while same < most and self.ids[same] == ids[same]:
            same += 1
        self.ids[same:] = ids[same:]
        self.computed, self._real = same, len(ids)

    def release(self, blocks: BlockManager) -> None:
        if self.blocks is not None:
            blocks.release(self.blocks)
            self.stop()
