"""Which tokens the next step computes. Knows queues and counts, never a tensor."""

from __future__ import annotations

from collections import deque

from attrs import frozen

from halflap.engine.blocks import BlockManager
from halflap.engine.sequence import Work
from halflap.graph.step import Limits


@frozen(eq=False)
class Chunk:
    """Tokens [start, stop) of one sequence, and the places among them whose rows are wanted."""

    sequence: Work
    start: int
    stop: int
    wanted: tuple[int, ...]


class Scheduler:
    """First come, first served; running sequences go before new ones, and prompts are read in chunks.

    Args:
        limits: bounds of a step.
        blocks: the KV pools.
        whole: sequences are never cut: one that does not fit into what is left of a step waits for the next.
    """

    def __init__(self, limits: Limits, blocks: BlockManager, whole: bool = False) -> None:
        self._limits, self._blocks, self._whole = limits, blocks, whole
        self.waiting: deque[Work] = deque()
        self.running: list[Work] = []

    def add(self, sequence: Work) -> None:
        self.waiting.append(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks; empty when there is nothing to do."""
        self._admit()
        chunks: list[Chunk] = []
        tokens, rows = self._limits.tokens, self._limits.rows
        for sequence in sorted(self.running, key=_turn):
            if tokens == 0 or rows == 0:
                break
            stop = sequence.images.cut(sequence.computed, min(len(sequence.ids), sequence.computed + tokens))
            if stop == sequence.computed:  # its next image does not fit beside the others
                continue
            wanted = list(sequence.wanted(sequence.computed, stop))
            if len(wanted) > rows:
                stop = wanted[rows]
                wanted = wanted[:rows]
            if self._whole and stop < len(sequence.ids):
                continue
            chunks.append(Chunk(sequence, sequence.computed, stop, tuple(wanted)))
            tokens -= stop - sequence.computed
            rows -= len(wanted)
        return chunks

    def retire(self) -> None:
        """Give back what finished sequences held."""
        for sequence in [s for s in self.running if s.finished]:
            self.running.remove(sequence)
            if sequence.blocks is not None:
                sequence.blocks.release()
                sequence.blocks = None

    def everyone(self) -> list[Work]:
        return [*self.running, *self.waiting]

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self._limits.sequences:
            blocks = self._blocks.admit(self.waiting[0].limit)
            if blocks is None:
                return
            sequence = self.waiting.popleft()
            sequence.start(blocks)
            self.running.append(sequence)


def _turn(sequence: Work) -> int:
    """Whole images first, for they need room; then single tokens, so that a long prompt does not hold up answers."""
    if sequence.images.cut(sequence.computed, sequence.computed + 1) == sequence.computed:
        return 0
    return 1 if len(sequence.ids) - sequence.computed == 1 else 2
