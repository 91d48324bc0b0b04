"""Every weight type through embed, linear and moe, against the definition under the same rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halflap.device.interface import Weight
from tests.any_device.cpu.kit import (
    FLOATS,
    TYPES,
    Machine,
    builder,
    f32_weight,
    random_weight,
    relative,
    rounded,
    simple_step,
    values_of,
    weight_type,
)

SHAPES = ((1, 256), (5, 32), (33, 96), (31, 288), (64, 512), (129, 768), (130, 2304), (7, 2080))


def linear_graph(weights: Any, width: int) -> Any:
    g = builder(weights)
    g.segment("all")
    x = g.input("x", "f32", "T", width)
    bias = g.optional("b")
    y = g.linear(x, g.weight("w"), bias)
    g.output(y, "y")
    return g.finish()


def half_steps(x: Any) -> Any:
    """The most that rounding moves each activation: half of its chunk's scale."""
    parts = [x[:, k : k + 256] for k in range(0, x.shape[1], 256)]
    return np.concatenate([np.full(p.shape, np.abs(p).max(axis=1, keepdims=True) / 254) for p in parts], axis=1)


@pytest.mark.parametrize("kind", TYPES)
def test_linear_equals_the_definition_under_the_same_rounding(cpu_isa: Any, kind: str) -> None:
    block = weight_type(kind).block
    for i, (rows, width) in enumerate(SHAPES):
        width = max(width // block, 1) * block
        weight = random_weight("w", kind, (rows, width), seed=i)
        weights = [weight]
        if i % 2:
            weights.append(f32_weight("b", np.random.default_rng(i).standard_normal(rows)))
        tokens = (1, 2, 3, 5, 7, 13, 64, 130)[i]
        x = np.random.default_rng(100 + i).standard_normal((tokens, width)).astype(np.float32)
        with Machine(cpu_isa, linear_graph(weights, width), weights) as machine:
            got = machine.run(simple_step(tokens), {"x": x})["y"]
        exact = values_of(weight).astype(np.float64)
        bias = values_of(weights[1]) if i % 2 else 0
        met = x.astype(np.float64) if kind in FLOATS else rounded(x)
        assert relative(got, met @ exact.T + bias) < 1e-5, (kind, rows, width, tokens)
        strict = x.astype(np.float64) @ exact.T + bias
        allowed = 0 if kind in FLOATS else half_steps(x) @ np.abs(exact).T
        assert (np.abs(got - strict) <= allowed + 1e-5 * np.abs(strict).max()).all(), (kind, rows, width, tokens)


@pytest.mark.parametrize("kind", TYPES)
def test_embed_gives_cores_bits(cpu_isa: Any, kind: str) -> None:
    found = weight_type(kind)
    width = 3 * max(found.block, 7)
    blocks = np.random.default_rng(6).integers(0, 256, (11 * width // found.block, found.nbytes), np.uint8)
    finite = np.isfinite(found.dequantize(blocks)).all(axis=1)
    blocks[~finite] = random_weight("w", kind, (found.block,)).data  # any other scale, subnormal ones too, stays
    weight = Weight("w", kind, (11, width), blocks.reshape(-1))
    g = builder([weight])
    g.segment("all")
    g.output(g.embed(g.input("ids", "i32", "T"), g.weight("w")), "y")
    ids = [10, 0, 3, 3, 7]
    with Machine(cpu_isa, g.finish(), [weight]) as machine:
        got = machine.run(simple_step(5, ids=ids))["y"]
    assert np.array_equal(got.view(np.uint32), values_of(weight)[ids].view(np.uint32))


def test_the_device_reads_every_type_but_integers_and_f64(cpu: Any) -> None:
    assert set(cpu.info.rounding) == set(TYPES)


def test_linear_takes_every_odd_row_count(cpu: Any) -> None:
    weight = random_weight("w", "Q4_K", (97, 512))
    x = np.random.default_rng(1).standard_normal((4, 512)).astype(np.float32)
    whole = rounded(x) @ values_of(weight).astype(np.float64).T
    row = len(weight.data) // 97
    for rows in range(1, 98):
        part = type(weight)("w", "Q4_K", (rows, 512), weight.data[: rows * row])
        with Machine(cpu, linear_graph([part], 512), [part]) as machine:
            assert relative(machine.run(simple_step(4), {"x": x})["y"], whole[:, :rows]) < 1e-5


def test_several_types_share_one_rounding_of_their_input(cpu: Any) -> None:
    weights = [random_weight(kind, kind, (40, 512)) for kind in ("F16", "Q4_K", "Q8_0", "Q6_K")]
    g = builder(weights)
    g.segment("all")
    x = g.input("x", "f32", "T", 512)
    for weight in weights:
        g.output(g.linear(x, g.weight(weight.name)), f"y.{weight.name}")
    values = np.random.default_rng(2).standard_normal((3, 512)).astype(np.float32)
    with Machine(cpu, g.finish(), weights) as machine:
        got = machine.run(simple_step(3), {"x": values})
    for weight in weights:
        met = values if weight.dtype == "F16" else rounded(values)
        assert relative(got[f"y.{weight.name}"], met @ values_of(weight).astype(np.float64).T) < 1e-5


@pytest.mark.parametrize("spoiled", [np.nan, np.inf])
def test_a_token_with_nan_spoils_only_itself(cpu: Any, spoiled: float) -> None:
    for kind in ("F32", "Q4_K", "Q8_0"):
        weight = random_weight("w", kind, (33, 512))
        x = np.random.default_rng(3).standard_normal((5, 512)).astype(np.float32)
        with Machine(cpu, linear_graph([weight], 512), [weight]) as machine:
            clean = machine.run(simple_step(5), {"x": x})["y"]
            x[2, 300] = spoiled
            dirty = machine.run(simple_step(5), {"x": x})["y"]
        others = [0, 1, 3, 4]
        assert np.array_equal(clean[others], dirty[others])
        assert not np.isfinite(dirty[2]).any()


def test_zero_and_tiny_activations_stay_finite(cpu: Any) -> None:
    weight = random_weight("w", "Q4_K", (8, 512))
    for x in (np.zeros((2, 512)), np.full((2, 512), 1e-44), np.full((2, 512), 1e-38)):
        with Machine(cpu, linear_graph([weight], 512), [weight]) as machine:
            assert np.isfinite(machine.run(simple_step(2), {"x": x.astype(np.float32)})["y"]).all()


@pytest.mark.parametrize(("kinds"), [("F32", "F32"), ("Q4_K", "Q6_K"), ("Q8_0", "F16"), ("F16", "Q5_0")])
@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_moe_equals_the_definition_under_the_same_rounding(cpu_isa: Any, kinds: tuple[str, str], tokens: int) -> None:
    experts, inner, width, used = 5, 256, 256, 3
    into, out = kinds
    weights = [
        random_weight("gate", into, (experts, inner, width), 1), random_weight("up", into, (experts, inner, width), 2),
        random_weight("down", out, (experts, width, inner), 3),
    ]  # fmt: skip
    g = builder(weights)
    g.segment("all")
    x = g.input("x", "f32", "T", width)
    chosen, shares = g.input("chosen", "i32", "T", used), g.input("shares", "f32", "T", used)
    g.output(g.moe(x, chosen, shares, *(g.weight(w.name) for w in weights)), "y")
    rng = np.random.default_rng(tokens)
    values = {
        "x": (rng.standard_normal((tokens, width)) * 0.05).astype(np.float32),
        "chosen": np.stack([rng.permutation(experts)[:used] for _ in range(tokens)]).astype(np.int32),
        "shares": rng.random((tokens, used)).astype(np.float32),
    }
    with Machine(cpu_isa, g.finish(), weights) as machine:
        got = machine.run(simple_step(tokens), values)["y"]
    gate, up, down = (values_of(w).astype(np.float64) for w in weights)
    met = values["x"].astype(np.float64) if into in FLOATS else rounded(values["x"])
    want = np.zeros((tokens, width))
    for t in range(tokens):
        for e, share in zip(values["chosen"][t], values["shares"][t], strict=True):
            a, b = met[t] @ gate[e].T, met[t] @ up[e].T
            hidden = (a / (1 + np.exp(-a)) * b).astype(np.float32)[None]
            want[t] += share * ((hidden if out in FLOATS else rounded(hidden)) @ down[e].T)[0]
    # The second rounding may fall the other way where the first result differs in its last bit.
    assert relative(got, want) < (1e-5 if out in FLOATS else 2e-3)
