"""A graph made ready on a device, and the steps an engine might feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from halflap.device.interface import Array, Device, Weight
from halflap.graph.ir import Graph
from halflap.graph.step import Copy, GroupStep, Limits, SlotStep, Step
from halflap.testing.drawing import Rng


class Rig:
    """Weights packed, state taken, graph compiled; a context manager that gives all of it back."""

    def __init__(self, device: Device, graph: Graph, weights: Mapping[str, Weight], limits: Limits) -> None:
        self.device, self.graph, self.limits = device, graph, limits
        self._parts: list[Any] = []
        try:
            self.weights = self._own(device.pack(weights, graph))
            self.state = self._own(device.state(graph.groups, limits))
            self.executable = self._own(device.compile(graph, self.weights, self.state, limits))
        except BaseException:
            self.close()
            raise

    def start(self, step: Step, inputs: Mapping[str, Array] | None = None, fetch: Sequence[str] | None = None) -> Any:
        """Queue a step; returns its fence. Without `fetch` every output is fetched."""
        return self.executable.run(
            self.device.begin(step), inputs or {}, list(self.graph.outputs if fetch is None else fetch)
        )

    def run(
        self, step: Step, inputs: Mapping[str, Array] | None = None, fetch: Sequence[str] | None = None
    ) -> Mapping[str, Array]:
        """Queue a step and wait for its outputs."""
        found: Mapping[str, Array] = self.start(step, inputs, fetch).wait()
        return found

    def close(self) -> None:
        for part in reversed(self._parts):
            part.close()
        self._parts = []

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _own(self, part: Any) -> Any:
        self._parts.append(part)
        return part


class Tables:
    """Block tables and slots of several sequences, out of pools whose free ids lie in random order.

    A sequence moves to another slot with every second step.

    Args:
        forget: give back blocks behind a group's window, as the engine does.
    """

    def __init__(self, graph: Graph, limits: Limits, rng: Rng, *, forget: bool = True) -> None:
        self._covered = {g.name: g.block_tokens for g in graph.groups}
        self._windows = {g.name: g.window if forget else 0 for g in graph.groups if g.kind == "blocks"}
        self._slot_groups = [g.name for g in graph.groups if g.kind == "slots"]
        self.free_slots = {name: rng.permutation(limits.slots[name]).tolist() for name in self._slot_groups}
        self.slots: dict[tuple[str, int], int] = {}
        self._steps = 0
        self.free = {name: rng.permutation(limits.blocks[name]).tolist() for name in self._windows}
        self.blocks: dict[tuple[str, int], list[int]] = {}
        self.first: dict[tuple[str, int], int] = {}
        self.length: dict[int, int] = {}

    def fork(self, old: int, new: int) -> list[Copy]:
        """Let sequence `new` begin as a copy of `old`; returns the block copies that the next step must make."""
        copies = []
        for name in self._windows:
            taken = [self.free[name].pop() for _ in self.blocks[name, old]]
            copies += [Copy(name, a, b) for a, b in zip(self.blocks[name, old], taken, strict=True)]
            self.blocks[name, new], self.first[name, new] = taken, self.first[name, old]
        self.length[new] = self.length[old]
        return copies

    def release(self, sequence: int) -> None:
        """Free a sequence's blocks: the next to be handed out, in the same order."""
        for name in self._windows:
            self.free[name] += reversed(self.blocks.pop((name, sequence)))
            del self.first[name, sequence]
        for name in self._slot_groups:
            self.free_slots[name].append(self.slots.pop((name, sequence)))
        del self.length[sequence]

    def drop(self, name: str, slots: Sequence[int], *, resume: bool = False) -> None:
        """Free slots that a step emitted; with `resume` the first sequence goes on from the last of them instead."""
        free = list(slots)
        if resume and free:
            sequence = next(s for group, s in self.slots if group == name)
            free.append(self.slots[name, sequence])
            self.slots[name, sequence] = free.pop(-2)
        self.free_slots[name][:0] = free

    def step(
        self,
        chunks: Mapping[int, Sequence[int]],
        rows: Sequence[int] | None = None,
        *,
        copies: Sequence[Copy] = (),
        offset: int = 0,
        emit: Sequence[int] = (),
    ) -> Step:
        """A step that feeds these tokens.

        Args:
            chunks: sequence -> its next token ids.
            rows: wanted rows among the step's tokens; None: all.
            offset: added to the rotary positions, not to the places in the sequence.
            emit: tokens of the step after which the state is stored in a slot of its own as well.
        """
        ids = [token for chunk in chunks.values() for token in chunk]
        seq_start = np.cumsum([0, *map(len, chunks.values())])
        index = np.concatenate([np.arange(len(c)) + self.length.get(s, 0) for s, c in chunks.items()])
        groups = {name: self._advance(name, chunks) for name in self._windows}
        slots = {name: self._move(name, list(chunks), emit) for name in self._slot_groups}
        self._steps += 1
        for sequence, chunk in chunks.items():
            self.length[sequence] = self.length.get(sequence, 0) + len(chunk)
        wanted = range(len(ids)) if rows is None else rows
        return Step(
            ids=ints(ids), index=ints(index), position=ints(index + offset)[None], seq_start=ints(seq_start),
            rows=ints(wanted), groups=groups, copies=tuple(copies), slots=slots,
        )  # fmt: skip

    def _move(self, name: str, sequences: Sequence[int], emit: Sequence[int]) -> SlotStep:
        free, left, source, target = self.free_slots[name], [], [], []
        for sequence in sequences:
            held = self.slots.get((name, sequence), -1)
            source.append(held)
            if held < 0 or self._steps % 2:
                self.slots[name, sequence] = free.pop()
                left += [held] if held >= 0 else []
            target.append(self.slots[name, sequence])
        pairs = [(token, free.pop()) for token in sorted(emit)]
        free[:0] = left  # only now: nobody else may write in this step what a sequence reads
        return SlotStep(ints(source), ints(target), ints(pairs).reshape(-1, 2))

    def _advance(self, name: str, chunks: Mapping[int, Sequence[int]]) -> GroupStep:
        table_start, blocks, first_token, length = [0], [], [], []
        for sequence, chunk in chunks.items():
            held, first = self.blocks.setdefault((name, sequence), []), self.first.get((name, sequence), 0)
            before = self.length.get(sequence, 0)
            window, covered = self._windows[name], self._covered[name]
            while window and held and first + covered <= before - window + 1:
                self.free[name].insert(0, held.pop(0))
                first += covered
            while first + covered * len(held) < before + len(chunk):
                held.append(self.free[name].pop())
            self.first[name, sequence] = first
            blocks += held
            table_start.append(len(blocks))
            first_token.append(first)
            length.append(before + len(chunk))
        return GroupStep(ints(table_start), ints(blocks), ints(first_token), ints(length))


def ints(values: Any) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.ascontiguousarray(list(values) if isinstance(values, range) else values, np.int32)


def limits_for(graph: Graph, *, tokens: int = 64, blocks: int = 12, kv: str = "f16") -> Limits:
    """Small bounds that leave room for a few sequences."""
    counts = {group.name: blocks for group in graph.groups if group.kind == "blocks"}
    slots = {group.name: 9 for group in graph.groups if group.kind == "slots"}
    return Limits(tokens, 4, tokens, 512, counts, (kv, kv), slots=slots)


def allocated(device: Any) -> int | None:
    """Bytes a device counts as held, where it can tell: `allocated`, or `probe().allocated` of native ones."""
    if hasattr(device, "allocated"):
        return int(device.allocated)
    return int(device.probe().allocated) if hasattr(device, "probe") else None
