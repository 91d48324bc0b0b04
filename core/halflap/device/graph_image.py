"""A Graph as the flat arrays of abi.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from halflap.device._abi import ffi
from halflap.graph.ir import Attribute, Graph, Node, StateGroup
from halflap.graph.step import Limits

KINDS = {"input": 0, "weight": 1, "result": 2}
GROUP_KINDS = {"blocks": 0, "slots": 1}
FREE_SIZES = {"T": -1, "S": -2, "R": -3}
INT, FLOAT, STRING, FLOATS = range(4)


def text(value: str, keep: list[Any]) -> dict[str, Any]:
    """A hl_str whose bytes live as long as `keep`."""
    buffer = ffi.new("char[]", value.encode())
    keep.append(buffer)
    return {"data": buffer, "size": len(buffer) - 1}


def fill_groups(groups: Sequence[StateGroup], limits: Limits | None, keep: list[Any]) -> Any:
    """hl_group[]; without limits the pools have no blocks."""
    array = ffi.new("hl_group[]", max(len(groups), 1))
    for slot, group in zip(array, groups, strict=False):
        layers = ffi.new("hl_layer[]", max(len(group.layers), 1))
        for layer, width in zip(layers, group.layers, strict=False):
            layer.struct_size, layer.k_width, layer.v_width = ffi.sizeof("hl_layer"), width.k, width.v
        keep.append(layers)
        slot.struct_size, slot.name = ffi.sizeof("hl_group"), text(group.name, keep)
        slot.layers, slot.n_layers, slot.window = layers, len(group.layers), group.window
        slot.kind, slot.rate = GROUP_KINDS[group.kind], group.rate
        if limits and group.kind == "blocks":
            slot.blocks = limits.blocks[group.name]
        elif limits:
            slot.slots = limits.slots[group.name]
    keep.append(array)
    return array


class GraphImage:
    """hl_graph and everything it points to.

    Attributes:
        graph: hl_graph pointer, valid as long as this object.
        index: value name -> its index.
    """

    def __init__(self, graph: Graph, limits: Limits | None = None) -> None:
        self._keep: list[Any] = []
        self.index = {name: i for i, name in enumerate(graph.values)}
        of_graph = list(graph.nodes())
        values = self._array("hl_value", len(graph.values))
        for slot, value in zip(values, graph.values.values(), strict=False):
            slot.name, slot.dtype, slot.kind = self._text(value.name), self._text(value.dtype), KINDS[value.kind]
            slot.n_dims = len(value.shape)
            slot.dims = [FREE_SIZES[d] if isinstance(d, str) else d for d in value.shape]
        nodes = self._array("hl_node", len(of_graph))
        for slot, node in zip(nodes, of_graph, strict=False):
            slot.op, slot.version = self._text(node.op), node.version
            slot.inputs, slot.n_inputs = self._indices(node.inputs), len(node.inputs)
            slot.outputs, slot.n_outputs = self._indices(node.outputs), len(node.outputs)
            slot.attrs, slot.n_attrs = self._attributes(node), len(node.attributes)
        self.graph = ffi.new("hl_graph *")
        self.graph.struct_size, self.graph.name = ffi.sizeof("hl_graph"), self._text(graph.name)
        self.graph.values, self.graph.n_values = values, len(graph.values)
        self.graph.nodes, self.graph.n_nodes = nodes, len(of_graph)
        self.graph.groups = fill_groups(graph.groups, limits, self._keep)
        self.graph.n_groups = len(graph.groups)
        self.graph.outputs, self.graph.n_outputs = self._indices(graph.outputs), len(graph.outputs)

    def _array(self, kind: str, count: int) -> Any:
        array = ffi.new(f"{kind}[]", max(count, 1))
        for slot in array:
            slot.struct_size = ffi.sizeof(kind)
        self._keep.append(array)
        return array

    def _text(self, value: str) -> dict[str, Any]:
        return text(value, self._keep)

    def _indices(self, names: Sequence[str]) -> Any:
        array = ffi.new("int32_t[]", [self.index[name] if name else -1 for name in names] or [0])
        self._keep.append(array)
        return array

    def _attributes(self, node: Node) -> Any:
        array = self._array("hl_attr", len(node.attributes))
        for slot, (name, value) in zip(array, node.attributes.items(), strict=False):
            slot.name = self._text(name)
            self._set(slot, value)
        return array

    def _set(self, slot: Any, value: Attribute) -> None:
        if isinstance(value, str):
            slot.type, slot.string = STRING, self._text(value)
        elif isinstance(value, int):
            slot.type, slot.integer = INT, int(value)
        elif isinstance(value, float):
            slot.type, slot.number = FLOAT, value
        else:
            numbers = ffi.from_buffer("double[]", np.asarray(value, np.float64))
            self._keep.append(numbers)
            slot.type, slot.numbers, slot.n_numbers = FLOATS, numbers, len(value)
