"""Family "weight": every weight type a device declares, in linear, embed and moe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from halflap.device.interface import Array, Device, DeviceInfo, Weight
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.testing.cases import TOLERANCE, Case, Failed, require_support, within
from halflap.testing.drawing import F32, Rng, dequantized, draw_weight, width_for
from halflap.testing.expected import Expected, difference, moe_hidden
from halflap.testing.rig import Rig, Tables, limits_for
from halflap.testing.rounding import F64, distance_to_tie, largest_change, settled

SHAPES = ((1, 33, 40), (2, 5, 300), (3, 130, 520), (17, 7, 96), (33, 36, 260))
"""(tokens, rows of the weight, least width)"""
STEEPEST = 1.1
"""Largest slope of silu."""


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for dtype in sorted(info.rounding):
        for tokens, rows, least in SHAPES:
            width = width_for(dtype, least)
            facts = {"dtype": dtype, "tokens": tokens, "rows": rows, "width": width}
            yield Case(f"weight/{dtype}/linear-T{tokens}-{rows}x{width}", "weight", tokens, {**facts, "op": "linear"})
        width = width_for(dtype, 70)
        facts = {"dtype": dtype, "tokens": 3, "rows": 41, "width": width}
        yield Case(f"weight/{dtype}/embed-41x{width}", "weight", 1, {**facts, "op": "embed"})
        hidden = width_for(dtype, 33)
        yield Case(f"weight/{dtype}/moe-3of5x{width}", "weight", 2, {**facts, "op": "moe", "rows": hidden})
        if info.rounding[dtype] == "i8x256":
            facts |= {"op": "linear", "ties": True, "width": width_for(dtype, 256)}
            yield Case(f"weight/{dtype}/halves-to-even", "weight", 3, facts)


def check(case: Case, device: Device) -> float:
    facts, rounding = case.facts, device.info.rounding
    kind = rounding[facts["dtype"]]
    rng = np.random.default_rng(case.seed)
    while True:
        graph, weights, inputs = _draw(facts, kind, rng)
        if facts["op"] != "moe" or kind != "i8x256" or _hidden_is_clear(weights, inputs, kind):
            break
    require_support(device, graph)
    limits = limits_for(graph)
    step = Tables(graph, limits, rng).step({0: rng.integers(0, 41, facts["tokens"]).tolist()})
    with Rig(device, graph, weights, limits) as rig:
        found = np.asarray(rig.run(step, inputs)["out"])
    wanted = Expected(graph, weights, limits, rounding).run(step, inputs)["out"]
    error = within(f"under rounding {kind!r}", difference(found, wanted), TOLERANCE)
    _check_strict(facts, kind, weights, inputs, found, Expected(graph, weights, limits, {}).run(step, inputs)["out"])
    return error


def _draw(facts: Any, kind: str, rng: Rng) -> tuple[Graph, dict[str, Weight], dict[str, Array]]:
    dtype, tokens, rows, width = (facts[key] for key in ("dtype", "tokens", "rows", "width"))
    shapes: dict[str, tuple[int, ...]] = {"weight": (rows, width)}
    if facts["op"] == "moe":
        shapes = {"gate": (5, rows, width), "up": (5, rows, width), "down": (5, width, rows)}
    weights = {name: draw_weight(name, dtype, shape, rng) for name, shape in shapes.items()}
    g = GraphBuilder("one weight", {name: (w.dtype, w.shape) for name, w in weights.items()})
    inputs: dict[str, Array] = {}
    if facts["op"] == "embed":
        ids = g.input("ids", "i32", "T")
        g.segment("embed")
        g.output(g.embed(ids, g.weight("weight")), "out")
        return g.finish(), weights, inputs
    x = g.input("x", "f32", "T", width)
    inputs["x"] = settled(rng.standard_normal((tokens, width)).astype(np.float32), kind)
    if facts.get("ties"):
        inputs["x"] = _ties(tokens, width, rng)
    if facts["op"] == "linear":
        g.segment("layer.0")
        g.output(g.linear(x, g.weight("weight")), "out")
        return g.finish(), weights, inputs
    experts, shares = g.input("experts", "i32", "T", 3), g.input("shares", "f32", "T", 3)
    inputs["experts"] = np.array([rng.permutation(5)[:3] for _ in range(tokens)], np.int32)
    inputs["shares"] = rng.uniform(0.1, 1, (tokens, 3)).astype(np.float32)
    g.segment("layer.0")
    g.output(g.moe(x, experts, shares, *map(g.weight, weights)), "out")
    return g.finish(), weights, inputs


def _ties(tokens: int, width: int, rng: Rng) -> F32:
    """Halves, with a peak of 127 in each run of 256, so that the scale is exactly 1 however it is computed."""
    x = rng.integers(-126, 126, (tokens, width)).astype(np.float32) + np.float32(0.5)
    x[:, ::256] = 127
    return x


def _hidden_is_clear(weights: dict[str, Weight], inputs: dict[str, Array], kind: str) -> bool:
    """No hidden element lies so near a tie that a correct device may round it the other way."""
    matrices = [*(dequantized(weights[name]) for name in ("gate", "up", "down")), None, None, None]
    hidden = [
        moe_hidden(x, matrices, int(expert), [kind] * 3, {"activation": "silu", "limit": 0.0})
        for x, chosen in zip(inputs["x"], inputs["experts"], strict=True)
        for expert in chosen
    ]
    return distance_to_tie(np.array(hidden)) > 2e-4


def _check_strict(
    facts: Any, kind: str, weights: dict[str, Weight], inputs: dict[str, Array], found: Array, strict: Array
) -> None:
    """What rounding may cost at most: each activation moved by half a step of its grid, all of them against us."""
    peak = float(np.abs(strict).max())
    sizes = {name: np.abs(dequantized(weight)).astype(np.float64) for name, weight in weights.items()}
    if facts["op"] == "linear":
        bound = largest_change(inputs["x"], kind) @ sizes["weight"].T
    elif facts["op"] == "moe":
        bound = _moe_bound(kind, weights, sizes, inputs)
    else:
        bound = np.zeros_like(strict, np.float64)
    excess = np.abs(found.astype(np.float64) - strict) - bound
    if not float(excess.max()) <= TOLERANCE * peak:
        raise Failed(f"loss without rounding: got {excess.max():.3g} above the bound of {kind!r}, want 0",
                     difference(found, strict))  # fmt: skip


def _moe_bound(kind: str, weights: dict[str, Weight], sizes: dict[str, F64], inputs: dict[str, Array]) -> F64:
    """The change of x goes through gate and up into the hidden row, is joined by that row's own, and through down."""
    gate, up = (dequantized(weights[name]).astype(np.float64) for name in ("gate", "up"))
    bound = np.zeros(inputs["x"].shape, np.float64)
    for token, place in np.ndindex(*inputs["experts"].shape):
        x, expert = inputs["x"][token], inputs["experts"][token, place]
        change = largest_change(x, kind)
        g, u = gate[expert] @ x, up[expert] @ x
        g_change, u_change = sizes["gate"][expert] @ change, sizes["up"][expert] @ change
        hidden = np.abs(g / (1 + np.exp(-g)))
        moved = STEEPEST * g_change * (np.abs(u) + u_change) + hidden * u_change
        largest = (hidden * np.abs(u) + moved).astype(np.float32)
        bound[token] += inputs["shares"][token, place] * (
            sizes["down"][expert] @ (moved + largest_change(largest, kind))
        )
    return bound
