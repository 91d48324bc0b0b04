"""Which sequence holds which KV block and which slot. Bookkeeping only: no tensor is touched here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import lcm

from attrs import frozen

from halflap.engine.prefix import Node, PrefixTree
from halflap.graph.ir import BLOCK_TOKENS, StateGroup
from halflap.graph.step import Limits

SNAPSHOTS = 2
"""States of the last node ends that a sequence leaves for later requests, beside those at marks."""


class BlockPool:
    """The blocks, or the slots, of one state group: ids 0 to count-1.

    Each is free, held by some sequences, kept by the prefix tree, or both of these.

    Attributes:
        used: how many some sequence holds.
        cached: how many the prefix tree keeps for later, held by no sequence.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.used = self.cached = 0
        self._free = list(range(count - 1, -1, -1))
        self._holders = [0] * count
        self._kept = bytearray(count)

    @property
    def available(self) -> int:
        """What sequences could take: the free ones, and those that the tree would give up."""
        return len(self._free) + self.cached

    @property
    def empty(self) -> bool:
        return not self._free

    def take(self) -> int:
        """A free block, now held once."""
        block = self._free.pop()
        self._holders[block] = 1
        self.used += 1
        return block

    def hold(self, block: int) -> None:
        if not self._holders[block]:
            self.used += 1
            self.cached -= self._kept[block]
        self._holders[block] += 1

    def drop(self, block: int) -> None:
        """Hold once less."""
        self._holders[block] -= 1
        if not self._holders[block]:
            self.used -= 1
            if self._kept[block]:
                self.cached += 1
            else:
                self._free.append(block)

    def held(self, block: int) -> bool:
        return bool(self._holders[block])

    def keep(self, block: int) -> None:
        """The prefix tree keeps a block that a sequence holds."""
        self._kept[block] = 1

    def forget(self, block: int) -> None:
        """The prefix tree keeps it no more."""
        self._kept[block] = 0
        if not self._holders[block]:
            self.cached -= 1
            self._free.append(block)


class BlockTable:
    """The blocks of one sequence in one group, in token order.

    Attributes:
        blocks: block ids; the first holds the tokens from `first_token` on.
        first_token: a multiple of `block_tokens`; tokens before it are gone.
    """

    def __init__(self, pool: BlockPool, window: int, block_tokens: int) -> None:
        self._pool, self._window, self._block_tokens = pool, window, block_tokens
        self.blocks: list[int] = []
        self.first_token = 0

    def lacks(self, length: int) -> int:
        """Blocks to take until `length` tokens have a place."""
        return max(0, -(-(length - self.first_token) // self._block_tokens) - len(self.blocks))

    def forget(self, computed: int) -> None:
        """Drop blocks that no token from `computed` on can see."""
        if self._window:
            while self.blocks and self.first_token + self._block_tokens <= computed - self._window + 1:
                self._pool.drop(self.blocks.pop(0))
                self.first_token += self._block_tokens

    def release(self) -> None:
        for block in self.blocks:
            self._pool.drop(block)
        self.blocks = []


class SequenceBlocks:
    """A sequence's tables and slots in all groups.

    Attributes:
        slots: slots group -> the slot that the next step writes the sequence's state to.
        sources: slots group -> the slot that holds it now; -1: it has none yet.
        path: its nodes in the prefix tree, as far as it was published.
        snapshots: (tokens, group) -> slot in which the step under way stores the state behind so many tokens.
        source: group of rows of source texts -> the blocks that hold this one's.
    """

    def __init__(self, tables: Mapping[str, BlockTable], root: Node) -> None:
        self.tables, self.root = tables, root
        self.slots: dict[str, int] = {}
        self.sources: dict[str, int] = {}
        self.path: list[Node] = []
        self.snapshots: dict[tuple[int, str], int] = {}
        self.source: dict[str, list[int]] = {}


@frozen
class GroupShape:
    """What bookkeeping needs to know of a blocks group."""

    name: str
    window: int
    block_tokens: int
    node_tokens: int

    def whole(self, depth: int) -> int:
        """How many blocks the first `depth` nodes fill: where one ends within a block of a single row, that is not yet
        written, so the node after which it is owns it, and a sequence that resumes before takes one of its own."""
        return depth * self.node_tokens // self.block_tokens

    def first_block(self, place: int) -> int:
        """The block with the oldest token that the one at `place` can see."""
        return max(0, place - self.window + 1) // self.block_tokens if self.window else 0

    def first_node(self, place: int) -> int:
        """The node, counted from 0, with that token."""
        return self.first_block(place) * self.block_tokens // self.node_tokens


class BlockManager:
    """Pools of every group, and the prefix tree over them.

    Args:
        limits: sizes of the pools.
        source_groups: names of those that hold rows of source texts: a sequence keeps all of its blocks there, alone.

    Attributes:
        node_tokens: tokens of a node of the tree: whole blocks of every group, but for those of a single row.
    """

    def __init__(
        self, groups: tuple[StateGroup, ...], limits: Limits, source_groups: frozenset[str] = frozenset()
    ) -> None:
        own = [group for group in groups if group.kind == "blocks" and group.name not in source_groups]
        whole = (group.block_tokens for group in own if group.block_rows > 1 or group.window)
        self.node_tokens = lcm(BLOCK_TOKENS, *whole)
        self.groups = tuple(GroupShape(g.name, g.window, g.block_tokens, self.node_tokens) for g in own)
        self._sources = tuple(group for group in groups if group.name in source_groups)
        self.slot_groups = tuple(group.name for group in groups if group.kind == "slots")
        counts = {**limits.blocks, **limits.slots}
        self.pools = {group.name: BlockPool(counts[group.name]) for group in groups}
        windows = {group.name: group.window for group in self.groups}
        self.tree = PrefixTree(self.node_tokens, windows, self.slot_groups, self.pools)

    def room(self, length: int, path: Sequence[Node] = (), spare: int = 0, source: int = 0) -> bool:
        """Whether a sequence could grow to `length` tokens beside what is held, were it to resume behind `path`.

        Args:
            spare: blocks that must be left in each group.
            source: tokens of its source text.
        """
        if any(-(-source // group.block_tokens) > self.pools[group.name].available for group in self._sources):
            return False
        for group in self.groups:
            pool = self.pools[group.name]
            if group.window:
                wanted = min(-(-length // group.block_tokens), -(-group.window // group.block_tokens) + 2)
            else:  # what the path names is there, but no longer to be had where no other sequence holds it
                wanted = -(-length // group.block_tokens) - group.whole(len(path))
                wanted += sum(not pool.held(block) for node in path for block in node.places[group.name])
            if wanted + spare > pool.available:
                return False
        return all(self.pools[name].available > 0 for name in self.slot_groups)

    def admit(self, salt: bytes, path: Sequence[Node] = (), source: int = 0) -> SequenceBlocks | None:
        """Tables and slots for a sequence that resumes behind `path`; None if there is no room for it.

        Args:
            salt: what else its state depends on: its adapters, its source text.
            source: tokens of its source text.
        """
        computed = len(path) * self.node_tokens
        tables = {g.name: BlockTable(self.pools[g.name], g.window, g.block_tokens) for g in self.groups}
        blocks = SequenceBlocks(tables, self.tree.root(salt))
        self.tree.use(blocks.root, path)
        blocks.path = list(path)
        for group in self.groups:
            table, pool = tables[group.name], self.pools[group.name]
            first = group.first_block(computed)
            table.first_token = first * group.block_tokens
            for node in path[group.first_node(computed) :]:
                for place, block in enumerate(node.places[group.name], group.whole(node.depth - 1)):
                    if place >= first:
                        pool.hold(block)
                        table.blocks.append(block)
        for name in self.slot_groups:
            state = path[-1].places[name][0] if path else -1
            if state >= 0:
                self.pools[name].hold(state)
            blocks.sources[name] = state
            slot = self.take(name)
            if slot is None:
                self.release(blocks)
                return None
            blocks.slots[name] = slot
        for shape in self._sources:
            held = blocks.source[shape.name] = []
            for _ in range(-(-source // shape.block_tokens)):
                found = self.take(shape.name)
                if found is None:
                    self.release(blocks)
                    return None
                held.append(found)
        return blocks

    def take(self, name: str) -> int | None:
        """A block or slot of a group, at the cost of what the tree keeps; None: all are held."""
        pool = self.pools[name]
        if pool.empty and not self.tree.reclaim(name):
            return None
        return pool.take()

    def grow(self, blocks: SequenceBlocks, start: int, stop: int) -> bool:
        """Give tokens [start, stop) a place, and drop what they cannot see; False, changing nothing, without room."""
        for name, table in blocks.tables.items():
            table.forget(start)
            if (lacking := table.lacks(stop)) and lacking > self.pools[name].available:
                return False
        for name, table in blocks.tables.items():
            for _ in range(table.lacks(stop)):
                block = self.take(name)
                assert block is not None
                table.blocks.append(block)
        return True

    def prepare(self, blocks: SequenceBlocks, places: Iterable[int]) -> int:
        """Find slots for the state behind each of these tokens; returns for how many there are some in every group."""
        for count, place in enumerate(places):
            for name in self.slot_groups:
                if (place, name) not in blocks.snapshots:
                    slot = self.take(name)
                    if slot is None:
                        return count
                    blocks.snapshots[place, name] = slot
        return len(blocks.snapshots) // max(len(self.slot_groups), 1)

    def stepped(self, blocks: SequenceBlocks, computed: int, stop: int) -> None:
        """A step up to `stop` has run, and its tokens up to `computed` were right: the state is now behind these."""
        for name, target in blocks.slots.items():
            before, now = blocks.sources[name], target
            if computed < stop:
                now = blocks.snapshots[computed, name]
                self.pools[name].hold(now)
            if before >= 0 and before != target:
                self.pools[name].drop(before)
            blocks.sources[name] = now

    def publish(self, blocks: SequenceBlocks, keys: Sequence[bytes], marked: Callable[[int], bool]) -> None:
        """Enter whole nodes into the tree, `keys` naming all that are computed; what was there already is shared.

        Args:
            marked: whether a later request will likely resume behind a node (counted from 1).
        """
        for depth in range(len(blocks.path), len(keys)):
            parent = blocks.path[-1] if blocks.path else blocks.root
            node = self.tree.child(parent, keys[depth])
            for group in self.groups:
                self._share(blocks.tables[group.name], node, group)
            for name in self.slot_groups:
                slot = blocks.snapshots.pop(((depth + 1) * self.node_tokens, name), None)
                if slot is not None:
                    if name not in node.places:
                        self.tree.keep(node, name, [slot])
                    self.pools[name].drop(slot)
                    if depth >= SNAPSHOTS:  # of those that nobody marked, a sequence leaves its last ones
                        self.tree.replace(blocks.path[depth - SNAPSHOTS], name)
            blocks.path.append(node)
            if marked(depth + 1):
                self.tree.mark(node, blocks.path)
        self.abandon(blocks)

    def abandon(self, blocks: SequenceBlocks) -> None:
        """Give back slots for snapshots that were not stored."""
        for (_, name), slot in blocks.snapshots.items():
            self.pools[name].drop(slot)
        blocks.snapshots.clear()

    def release(self, blocks: SequenceBlocks) -> None:
        """The sequence is over, or must make room: what it published stays in the tree."""
        self.abandon(blocks)
        if blocks.path:
            self.tree.mark(blocks.path[-1], blocks.path)
        for table in blocks.tables.values():
            table.release()
        for name, held in blocks.source.items():
            for block in held:
                self.pools[name].drop(block)
        for name, slot in blocks.slots.items():
            self.pools[name].drop(slot)
        for name, source in blocks.sources.items():
            if source >= 0 and source != blocks.slots.get(name):
                self.pools[name].drop(source)
        self.tree.leave(blocks.root, blocks.path)
        blocks.tables, blocks.slots, blocks.sources, blocks.path, blocks.source = {}, {}, {}, [], {}

    def _share(self, table: BlockTable, node: Node, group: GroupShape) -> None:
        """One set of blocks for a node: the tree's if it has one, else this sequence's."""
        gone = table.first_token // group.block_tokens
        first, end = group.whole(node.depth - 1) - gone, group.whole(node.depth) - gone
        if first < 0:  # part of it was behind the window already
            return
        pool, own = self.pools[group.name], table.blocks[first:end]
        kept = node.places.get(group.name)
        if kept is None:
            self.tree.keep(node, group.name, own)
        elif kept != own:
            for block in kept:
                pool.hold(block)
            for block in own:
                pool.drop(block)
            table.blocks[first:end] = kept
