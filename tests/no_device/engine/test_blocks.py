"""Block bookkeeping as a state machine: no block has two owners, none is lost, and what a window sees stays."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from halflap.engine.blocks import BlockManager, SequenceBlocks
from halflap.graph.ir import BLOCK_TOKENS, LayerWidth, StateGroup
from halflap.graph.step import Limits

WINDOW, STEP = 40, 64
GROUPS = (
    StateGroup("kv", (LayerWidth(8, 8),)),
    StateGroup("window", (LayerWidth(8, 8),), WINDOW),
    StateGroup("recurrent", (LayerWidth(8, 0),), kind="slots"),
)
LIMITS = Limits(STEP, 4, 4, 700, {"kv": 20, "window": 14}, slots={"recurrent": 3})


def owned(blocks: SequenceBlocks, name: str) -> list[int]:
    return [blocks.slots[name]] if name in blocks.slots else blocks.tables[name].blocks


class Blocks(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.manager = BlockManager(GROUPS, LIMITS)
        self.sequences: list[tuple[SequenceBlocks, int, int]] = []  # blocks, limit, computed

    @rule(limit=st.integers(1, 700))
    def admit(self, limit: int) -> None:
        blocks = self.manager.admit(limit)
        if blocks is not None:
            self.sequences.append((blocks, limit, 0))

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.sequences) - 1))
        blocks, limit, computed = self.sequences[place]
        stop = min(limit, computed + data.draw(st.integers(1, STEP)))
        for table in blocks.tables.values():
            table.forget(computed)
            table.cover(stop)  # never runs out: admission promised the blocks
        window = blocks.tables["window"]
        assert window.first_token <= max(0, computed - WINDOW + 1)
        assert window.first_token + len(window.blocks) * BLOCK_TOKENS >= stop
        self.sequences[place] = (blocks, limit, stop)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.sequences.pop(data.draw(st.integers(0, len(self.sequences) - 1)))[0].release()

    @invariant()
    def every_block_has_one_owner(self) -> None:
        for name, pool in self.manager.pools.items():
            held = [block for blocks, _, _ in self.sequences for block in owned(blocks, name)]
            assert len(held) == len(set(held)) == pool.used
            assert set(held) <= set(range(pool.count))


TestBlocks = Blocks.TestCase
TestBlocks.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
