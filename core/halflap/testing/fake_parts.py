"""What a fake device hands out: weights, state, executables and fences, all on the far side of a copy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from halflap.device.interface import Array, Executable, State, Weights
from halflap.errors import HalflapError
from halflap.graph import ops
from halflap.graph.ir import Graph, StateGroup
from halflap.graph.step import Limits, SlotStep, Step

if TYPE_CHECKING:
    from halflap.testing.fake import FakeDevice


class FakeWeights:
    """Packed from copies of the file's bytes."""

    def __init__(self, device: FakeDevice, inner: Weights, size: int) -> None:
        self.inner, self._device, self._size = inner, device, size

    def close(self) -> None:
        if self._size >= 0:
            self._device.locked(self.inner.close)
            self._device.give_back(self._size)
        self._size = -1


class FakeState:
    """Pools full of NaN until somebody writes."""

    def __init__(
        self, device: FakeDevice, inner: State, groups: Sequence[StateGroup], limits: Limits, size: int
    ) -> None:
        self.inner, self.groups, self._device, self._size = inner, {g.name: g for g in groups}, device, size
        if device.poison:
            for group in groups:
                pool = limits.blocks if group.kind == "blocks" else limits.slots
                for place in range(pool[group.name]):
                    self.fill_with_nan(group.name, range(len(group.layers)), place)

    def fill_with_nan(self, group: str, layers: Sequence[int], block: int) -> None:
        """Poison a block, or a slot of a slots group."""
        for layer in layers:
            width = self.groups[group].layers[layer]
            if self.groups[group].kind == "slots":
                self.inner.import_slot(group, layer, block, np.full(width.k, np.nan, np.float32))
                continue
            rows = np.full((self.groups[group].block_rows, width.k + width.v), np.nan, np.float32)
            self.inner.import_block(group, layer, block, rows)

    def export_block(self, group: str, layer: int, block: int) -> npt.NDArray[np.float32]:
        self._device.enter("export")
        rows: npt.NDArray[np.float32] = self._in_order(lambda: self.inner.export_block(group, layer, block).copy())
        return rows

    def import_block(self, group: str, layer: int, block: int, rows: npt.NDArray[np.float32]) -> None:
        self._device.enter("import")
        own = rows.copy()
        self._in_order(lambda: self.inner.import_block(group, layer, block, own))

    def export_slot(self, group: str, layer: int, slot: int) -> npt.NDArray[np.float32]:
        self._device.enter("export")
        values: npt.NDArray[np.float32] = self._in_order(lambda: self.inner.export_slot(group, layer, slot).copy())
        return values

    def import_slot(self, group: str, layer: int, slot: int, values: npt.NDArray[np.float32]) -> None:
        self._device.enter("import")
        own = values.copy()
        self._in_order(lambda: self.inner.import_slot(group, layer, slot, own))

    def close(self) -> None:
        if self._size >= 0:
            self._device.locked(self.inner.close)
            self._device.give_back(self._size)
        self._size = -1

    def _in_order(self, call: Callable[[], Any]) -> Any:
        fence = FakeFence(self._device, lambda _: {"result": call()})
        self._device.queue.put(fence.execute)
        return fence.wait()["result"]


class FakeExecutable:
    """Queues runs; nothing the host does to its arrays afterwards matters."""

    def __init__(self, device: FakeDevice, inner: Executable, graph: Graph, state: FakeState, size: int) -> None:
        self._device, self._inner, self._state, self._size = device, inner, state, size
        written: dict[str, list[int]] = {}
        for node in graph.nodes():
            op, given = ops.find(node.op), [graph.values[name] if name else None for name in node.inputs]
            read_only = [not rows.written for rows in op.kept_rows(given, node.attributes)]
            for place, (group, layer) in enumerate(node.states()):
                if not read_only or not read_only[place]:  # no rows: a slot
                    written.setdefault(group, []).append(layer)
        self._written = written

    def run(self, begun: Step, inputs: Mapping[str, Array], fetch: Sequence[str]) -> FakeFence:
        fault = self._device.enter("run")
        own = {name: np.array(array) for name, array in inputs.items()}
        # The step was copied at `begin`: executables share it, and none may write to it.
        wanted = list(fetch)

        def compute(fence: FakeFence) -> dict[str, Array]:
            if fault is not None:
                raise self._device.failure(fault.status, f"injected at run {fault.at}")
            if self._device.poison:
                self._poison(begun)
            inner = self._inner.run(self._device.inner.begin(begun), own, wanted)
            fence.forward = inner.cancel
            return {name: np.array(array) for name, array in inner.wait().items()}

        fence = FakeFence(self._device, compute)
        self._device.queue.put(fence.execute)
        return fence

    def close(self) -> None:
        if self._size >= 0:
            self._device.locked(self._inner.close)
            self._device.give_back(self._size)
        self._size = -1

    def _poison(self, step: Step) -> None:
        """NaN into each slot written and each block whose first row is: what an earlier owner left there is gone."""
        for name, layers in self._written.items():
            if name in step.slots:
                self._poison_slots(name, layers, step.slots[name])
                continue
            table, covered = step.groups[name], self._state.groups[name].block_tokens
            kept = {block for c in step.copies if c.group == name for block in (c.source, c.target)}
            for s in range(step.n_sequences):
                index = step.index[step.seq_start[s] : step.seq_start[s + 1]]
                for token in index[index % covered == 0]:
                    place = int(table.table_start[s]) + (int(token) - int(table.first_token[s])) // covered
                    if not 0 <= place < len(table.blocks):
                        continue  # a broken step: the inner device says so
                    block = int(table.blocks[place])
                    if block >= 0 and block not in kept:
                        try:
                            self._state.fill_with_nan(name, layers, block)
                        except (HalflapError, IndexError):
                            return

    def _poison_slots(self, name: str, layers: Sequence[int], slots: SlotStep) -> None:
        written = {*slots.target.tolist(), *slots.emit[:, 1].tolist()} - set(slots.source.tolist())
        for slot in written:
            if slot >= 0:
                try:
                    self._state.fill_with_nan(name, layers, slot)
                except (HalflapError, IndexError):
                    return


class FakeFence:
    """One job of the queue: done when the thread has been there."""

    def __init__(self, device: FakeDevice, compute: Callable[[FakeFence], Mapping[str, Any]]) -> None:
        self._device, self._compute = device, compute
        self._done = threading.Event()
        self._cancelled = threading.Event()
        self._error: BaseException | None = None
        self._fetched: Mapping[str, Any] = {}
        self.forward: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout: float | None = None) -> Mapping[str, Any]:
        if not self._done.wait(timeout):
            raise TimeoutError(f"device {self._device.info.id!r}: still running")
        if self._error is not None:
            raise self._error
        return self._fetched

    def cancel(self) -> None:
        if not self.done:
            self._cancelled.set()
            if self.forward is not None:
                self.forward()

    def execute(self) -> None:
        """What the queue's thread does."""
        try:
            if self._device.lost is not None:
                raise self._device.failure("device_lost", self._device.lost)
            if not self._cancelled.is_set():
                fetched = self._device.locked(lambda: self._compute(self))
            if self._cancelled.is_set():
                raise self._device.failure("cancelled", "by the caller")
            self._fetched = fetched
        except BaseException as error:
            self._error = error
        self._done.set()
