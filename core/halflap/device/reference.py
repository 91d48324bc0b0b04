"""The numpy definitions as a device: needs no compiler, and is what other devices are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from halflap import plugins
from halflap.device.checks import check_graph, check_inputs, check_step, check_weight, invalid, refusal
from halflap.device.interface import Array, DeviceInfo, MemoryReport, Weight
from halflap.device.sizes import check_room, elements, host_memory, state_bytes
from halflap.device.slots import SlotRows, slot_layers
from halflap.graph import ops
from halflap.graph.ir import Graph, Node, StateGroup
from halflap.graph.step import Limits, Step

F32 = npt.NDArray[np.float32]
STORAGE = {"f32": np.float32, "f16": np.float16, "bf16": np.float32, "q8_0": np.float32, "q4_0": np.float32}
"""How rows are kept. What numpy has no type for is rounded through its weight type and kept as f32."""
BYTES = {name: np.dtype(kind).itemsize for name, kind in STORAGE.items()}


class ReferenceBackend:
    """One device, `reference`."""

    def devices(self) -> Sequence[ReferenceDevice]:
        return [ReferenceDevice()]


class ReferenceDevice:
    """See `halflap.device.interface.Device`."""

    @property
    def info(self) -> DeviceInfo:
        free, total = host_memory()
        types = dict.fromkeys(plugins.names("weight_types"), "none")
        return DeviceInfo(
            "reference", "reference", f"numpy {np.__version__}, slow and exact", free, total, free, frozenset(), types
        )

    def supports(self, node: Node, graph: Graph) -> str | None:
        return refusal(node, graph, plugins.names("weight_types"))

    def estimate(self, graph: Graph, limits: Limits) -> MemoryReport:
        weights = sum(4 * elements(graph.values[name].shape, limits) for name in graph.weights())
        widest = max(
            (elements(value.shape, limits) for value in graph.values.values() if value.kind != "weight"), default=0
        )
        state = state_bytes(graph.groups, limits, BYTES, "reference")
        return MemoryReport({"f32": weights}, state, 8 * 4 * widest)

    def pack(self, weights: Mapping[str, Weight], graph: Graph) -> ReferenceWeights:
        return ReferenceWeights({name: _dequantized(weights[name]) for name in graph.weights()})

    def state(self, groups: Sequence[StateGroup], limits: Limits) -> ReferenceState:
        return ReferenceState(groups, limits)

    def compile(
        self, graph: Graph, weights: ReferenceWeights, state: ReferenceState, limits: Limits
    ) -> ReferenceExecutable:
        check_graph(graph, plugins.names("weight_types"), "reference")
        return ReferenceExecutable(graph, weights, state, limits)

    def begin(self, step: Step) -> Step:
        return step

    def close(self) -> None:
        pass


class ReferenceWeights:
    """Every tensor as float32."""

    def __init__(self, tensors: dict[str, F32]) -> None:
        self.tensors = tensors

    def close(self) -> None:
        self.tensors = {}


class ReferenceLayer:
    """K and V rows of one layer: (blocks, rows of a block, width)."""

    def __init__(self, k: Array, v: Array, types: tuple[str, str]) -> None:
        self.k, self.v, self._types = k, v, types

    def write(self, blocks: Array, places: Array, k: F32, v: F32) -> None:
        self.k[blocks, places], self.v[blocks, places] = (
            _stored(rows, kind) for rows, kind in zip((k, v), self._types, strict=True)
        )

    def read(self, blocks: Array) -> tuple[F32, F32]:
        return tuple(  # type: ignore[return-value]
            part[blocks].astype(np.float32).reshape(len(blocks) * part.shape[1], part.shape[2])
            for part in (self.k, self.v)
        )


class ReferenceState:
    """Row storage of every group."""

    def __init__(self, groups: Sequence[StateGroup], limits: Limits) -> None:
        check_room(state_bytes(groups, limits, BYTES, "reference"), "reference")
        k_type, v_type = (STORAGE[name] for name in limits.kv_types)
        self.layers: dict[str, list[ReferenceLayer]] = {
            group.name: [
                ReferenceLayer(
                    np.zeros((limits.blocks[group.name], group.block_rows, layer.k), k_type),
                    np.zeros((limits.blocks[group.name], group.block_rows, layer.v), v_type),
                    limits.kv_types,
                )
                for layer in group.layers
            ]
            for group in groups
            if group.kind == "blocks"
        }
        self.slots = {group.name: slot_layers(group, limits) for group in groups if group.kind == "slots"}

    def export_block(self, group: str, layer: int, block: int) -> F32:
        rows = self.layers[group][layer]
        return np.concatenate([rows.k[block], rows.v[block]], axis=1).astype(np.float32)

    def import_block(self, group: str, layer: int, block: int, rows: F32) -> None:
        target = self.layers[group][layer]
        k, v = np.split(rows, [target.k.shape[-1]], axis=1)
        target.write(np.full(len(rows), block), np.arange(len(rows)), k, v)

    def export_slot(self, group: str, layer: int, slot: int) -> F32:
        return self.slots[group][layer].read(slot)

    def import_slot(self, group: str, layer: int, slot: int, values: F32) -> None:
        self.slots[group][layer].write(slot, values)

    def layer(self, group: str, layer: int) -> ReferenceLayer | SlotRows:
        """What the definition of an op that names this layer reads and writes."""
        return self.slots[group][layer] if group in self.slots else self.layers[group][layer]

    def close(self) -> None:
        self.layers, self.slots = {}, {}


class ReferenceFence:
    """Already done: this device computes inside `run`."""

    done = True

    def __init__(self, fetched: dict[str, Array]) -> None:
        self._fetched = fetched

    def wait(self, timeout: float | None = None) -> Mapping[str, Array]:
        return self._fetched

    def cancel(self) -> None:
        pass


class ReferenceExecutable:
    """Walks the graph and calls each op's definition."""

    def __init__(self, graph: Graph, weights: ReferenceWeights, state: ReferenceState, limits: Limits) -> None:
        self.graph, self._weights, self._state, self.limits = graph, weights, state, limits
        self._calls = [(ops.find(node.op), node) for node in graph.nodes()]
        self.step: Step

    def layer(self, group: str, layer: int) -> ReferenceLayer | SlotRows:
        return self._state.layer(group, layer)

    def run(self, begun: Step, inputs: Mapping[str, Array], fetch: Sequence[str]) -> ReferenceFence:
        self.step = begun
        check_step(begun, self.graph, self.limits, "reference")
        check_inputs(self.graph, begun, inputs, "reference")
        for copy in begun.copies:
            for rows in self._state.layers[copy.group]:
                rows.k[copy.target], rows.v[copy.target] = rows.k[copy.source], rows.v[copy.source]
        values: dict[str, Any] = {"": None, "ids": begun.ids, "rows": begun.rows, **inputs, **self._weights.tensors}
        for op, node in self._calls:
            given = [values[name] for name in node.inputs]
            try:
                result = op.meaning()(*([self] if op.context else []), *given, **node.attributes)
            except (IndexError, ValueError) as cause:  # numpy's words for a number out of range
                raise invalid("reference", f"op {node.op!r}", cause, "values in range") from cause
            values.update(zip(node.outputs, result if len(node.outputs) > 1 else (result,), strict=True))
        return ReferenceFence({name: values[name] for name in fetch})

    def close(self) -> None:
        pass


def _stored(rows: F32, kind: str) -> F32:
    """Rows of any width as a KV type keeps them."""
    if kind in ("f32", "f16") or not rows.size:
        return rows
    storage = plugins.get("weight_types", kind.upper())
    blocks = np.ascontiguousarray(rows, np.float32).reshape(-1, storage.block)
    values: F32 = storage.dequantize(storage.quantize(blocks)).reshape(rows.shape)
    return values


def _dequantized(weight: Weight) -> F32:
    check_weight(weight, "reference")
    kind = plugins.get("weight_types", weight.dtype)
    blocks = weight.data.reshape(-1, kind.nbytes)
    values: F32 = kind.dequantize(blocks).reshape(weight.shape)
    return values
