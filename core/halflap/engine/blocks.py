"""Who owns which KV block. Bookkeeping only: no tensor is touched here."""

from __future__ import annotations

from collections.abc import Mapping

from halflap.graph.ir import BLOCK_TOKENS, StateGroup
from halflap.placement import window_blocks


class BlockPool:
    """The blocks of one state group: ids 0 to count-1."""

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
        first_token: a multiple of 32; tokens before it are gone.
    """

    def __init__(self, pool: BlockPool, window: int) -> None:
        self._pool, self._window = pool, window
        self.blocks: list[int] = []
        self.first_token = 0

    def cover(self, length: int) -> None:
        """Take blocks until `length` tokens have a place."""
        while self.first_token + len(self.blocks) * BLOCK_TOKENS < length:
            self.blocks.append(self._pool.take())

    def forget(self, computed: int) -> None:
        """Free blocks that no token from `computed` on can see."""
        if not self._window:
            return
        while self.blocks and self.first_token + BLOCK_TOKENS <= computed - self._window + 1:
            self._pool.give_back(self.blocks.pop(0))
            self.first_token += BLOCK_TOKENS

    def release(self) -> None:
        for block in self.blocks:
            self._pool.give_back(block)
        self.blocks = []


class SequenceBlocks:
    """A sequence's tables in all groups, admitted as one."""

    def __init__(
        self, tables: Mapping[str, BlockTable], pools: Mapping[str, BlockPool], needs: Mapping[str, int]
    ) -> None:
        self.tables, self._pools, self._needs = tables, pools, needs

    def release(self) -> None:
        for name, table in self.tables.items():
            table.release()
            self._pools[name].withdraw(self._needs[name])
        self.tables = {}


class BlockManager:
    """Pools of every group, and admission to them.

    Args:
        step_tokens: most tokens one sequence adds in a step; windowed groups keep that many more.
    """

    def __init__(self, groups: tuple[StateGroup, ...], counts: Mapping[str, int], step_tokens: int) -> None:
        self.groups, self._step_tokens = groups, step_tokens
        self.pools = {group.name: BlockPool(counts[group.name]) for group in groups}

    def needs(self, length: int) -> dict[str, int]:
        """Blocks that a sequence growing to `length` tokens holds at most."""
        full = -(-length // BLOCK_TOKENS)
        windowed = {g.name: window_blocks(g.window, self._step_tokens) for g in self.groups if g.window}
        return {g.name: min(full, windowed.get(g.name, full)) for g in self.groups}

    def admit(self, length: int) -> SequenceBlocks | None:
        """Tables for a sequence that may grow to `length` tokens, or None while the pools are too full."""
        needs = self.needs(length)
        promised: list[str] = []
        for name, blocks in needs.items():
            if not self.pools[name].promise(blocks):
                for earlier in promised:
                    self.pools[earlier].withdraw(needs[earlier])
                return None
            promised.append(name)
        tables = {g.name: BlockTable(self.pools[g.name], g.window) for g in self.groups}
        return SequenceBlocks(tables, self.pools, needs)
