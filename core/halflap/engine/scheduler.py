"""Which tokens the next step computes, and who makes room for whom. Knows queues and counts, never a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from attrs import evolve, frozen

from halflap.engine.blocks import BlockManager
from halflap.engine.pace import Pace
from halflap.engine.policy import Policy
from halflap.engine.work import Work
from halflap.errors import DeviceMemoryError
from halflap.graph.step import Limits


@frozen(eq=False)
class Chunk:
    """Tokens [start, stop) of one sequence, a guess at those that follow, and the places whose rows are wanted."""

    sequence: Work
    start: int
    stop: int
    wanted: tuple[int, ...]
    draft: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.stop + len(self.draft)


class Scheduler:
    """Fills steps up to their bounds: single tokens first, then prompts in chunks, each in the order of a policy.

    A sequence takes blocks as it grows. When there are none, those that rank last make room: what they computed stays
    in the prefix tree while it can, and they begin again behind it.

    Args:
        limits: bounds of a step.
        blocks: the KV pools.
        whole: sequences are never cut: one that does not fit into what is left of a step waits for the next.

    Attributes:
        cached_tokens: tokens that sequences found computed when they were admitted.
        preemptions: how often a sequence had to make room.
        pace: how much of prompts a step reads beside answers.
        missing: group -> tokens computed again because the group had given up its state.
    """

    def __init__(self, limits: Limits, blocks: BlockManager, policy: Policy, whole: bool = False) -> None:
        self._limits, self._blocks, self._policy, self._whole = limits, blocks, policy, whole
        self.pace = Pace(limits.tokens)
        self.waiting: list[Work] = []
        self.running: list[Work] = []
        self.cached_tokens = self.preemptions = 0
        self.missing: dict[str, int] = {}
        self._arrivals = 0

    def add(self, work: Work) -> None:
        self._arrivals += 1
        work.arrival = self._arrivals
        self.waiting.append(work)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks, with blocks for all their tokens; empty when there is nothing to do."""
        self._admit()
        return self._place(self._cut())

    def stepped(self, chunks: Iterable[Chunk]) -> None:
        """A step has run: its chunks' state can be found by others."""
        for chunk in chunks:
            work = chunk.sequence
            self._policy.served(work, chunk.stop - chunk.start)
            work.served += chunk.stop - chunk.start
            if work.moved:
                work.moved = False
                self.preempt(work)
            elif work.blocks is not None:
                self._blocks.stepped(work.blocks, work.computed, chunk.end)
                self._publish(work)

    def retire(self) -> None:
        """Give back what finished sequences held."""
        for work in [w for w in self.running if w.finished]:
            self.running.remove(work)
            self._release(work)

    def preempt(self, work: Work) -> None:
        """Take its blocks; it waits until it may begin again."""
        self.preemptions += 1
        work.preempted += 1
        self.running.remove(work)
        self._release(work)
        self.waiting.append(work)

    def everyone(self) -> list[Work]:
        return [*self.running, *self.waiting]

    def _cut(self) -> list[Chunk]:
        """Shares of the step's tokens and rows."""
        chunks: list[Chunk] = []
        tokens, rows = self._limits.tokens, self._limits.rows
        answering = sum(1 for work in self.running if _turn(work) == ANSWER)
        for work in sorted(self.running, key=lambda w: (_turn(w), self._policy.rank(w))):
            if chunks and _turn(work) == PROMPT and _turn(chunks[-1].sequence) == ANSWER:
                paced = self.pace.tokens(len(self.running) - answering, answering)
                tokens = min(tokens, paced)  # the first prompt behind answers
            if tokens == 0 or rows == 0:
                break
            stop = work.images.cut(work.computed, min(len(work.ids), work.computed + tokens))
            if stop == work.computed:  # its next image does not fit beside the others
                continue
            wanted = list(work.wanted(work.computed, stop))
            if len(wanted) > rows:
                stop = wanted[rows]
                wanted = wanted[:rows]
            if self._whole and stop < len(work.ids):
                continue
            tokens -= stop - work.computed
            rows -= len(wanted)
            draft = tuple(work.draft[: min(tokens, rows)]) if stop == len(work.ids) else ()
            tokens -= len(draft)
            rows -= len(draft)
            chunks.append(Chunk(work, work.computed, stop, (*wanted, *range(stop, stop + len(draft))), draft))
        return chunks

    def _place(self, chunks: list[Chunk]) -> list[Chunk]:
        """Those of the chunks that get their blocks; whoever ranks last makes room."""
        placed: list[Chunk] = []
        for chunk in sorted(chunks, key=lambda c: self._policy.rank(c.sequence)):
            work = chunk.sequence
            while work.blocks is not None and not self._blocks.grow(work.blocks, chunk.start, chunk.end):
                last = max(self.running, key=self._policy.rank)
                if last is work:
                    break
                self.preempt(last)
            else:
                if work.blocks is not None:
                    placed.append(self._snapshot(work, chunk))
        if chunks and not placed:
            work = min((c.sequence for c in chunks), key=self._policy.rank)
            if len(self.running) > 1:  # one that ranks higher has the blocks, and no share of this step
                self.preempt(work)
                return placed
            work.fail(DeviceMemoryError("KV blocks", got="a pool too small for one sequence", want="a larger kv_bytes"))
        return placed

    def _snapshot(self, work: Work, chunk: Chunk) -> Chunk:
        """Where the recurrent state is stored on the way: behind each guess, at marks, where words are generated, and
        at the end of a chunk; a draft is cut to the guesses that find a slot."""
        if self._blocks.slot_groups:
            assert work.blocks is not None
            size = self._blocks.node_tokens
            if chunk.draft:
                found = self._blocks.prepare(work.blocks, range(chunk.stop, chunk.end))
                if found < len(chunk.draft):
                    wanted = chunk.wanted[: len(chunk.wanted) - len(chunk.draft) + found]
                    chunk = evolve(chunk, draft=chunk.draft[:found], wanted=wanted)
            if work.reuse:
                ends = range(-(-(chunk.start + 1) // size) * size, chunk.end + 1, size)
                chosen = [e for e in ends if e == ends[-1] or e > work.n_prompt or work.marked(e, size)]
                self._blocks.prepare(work.blocks, chosen)
        return chunk

    def _publish(self, work: Work) -> None:
        assert work.blocks is not None
        size = self._blocks.node_tokens
        if work.reuse and not self._whole:
            keys = work.keys(work.computed // size, size)
            self._blocks.publish(work.blocks, keys, lambda depth: work.marked(depth * size, size))
        else:
            self._blocks.abandon(work.blocks)

    def _release(self, work: Work) -> None:
        if work.blocks is not None:
            self._blocks.release(work.blocks)
            work.stop()

    def _admit(self) -> None:
        size = self._blocks.node_tokens
        for work in sorted(self.waiting, key=self._policy.rank):
            if len(self.running) >= self._limits.sequences:
                return
            keys = work.keys(len(work.ids) // size, size) if work.reuse and not self._whole else []
            path = self._blocks.tree.walk(work.salt, keys)
            if self._soon(work, keys, len(path)):
                continue
            found, missing = self._blocks.tree.resume(path, work.may_start)
            if self.running and not self._blocks.room(len(work.ids), found, len(self.running), len(work.source)):
                return
            blocks = self._blocks.admit(work.salt, found, len(work.source))
            if blocks is None and not self.running:  # the one slot there is held what it would have begun with
                found, blocks = [], self._blocks.admit(work.salt, (), len(work.source))
            if blocks is None:
                return
            if missing is not None:
                self.missing[missing] = self.missing.get(missing, 0) + (len(path) - len(found)) * size
            self.waiting.remove(work)
            work.start(blocks, len(found) * size)
            self.cached_tokens += len(found) * size
            self.running.append(work)

    def _soon(self, work: Work, keys: list[bytes], known: int) -> bool:
        """Whether another sequence is about to compute more of the same tokens than the tree knows."""
        size = self._blocks.node_tokens
        for other in self.running:
            if other.computed >= other.n_prompt or other.salt != work.salt or not other.reuse:
                continue
            theirs = other.keys(other.n_prompt // size, size)
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(keys, theirs, strict=False)))
            if common > known and common > other.computed // size:
                return True
        return False


WHOLE_IMAGE, ANSWER, PROMPT = range(3)


def _turn(work: Work) -> int:
    """Whole images first, for they need room; then single tokens, so that a long prompt does not hold up answers."""
    if work.images.cut(work.computed, work.computed + 1) == work.computed:
        return WHOLE_IMAGE
    return ANSWER if len(work.ids) - work.computed == 1 else PROMPT
