"""What a graph should give: the definitions of graph/reference.py, under the rounding a device declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halflap.device.interface import Array, Weight
from halflap.device.reference import ReferenceLayer, ReferenceState
from halflap.device.slots import SlotRows
from halflap.graph import ops
from halflap.graph.ir import Graph, Node
from halflap.graph.reference import F32, expert_hidden
from halflap.graph.step import Limits, Step
from halflap.testing.drawing import dequantized
from halflap.testing.rounding import rounded


class Expected:
    """Walks a graph with state of its own.

    Args:
        rounding: weight type -> rounding of the activations that meet it; empty for the strict meaning.
    """

    def __init__(
        self, graph: Graph, weights: Mapping[str, Weight], limits: Limits, rounding: Mapping[str, str]
    ) -> None:
        self._graph, self._rounding, self.limits = graph, rounding, limits
        self._tensors = {name: dequantized(weights[name]) for name in graph.weights()}
        self._state = ReferenceState(graph.groups, limits)
        self.step: Step

    def layer(self, group: str, layer: int) -> ReferenceLayer | SlotRows:
        return self._state.layer(group, layer)

    def export_slot(self, group: str, layer: int, slot: int) -> F32:
        return self._state.export_slot(group, layer, slot)

    def export_block(self, group: str, layer: int, block: int) -> F32:
        return self._state.export_block(group, layer, block)

    def import_slot(self, group: str, layer: int, slot: int, values: F32) -> None:
        self._state.import_slot(group, layer, slot, values)

    def run(self, step: Step, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Every value of the graph by name."""
        self.step = step
        for copy in step.copies:
            for rows in self._state.layers[copy.group]:
                rows.k[copy.target], rows.v[copy.target] = rows.k[copy.source], rows.v[copy.source]
        values: dict[str, Any] = {"": None, "ids": step.ids, "rows": step.rows, **inputs, **self._tensors}
        for node in self._graph.nodes():
            given = [values[name] for name in node.inputs]
            result = self._result(node, given)
            values.update(zip(node.outputs, result if len(node.outputs) > 1 else (result,), strict=True))
        return values

    def _result(self, node: Node, given: list[Any]) -> Any:
        kinds = [
            self._rounding.get(self._graph.values[name].dtype, "none") if name in self._tensors else "none"
            for name in node.inputs
        ]
        if node.op == "linear":
            return linear(*given, rounding=kinds[1])
        if node.op == "grouped_linear":
            groups = int(node.attributes["groups"])  # type: ignore[arg-type]
            parts = zip(np.split(given[0], groups, axis=1), np.split(given[1], groups), strict=True)
            return np.concatenate([linear(x, weight, None, rounding=kinds[1]) for x, weight in parts], axis=1)
        if node.op == "moe":
            return moe(given, kinds[3:6], node.attributes)
        op = ops.find(node.op)
        return op.meaning()(*([self] if op.context else []), *given, **node.attributes)


def linear(x: F32, weight: F32, bias: F32 | None, *, rounding: str) -> F32:
    """x (…, K) rounded, times weight (N, K), summed in float64."""
    y = rounded(x, rounding).astype(np.float64) @ weight.T.astype(np.float64)
    return (y if bias is None else y + bias).astype(np.float32)


def moe(given: Sequence[Any], roundings: list[str], attributes: Mapping[str, Any]) -> F32:
    """The definition, with x rounded before gate and up, and the hidden row before down."""
    x, ids, weights, *matrices = given
    down, down_bias, weigh_input = matrices[2], matrices[5], attributes["weigh_input"]
    out = np.zeros(x.shape, np.float64)
    for token, place in np.ndindex(*ids.shape):
        expert, share = int(ids[token, place]), weights[token, place]
        hidden = moe_hidden(x[token] * share if weigh_input else x[token], matrices, expert, roundings, attributes)
        part = linear(hidden, down[expert], _at(down_bias, expert), rounding=roundings[2])
        out[token] += part if weigh_input else float(share) * part
    return out.astype(np.float32)


def moe_hidden(
    x: F32, matrices: Sequence[Any], expert: int, roundings: list[str], attributes: Mapping[str, Any]
) -> F32:
    """One token's hidden row in one expert: x (K); gate, up (E, F, K), down and their biases -> (F)."""
    gate, up, down, gate_bias, up_bias, _ = matrices
    gated = None if gate is None else linear(x, gate[expert], _at(gate_bias, expert), rounding=roundings[0])
    plain = linear(x, up[expert], _at(up_bias, expert), rounding=roundings[1])
    given = {name: attributes[name] for name in ("activation", "limit")}
    return np.asarray(expert_hidden(gated, plain, down.shape[-1], **given), np.float32)


def _at(bias: F32 | None, expert: int) -> F32 | None:
    return None if bias is None else bias[expert]


def difference(found: Array, wanted: Array) -> float:
    """Largest difference over the largest wanted value; infinite where shapes differ or a number is missing."""
    if found.shape != wanted.shape:
        return float("inf")
    if wanted.size == 0:
        return 0.0
    gap = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    if not np.isfinite(gap).all():
        return float("inf")
    peak = float(np.abs(wanted).max())
    return float(gap.max()) / peak if peak else float(gap.max())
