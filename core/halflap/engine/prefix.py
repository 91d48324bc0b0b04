"""The prefix tree: what running and finished sequences computed, found again by the tokens it was computed from.

A node stands for whole blocks of tokens and keeps their blocks in every group. Blocks of windowed groups and snapshots
of recurrent state may be given up one by one, so not every node is a *resume point*: there every full block of the
path, the last window of each windowed group and a snapshot of each slots group are still here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Pool(Protocol):
    """What the tree needs of a pool: see `halflap.engine.blocks.BlockPool`."""

    cached: int

    def held(self, block: int) -> bool: ...
    def keep(self, block: int) -> None: ...
    def forget(self, block: int) -> None: ...


class Node:
    """Tokens after those of its parent.

    Attributes:
        key: what its tokens are.
        depth: nodes from the root, which has 0.
        places: group -> its blocks, or the slot with the state behind its last token.
        users: running sequences whose path leads through it.
    """

    __slots__ = ("children", "depth", "key", "parent", "places", "users")

    def __init__(self, parent: Node | None, key: bytes) -> None:
        self.parent, self.key = parent, key
        self.depth: int = parent.depth + 1 if parent else 0
        self.children: dict[bytes, Node] = {}
        self.places: dict[str, list[int]] = {}
        self.users = 0


class PrefixTree:
    """All nodes, and the order in which they are given up: least recently used first.

    Args:
        node_tokens: tokens of a node.
        windows: blocks group -> its window, 0 for none.
        slot_groups: groups that keep one slot per snapshot.
        pools: the pools behind the groups.

    Attributes:
        size: nodes, without roots.
    """

    def __init__(
        self, node_tokens: int, windows: Mapping[str, int], slot_groups: Sequence[str], pools: Mapping[str, Pool]
    ) -> None:
        self._node_tokens, self._slot_groups, self._pools = node_tokens, tuple(slot_groups), pools
        self._windows = {name: window for name, window in windows.items() if window}
        self._roots: dict[bytes, Node] = {}
        # Idle nodes by last use, children before parents, so that the first is always a leaf.
        self._idle: OrderedDict[Node, None] = OrderedDict()
        # What can go without its node: by last use, those of likely resume points apart.
        self._common: dict[str, OrderedDict[Node, None]] = {}
        self._marked: dict[str, OrderedDict[Node, None]] = {}
        for name in (*self._windows, *self._slot_groups):
            self._common[name], self._marked[name] = OrderedDict(), OrderedDict()
        self.size = 0

    def root(self, salt: bytes) -> Node:
        """Where sequences begin whose state depends on `salt` beside their tokens."""
        return self._roots.setdefault(salt, Node(None, salt))

    def walk(self, salt: bytes, keys: Sequence[bytes]) -> list[Node]:
        """The nodes of these tokens, as far as there are any."""
        node: Node | None = self._roots.get(salt)
        path = []
        for key in keys:
            node = node.children.get(key) if node else None
            if node is None:
                break
            path.append(node)
        return path

    def resume(self, path: Sequence[Node], allowed: Callable[[int], bool]) -> tuple[list[Node], str | None]:
        """The longest part of a path behind which a sequence can go on.

        Args:
            allowed: whether a step may begin at a token.

        Returns:
            The part, and the group whose loss made it shorter than the path, if one did.
        """
        missing: str | None = None
        runs = dict.fromkeys(self._windows, 0)
        best = 0
        for node in path:  # how far back each window reaches without a gap, at every node
            lacking = None
            for name, window in self._windows.items():
                runs[name] = runs[name] + 1 if name in node.places else 0
                first = max(0, node.depth * self._node_tokens - window + 1) // self._node_tokens
                if runs[name] < node.depth - first:
                    lacking = name
            for name in self._slot_groups:
                if name not in node.places:
                    lacking = name
            if lacking is None and allowed(node.depth * self._node_tokens):
                best, missing = node.depth, None
            else:
                missing = lacking or missing
        return list(path[:best]), missing

    def child(self, parent: Node, key: bytes) -> Node:
        """The node of a sequence that is running through `parent`, made if need be; the sequence now uses it."""
        node = parent.children.get(key)
        if node is None:
            node = parent.children[key] = Node(parent, key)
            self.size += 1
        node.users += 1
        self._idle.pop(node, None)
        return node

    def keep(self, node: Node, group: str, places: Sequence[int]) -> None:
        """Keep blocks, or a snapshot, that the caller holds."""
        node.places[group] = list(places)
        for place in places:
            self._pools[group].keep(place)
        if group in self._common:
            self._common[group][node] = None

    def mark(self, node: Node, path: Sequence[Node]) -> None:
        """A later request will likely resume behind `node`: what that takes is given up after all else."""
        for name, window in self._windows.items():
            first = max(0, node.depth * self._node_tokens - window + 1) // self._node_tokens
            for each in path[first : node.depth]:
                self._raise(name, each)
        for name in self._slot_groups:
            self._raise(name, node)

    def replace(self, node: Node, group: str) -> None:
        """Give up a snapshot that a later one makes useless, unless it was marked or is in use."""
        if node in self._common[group] and not any(self._pools[group].held(place) for place in node.places[group]):
            self._give_up(node, group)

    def use(self, root: Node, path: Sequence[Node]) -> None:
        """A sequence begins behind `path`."""
        root.users += 1
        for node in path:
            node.users += 1
            self._idle.pop(node, None)

    def leave(self, root: Node, path: Sequence[Node]) -> None:
        """A sequence has ended that used `path`: its deepest node counts as the least recently used."""
        root.users -= 1
        for node in reversed(path):
            node.users -= 1
            for name in node.places:
                for queue in (self._common, self._marked):
                    if name in queue and node in queue[name]:
                        queue[name].move_to_end(node)
            if not node.users:
                self._idle[node] = None
                self._prune(node)
        self._prune(root)

    def reclaim(self, group: str) -> bool:
        """Free at least one block or slot of a group; False if sequences hold all."""
        if not self._pools[group].cached:
            return False
        if group not in self._common:
            before = self._pools[group].cached
            while self._pools[group].cached == before:  # not every node has some
                self._remove(self._idle.popitem(last=False)[0])
            return True
        for queue in (self._common[group], self._marked[group]):
            for node in queue:
                if not all(self._pools[group].held(place) for place in node.places[group]):
                    self._give_up(node, group)
                    self._prune(node)
                    return True
        return False

    def clear(self) -> None:
        """Forget all that no sequence uses."""
        while self._idle:
            self._remove(self._idle.popitem(last=False)[0])

    def _raise(self, group: str, node: Node) -> None:
        if node in self._common[group]:
            del self._common[group][node]
            self._marked[group][node] = None

    def _give_up(self, node: Node, group: str) -> None:
        for queue in (self._common, self._marked):
            if group in queue:
                queue[group].pop(node, None)
        for place in node.places.pop(group):
            self._pools[group].forget(place)

    def _remove(self, node: Node) -> None:
        """Take an idle leaf out."""
        for group in tuple(node.places):
            self._give_up(node, group)
        self._idle.pop(node, None)
        assert node.parent is not None
        del node.parent.children[node.key]
        self.size -= 1
        self._prune(node.parent)

    def _prune(self, node: Node) -> None:
        """Nothing is found behind a leaf that keeps nothing."""
        if node.users or node.children or node.places:
            return
        if node.parent is None:
            self._roots.pop(node.key, None)
        else:
            self._remove(node)
