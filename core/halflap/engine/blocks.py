"""Who owns which KV block and which slot. Bookkeeping only: no tensor is touched here."""

from __future__ import annotations

from collections.abc import Mapping

from halflap.graph.ir import StateGroup
from halflap.graph.step import Limits
from halflap.placement import most_blocks


class BlockPool:
    """The blocks, or the slots, of one state group: ids 0 to count-1."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._promised = 0

    @property
    def used(self) -> int:
        return self.count - len(self._free)

    def promise(self, blocks: int) -> bool:
        """Set blocks aside, so that a sequence once admitted never runs out; False if there are too few."""
        if self._promised + blocks > self.count:
            return False
        self._promised += blocks
        return True

    def withdraw(self, blocks: int) -> None:
        self._promised -= blocks

    def take(self) -> int:
        return self._free.pop()

    def give_back(self, block: int) -> None:
        self._free.append(block)


class BlockTable:
    """The blocks of one sequence in one group, in token order.

    Attributes:
        blocks: block ids; the first holds the tokens from `first_token` on.
        first_token: a multiple of the tokens that a block covers; tokens before it are gone.
    """

    def __init__(self, pool: BlockPool, group: StateGroup) -> None:
        self._pool, self._window, self._covered = pool, group.window, group.block_tokens
        self.blocks: list[int] = []
        self.first_token = 0

    def cover(self, length: int) -> None:
        """Take blocks until `length` tokens have a place."""
        while self.first_token + len(self.blocks) * self._covered < length:
            self.blocks.append(self._pool.take())

    def forget(self, computed: int) -> None:
        """Free blocks that no token from `computed` on can see."""
        if not self._window:
            return
        while self.blocks and self.first_token + self._covered <= computed - self._window + 1:
            self._pool.give_back(self.blocks.pop(0))
            self.first_token += self._covered

    def release(self) -> None:
        for block in self.blocks:
            self._pool.give_back(block)
        self.blocks = []


class SequenceBlocks:
    """A sequence's tables and slots in all groups, admitted as one.

    Attributes:
        slots: slots group -> the one slot that holds the sequence's state between steps.
    """

    def __init__(
        self,
        tables: Mapping[str, BlockTable],
        slots: Mapping[str, int],
        pools: Mapping[str, BlockPool],
        needs: Mapping[str, int],
    ) -> None:
        self.tables, self.slots, self._pools, self._needs = tables, slots, pools, needs

    def release(self) -> None:
        for table in self.tables.values():
            table.release()
        for name, slot in self.slots.items():
            self._pools[name].give_back(slot)
        for name, blocks in self._needs.items():
            self._pools[name].withdraw(blocks)
        self.tables, self.slots, self._needs = {}, {}, {}


class BlockManager:
    """Pools of every group, and admission to them.

    Args:
        limits: sizes of the pools, and the most tokens that one sequence adds in a step: windowed groups keep that
            many more.
    """

    def __init__(self, groups: tuple[StateGroup, ...], limits: Limits) -> None:
        self._step_tokens = limits.tokens
        self.groups = tuple(group for group in groups if group.kind == "blocks")
        self.slot_groups = tuple(group.name for group in groups if group.kind == "slots")
        counts = {**limits.blocks, **limits.slots}
        self.pools = {group.name: BlockPool(counts[group.name]) for group in groups}

    def needs(self, length: int) -> dict[str, int]:
        """Blocks and slots that a sequence growing to `length` tokens holds at most."""
        blocks = {g.name: most_blocks(g, length, self._step_tokens) for g in self.groups}
        return blocks | dict.fromkeys(self.slot_groups, 1)

    def admit(self, length: int) -> SequenceBlocks | None:
        """Tables and slots for a sequence that may grow to `length` tokens, or None while the pools are too full."""
        needs = self.needs(length)
        promised: list[str] = []
        for name, blocks in needs.items():
            if not self.pools[name].promise(blocks):
                for earlier in promised:
                    self.pools[earlier].withdraw(needs[earlier])
                return None
            promised.append(name)
        tables = {g.name: BlockTable(self.pools[g.name], g) for g in self.groups}
        slots = {name: self.pools[name].take() for name in self.slot_groups}
        return SequenceBlocks(tables, slots, self.pools, needs)
