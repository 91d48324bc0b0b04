"""Family "op": each op alone, against its definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve

from halflap.device.interface import Array, Device, DeviceInfo, Weight
from halflap.errors import HalflapError
from halflap.graph import ops
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value
from halflap.graph.step import Step
from halflap.testing.cases import TOLERANCE, Case, Failed, NotOffered, Operand, require_support, within
from halflap.testing.drawing import Rng, draw_weight, f32_weight
from halflap.testing.expected import Expected, difference
from halflap.testing.families.compressed_cases import compressed_cases
from halflap.testing.families.drawn_cases import drawn_cases
from halflap.testing.families.encoder_cases import encoder_cases
from halflap.testing.families.op_cases import op_cases
from halflap.testing.families.recurrent_cases import drawn_recurrent_cases, recurrent_cases
from halflap.testing.rig import Rig, Tables, limits_for
from halflap.testing.rounding import settled


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    yield from op_cases()
    yield from encoder_cases()
    yield from recurrent_cases()
    yield from compressed_cases()
    yield from drawn_cases(seed)
    yield from drawn_recurrent_cases(seed)


def check(case: Case, device: Device) -> float:
    """Run the op over the case's steps; compare every output of every step."""
    facts, rng = case.facts, np.random.default_rng(case.seed)
    rounding = device.info.rounding
    graph, weights = one_op(facts, rng)
    require_support(device, graph)
    limits = limits_for(graph, kv=facts["kv"])
    expected = Expected(graph, weights, limits, rounding)
    tables = Tables(graph, limits, rng)
    if facts["kv"] != "f16" and any(group.kind == "blocks" for group in graph.groups):
        _require_storage(device, graph, facts["kv"])
    worst = 0.0
    with Rig(device, graph, weights, limits) as rig:
        for lengths in facts["chunks"]:
            chunks = {s: rng.integers(0, 37, n).tolist() for s, n in enumerate(lengths)}
            emit = [token for token in facts.get("emit", ()) if token < sum(lengths)]
            step = tables.step(chunks, facts.get("wanted"), offset=facts.get("offset", 0), emit=emit)
            if facts.get("ahead") and step.index[0] == 0:
                step = evolve(step, span_end=_span_ends(step, facts["ahead"]))
            if facts.get("given"):
                step = evolve(step, ids=_given(step.ids, facts["given"]))
            if facts.get("axes"):
                step = evolve(step, position=_axes(step.position, facts["axes"]))
            kinds = [rounding.get(o.dtype, "none") for o in facts["operands"] if o and o.kind == "weight"]
            inputs = draw_inputs(facts["operands"], step.sizes(), rng, "i8x256" if "i8x256" in kinds else "none")
            for operand in facts["operands"]:
                if operand is not None and operand.draw == "first rows":
                    complete = (step.index[:, None] + 1) // facts["attributes"].get("rate", 1)
                    numbers = np.arange(operand.shape[1], dtype=np.int32)[None]
                    inputs[operand.name] = np.where(numbers < complete, numbers, -1).astype(np.int32)
            wanted, found = expected.run(step, inputs), rig.run(step, inputs)
            for name in graph.outputs:
                worst = max(worst, compare(name, found[name], wanted[name]))
            worst = max(worst, _compare_slots(step, graph, rig, expected))
            for kept in step.slots:
                tables.drop(kept, step.slots[kept].emit[:, 1].tolist(), resume=facts.get("resume", False))
    return worst


def _span_ends(step: Step, spans: Sequence[tuple[int, int]]) -> Array:
    """Ends of spans [begin, end) of a step's tokens, as places in their sequence."""
    ends = np.zeros(step.n_tokens, np.int32)
    for begin, end in spans:
        ends[begin:end] = step.index[end - 1] + 1
    return ends


def _given(ids: Array, places: Sequence[int]) -> Array:
    """The same ids, but at these places rows of `embeds`, the last ones first."""
    ids = ids.copy()
    ids[list(places)] = -len(places) + np.arange(len(places))
    return ids


def _axes(position: Array, count: int) -> Array:
    """Positions of `count` axes that differ from each other: (count, T)."""
    return np.concatenate([position * (axis + 1) + 3 * axis for axis in range(count)]).astype(np.int32)


def _compare_slots(step: Step, graph: Graph, rig: Rig, expected: Expected) -> float:
    """Every slot that the step wrote, as exported."""
    worst = 0.0
    for group in graph.groups:
        if group.kind == "slots":
            written = {*step.slots[group.name].target.tolist(), *step.slots[group.name].emit[:, 1].tolist()}
            for slot in sorted(written):
                found, wanted = (side.export_slot(group.name, 0, slot) for side in (rig.state, expected))
                worst = max(worst, compare(f"slot {slot}", found, wanted))
    return worst


def compare(name: str, found: Array, wanted: Array) -> float:
    """Integers must be equal; floats within the tolerance."""
    if np.issubdtype(np.asarray(wanted).dtype, np.integer):
        if not np.array_equal(found, wanted):
            raise Failed(f"{name}: got {np.asarray(found).tolist()!s:.200}, want {wanted.tolist()!s:.200}")
        return 0.0
    return within(name, difference(np.asarray(found), wanted), TOLERANCE)


def one_op(facts: Mapping[str, Any], rng: Rng) -> tuple[Graph, dict[str, Weight]]:
    """A graph of the one op, and its weights."""
    operands = [o for o in facts["operands"] if o is not None]
    weights = {o.name: _weight(o, rng) for o in operands if o.kind == "weight"}
    g = GraphBuilder("one op", {name: (w.dtype, w.shape) for name, w in weights.items()})
    values: list[Value | None] = []
    for operand in facts["operands"]:
        if operand is None:
            values.append(None)
        elif operand.kind == "weight":
            values.append(g.weight(operand.name))
        else:
            values.append(g.input(operand.name, operand.dtype, *operand.shape))
    g.segment("layer.0")
    attributes = dict(facts["attributes"])
    spec = ops.find(facts["op"])
    defaults = {name: value for name, value in spec.attributes.items() if value is not ops.REQUIRED}
    for rows in spec.kept_rows(values, defaults | attributes):
        name = str(attributes.get(rows.prefix + "group", "kv"))
        state = g.state_layer(name, rows.k or 0, rows.v or 0, rows.window, rows.rate)
        attributes |= {rows.prefix + key: value for key, value in state.items()}
    keeps = spec.keeps
    if keeps is not None:
        attributes |= g.slot_layer("slots", keeps(values, attributes))
    results = getattr(g, facts["op"])(*values, **attributes)
    outputs = list(results) if isinstance(results, tuple) else [results]
    if facts.get("read_only"):
        more = {"cross": True, "buckets": ()} if facts["read_only"] == "cross" else {}
        rest = [None if more and place > 3 else value for place, value in enumerate(values)][3:]
        outputs.append(getattr(g, facts["op"])(values[0], None, None, *rest, **attributes | more))
    if facts.get("reader"):  # what was stored, as seen by an attention whose queries are the first operand
        state = {name: attributes[name] for name in ("group", "layer")}
        outputs.append(g.attention(values[0], None, None, cross=True, scale=0.3, **facts["reader"], **state))
    for place, value in enumerate(outputs):
        g.output(value, f"out{place}")
    return g.finish(), weights


def draw_inputs(
    operands: tuple[Operand | None, ...], sizes: Mapping[str, int], rng: Rng, rounding: str
) -> dict[str, Array]:
    """Arrays for the graph's inputs other than the step's own."""
    drawn: dict[str, Array] = {}
    for operand in operands:
        if operand is None or operand.kind == "weight" or operand.name in ("ids", "rows"):
            continue
        shape = tuple(sizes[d] if isinstance(d, str) else d for d in operand.shape)
        if operand.draw.startswith("experts:"):
            count = int(operand.draw.removeprefix("experts:"))
            rows = [rng.permutation(count)[: shape[1]] for _ in range(shape[0])]
            drawn[operand.name] = np.asarray(rows, np.int32).reshape(shape)
        elif operand.draw == "ties":
            drawn[operand.name] = rng.integers(0, 3, shape).astype(np.float32)
        elif operand.draw == "share":
            drawn[operand.name] = rng.uniform(0, 1, shape).astype(np.float32)
        elif operand.draw == "negative":
            drawn[operand.name] = rng.uniform(-1, -0.01, shape).astype(np.float32)
        elif operand.draw.startswith("unit:"):
            count = int(operand.draw.removeprefix("unit:"))
            parts = rng.standard_normal((shape[0], count, shape[1] // count))
            lengths = np.linalg.norm(parts, axis=-1, keepdims=True)
            drawn[operand.name] = (parts / lengths).astype(np.float32).reshape(shape)
        elif operand.draw == "positive":
            drawn[operand.name] = rng.uniform(0.1, 2.0, shape).astype(np.float32)
        else:
            drawn[operand.name] = settled(rng.standard_normal(shape).astype(np.float32), rounding)
    return drawn


def _weight(operand: Operand, rng: Rng) -> Weight:
    shape = tuple(int(dim) for dim in operand.shape)
    if operand.draw.startswith("experts:"):
        count = int(operand.draw.removeprefix("experts:"))
        rows = [rng.permutation(count)[: shape[1]] for _ in range(shape[0])]
        return f32_weight(operand.name, np.asarray(rows, np.float32))
    if operand.draw == "positive":
        return f32_weight(operand.name, rng.uniform(0.5, 4.0, shape).astype(np.float32))
    if operand.draw == "negative":
        return f32_weight(operand.name, rng.uniform(-4.0, -0.5, shape).astype(np.float32))
    if operand.dtype == "F32" and len(shape) == 1:
        return f32_weight(operand.name, rng.standard_normal(shape).astype(np.float32))
    return draw_weight(operand.name, operand.dtype, shape, rng)


def _require_storage(device: Device, graph: Graph, kv: str) -> None:
    try:
        device.state(graph.groups, limits_for(graph, kv=kv)).close()
    except HalflapError as refused:
        raise NotOffered(f"KV type {kv}: {refused}") from None
