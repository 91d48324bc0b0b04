"""Blocks, slots and the prefix tree as a state machine, against a device that remembers what was written where.

Every token's row is the hash of all ids up to it, and so is every state. A step is right if each sequence finds its own
history in every place that its tokens can see; the pools are right if each block is free, held or kept, and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from halflap.engine.blocks import BlockManager
from halflap.engine.policy import FirstCome
from halflap.engine.prefix import Node
from halflap.engine.scheduler import Scheduler
from halflap.engine.steps import build_step
from halflap.engine.work import Work
from halflap.graph.ir import BLOCK_TOKENS, LayerWidth, StateGroup
from halflap.graph.step import Limits, Step

WINDOW = 40
GROUPS = (
    StateGroup("kv", (LayerWidth(8, 8),)),
    StateGroup("window", (LayerWidth(8, 8),), WINDOW),
    StateGroup("recurrent", (LayerWidth(8, 0),), kind="slots"),
)
FAR = (  # rows that stand for several tokens: some in a block, one in a block, one in a block of more than a node
    StateGroup("far.4", (LayerWidth(8, 0),), rate=4),
    StateGroup("far.64", (LayerWidth(8, 0),), rate=64),
    StateGroup("far.128", (LayerWidth(8, 0),), rate=128),
)
UNEVEN = (StateGroup("far.48", (LayerWidth(8, 0),), rate=48), StateGroup("far.160", (LayerWidth(8, 0),), rate=160))
"""Of which one makes nodes of 96 tokens, at whose ends no block of the other ends."""
BLOCKS = {"kv": 16, "window": 12, "far.4": 16, "far.64": 9, "far.128": 6, "far.48": 7, "far.160": 5}
LIMITS = Limits(64, 4, 8, 400, BLOCKS, slots={"recurrent": 5})
LONGEST = 400


def histories(work: Work, draft: Sequence[int]) -> list[int]:
    """For each n the hash of the first n ids, and of what else they stand for."""
    found = [hash(work.salt)]
    for token in (*work.ids, *draft):
        found.append(hash((found[-1], token)))
    return found


class Device:
    """What a step's arrays say is written and read, and nothing else."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, int], int] = {}
        self.slots: dict[int, int] = {}

    def run(
        self, step: Step, works: Sequence[Work], drafts: Sequence[Sequence[int]], groups: Sequence[StateGroup]
    ) -> None:
        emitted = dict(step.slots["recurrent"].emit.tolist()) if "recurrent" in step.slots else {}
        for s, (work, draft) in enumerate(zip(works, drafts, strict=True)):
            begin, end = int(step.seq_start[s]), int(step.seq_start[s + 1])
            start, stop = int(step.index[begin]), int(step.index[end - 1]) + 1
            truth = histories(work, draft)
            if "recurrent" in step.slots:
                slots = step.slots["recurrent"]
                source = int(slots.source[s])
                assert start == 0 if source < 0 else self.slots[source] == truth[start]
                for token, slot in emitted.items():
                    if begin <= token < end:
                        self.slots[slot] = truth[start + token - begin + 1]
                self.slots[int(slots.target[s])] = truth[stop]
            for group in groups:
                if group.kind == "blocks":
                    table = step.groups[group.name]
                    blocks = table.blocks[table.table_start[s] : table.table_start[s + 1]].tolist()
                    first = int(table.first_token[s])
                    size, rate = group.block_tokens, group.rate

                    def row(place: int) -> tuple[str, int, int]:
                        return group.name, blocks[(place - first) // size], (place - first) % size // rate  # noqa: B023

                    last = [place for place in range(stop) if (place + 1) % rate == 0]  # a row is written with these
                    for place in last:
                        if place >= start:
                            self.rows[row(place)] = truth[place + 1]
                    seen = max(0, start - group.window + 1) if group.window else 0
                    for place in last:
                        if place >= seen:
                            assert self.rows[row(place)] == truth[place + 1]


class Guessed(Work):
    """Goes on to its limit with tokens that only its ids decide; part of what was guessed proves right."""

    def __init__(self, ids: Sequence[int], limit: int, **sharing: Any) -> None:
        super().__init__(ids, limit, ("logits",), **sharing)

    @property
    def latest_start(self) -> int:
        return len(self.ids) - 1

    def next(self, ids: Sequence[int]) -> int:
        return (sum(ids[-3:]) + len(ids)) % 2

    def guess(self, length: int, right: int) -> None:
        ids = list(self.ids)
        for place in range(min(length, self.limit - len(ids) - 1)):
            ids.append(self.next(ids) if place < right else 2)
        self.draft = ids[len(self.ids) :]

    def wanted(self, start: int, stop: int) -> Sequence[int]:
        return range(stop - 1, stop) if stop == len(self.ids) else ()

    def advance(self, stop: int, rows: Mapping[str, Any], found: Any = ()) -> None:
        self.computed = stop
        if stop < len(self.ids):
            return
        draft, self.draft = self.draft[: len(rows["logits"]) - 1], []
        for place in range(len(draft) + 1):
            token = self.next(self.ids)
            self.ids.append(token)
            if len(self.ids) >= self.limit:
                self.finished = True
                return
            if place == len(draft) or token != draft[place]:
                return
            self.computed += 1

    def fail(self, error: BaseException) -> None:
        raise error


class Machine(RuleBasedStateMachine):
    groups: tuple[StateGroup, ...] = GROUPS

    def __init__(self) -> None:
        super().__init__()
        self.manager = BlockManager(self.groups, LIMITS)
        self.scheduler = Scheduler(LIMITS, self.manager, FirstCome())
        self.device = Device()
        self.done: list[list[int]] = []

    @rule(blocks=st.lists(st.integers(0, 1), max_size=6), tail=st.integers(1, 31), more=st.integers(1, 90),
          priority=st.integers(0, 1), reuse=st.booleans(), mark=st.integers(0, 200))  # fmt: skip
    def ask(self, blocks: list[int], tail: int, more: int, priority: int, reuse: bool, mark: int) -> None:
        ids = [kind for kind in blocks for _ in range(BLOCK_TOKENS)] + [1] * tail
        sharing = {"priority": priority, "reuse": reuse, "marks": [mark], "salt": b"x" if tail == 31 else b""}
        self.scheduler.add(Guessed(ids, min(len(ids) + more, LONGEST), **sharing))

    @precondition(lambda self: self.done)
    @rule(data=st.data(), keep=st.integers(1, 300), tail=st.integers(1, 40))
    def ask_again(self, data: st.DataObject, keep: int, tail: int) -> None:
        ids = data.draw(st.sampled_from(self.done))[:keep] + [0] * tail
        self.scheduler.add(Guessed(ids[: LONGEST - 1], min(len(ids) + 40, LONGEST)))

    @rule(
        steps=st.integers(1, 12), guess=st.integers(0, 4), right=st.integers(0, 4), lost=st.sampled_from([0] * 9 + [1])
    )
    def step(self, steps: int, guess: int, right: int, lost: int) -> None:
        for _ in range(steps):
            for work in self.scheduler.running:
                if len(work.ids) - work.computed == 1:
                    work.guess(guess, right)  # type: ignore[attr-defined]
            chunks = self.scheduler.schedule()
            assert bool(chunks) == bool(self.scheduler.running)
            if not chunks:
                return
            step, _ = build_step(chunks)
            assert step.n_tokens <= LIMITS.tokens
            assert step.n_rows <= LIMITS.rows
            works = [chunk.sequence for chunk in chunks]
            if lost:  # the device failed: whatever the step would have written is undefined
                for work in works:
                    work.finished = True
            else:
                self.device.run(step, works, [chunk.draft for chunk in chunks], self.groups)
                for chunk in chunks:
                    chunk.sequence.advance(chunk.stop, {"logits": np.zeros(len(chunk.wanted))})
                self.scheduler.stepped(chunks)
                self.done += [work.ids for work in works if work.finished]
            self.scheduler.retire()

    @precondition(lambda self: self.scheduler.running)
    @rule(data=st.data(), move=st.booleans())
    def leave(self, data: st.DataObject, move: bool) -> None:
        work = data.draw(st.sampled_from(self.scheduler.running))
        if move:
            self.scheduler.preempt(work)
        else:
            work.finished = True
            self.scheduler.retire()

    @invariant()
    def every_block_is_counted_once(self) -> None:
        held: Counter[tuple[str, int]] = Counter()
        for work in self.scheduler.running:
            assert work.blocks is not None
            held.update((name, b) for name, table in work.blocks.tables.items() for b in table.blocks)
            for name, slot in work.blocks.slots.items():
                held.update({(name, each) for each in (slot, work.blocks.sources[name]) if each >= 0})
            assert not work.blocks.snapshots
        kept: Counter[tuple[str, int]] = Counter()
        nodes = list(self.manager.tree._roots.values())
        size = 0
        while nodes:
            node: Node = nodes.pop()
            nodes += node.children.values()
            size += node.depth > 0
            assert node.users or node.children or node.places
            kept.update((name, b) for name, places in node.places.items() for b in places)
        assert size == self.manager.tree.size
        assert all(count == 1 for count in kept.values())
        for name, pool in self.manager.pools.items():
            mine = [each for each in held if each[0] == name]
            assert pool.used == len(mine)
            assert pool.cached == sum(1 for each in kept if each[0] == name and each not in held)
            assert pool.available == pool.count - pool.used
            for block in range(pool.count):
                assert pool._holders[block] == held[name, block]
                assert bool(pool._kept[block]) == ((name, block) in kept)

    def teardown(self) -> None:
        while self.scheduler.everyone():
            self.step(1, 0, 0, 0)
        self.manager.tree.clear()
        assert not self.manager.tree.size
        assert all(pool.available == pool.count and not pool.cached for pool in self.manager.pools.values())


class AttentionOnly(Machine):
    groups = GROUPS[:1]


class WindowsOnly(Machine):
    groups = GROUPS[1:2]


class StateOnly(Machine):
    groups = GROUPS[2:]


class FarRows(Machine):
    groups = (*GROUPS, *FAR)


class UnevenRows(Machine):
    groups = (*GROUPS, *UNEVEN)


class FarRowsAlone(Machine):
    groups = FAR[2:]


TestAll = Machine.TestCase
TestFarRows = FarRows.TestCase
TestUnevenRows = UnevenRows.TestCase
TestFarRowsAlone = FarRowsAlone.TestCase
TestAttentionOnly = AttentionOnly.TestCase
TestWindowsOnly = WindowsOnly.TestCase
TestStateOnly = StateOnly.TestCase
for case in (
    *(TestAll, TestFarRows, TestUnevenRows, TestFarRowsAlone),
    *(TestAttentionOnly, TestWindowsOnly, TestStateOnly),
):
    case.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
