"""Every other op over odd shapes, against the reference device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.any_device.cpu.kit import Machine, both, builder, f32_weight, random_weight, relative, simple_step

TOLERANCE = 1e-5
TOKENS = (1, 2, 7, 33, 130)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def check(device: Any, graph: Any, tokens: int, inputs: Any, weights: Any = (), rows: Any = ()) -> None:
    got, want = both(device, graph, simple_step(tokens, rows), inputs, weights)
    for name in graph.outputs:
        assert relative(got[name], want[name]) < TOLERANCE, name


@pytest.mark.parametrize(("width", "groups"), [(1, 1), (17, 1), (2048, 1), (96, 4), (100, 5)])
def test_rms_norm(cpu_isa: Any, width: int, groups: int) -> None:
    weights = [f32_weight("w", normal(width // groups, seed=1))]
    g = builder(weights)
    g.segment("all")
    x = g.input("x", "f32", "T", width)
    g.output(g.rms_norm(x, g.weight("w"), eps=1e-5, groups=groups), "y")
    g.output(g.rms_norm(x, eps=1e-6, groups=groups), "plain")
    graph = g.finish()
    for tokens in TOKENS:
        check(cpu_isa, graph, tokens, {"x": normal(tokens, width, scale=3.0)}, weights)


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_norm_weights_of_half_width_are_converted(cpu: Any, kind: str) -> None:
    weights = [random_weight("w", kind, (48,))]
    g = builder(weights)
    g.segment("all")
    g.output(g.rms_norm(g.input("x", "f32", "T", 48), g.weight("w"), eps=1e-5), "y")
    check(cpu, g.finish(), 3, {"x": normal(3, 48)}, weights)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
@pytest.mark.parametrize(("head_dim", "pairs"), [(16, 8), (20, 10), (64, 32), (80, 20), (128, 64), (2, 1)])
def test_rope(cpu_isa: Any, layout: str, head_dim: int, pairs: int) -> None:
    weights = [f32_weight("f", np.linspace(1, 8, pairs))]
    g = builder(weights)
    g.segment("all")
    x = g.input("x", "f32", "T", 3 * head_dim)
    attributes = {
        "head_dim": head_dim, "layout": layout, "magnitude": 1.3,
        "frequencies": tuple(10000.0 ** (-i / pairs) for i in range(pairs)),
    }  # fmt: skip
    g.output(g.rope(x, **attributes), "y")
    g.output(g.rope(x, g.weight("f"), **attributes), "divided")
    graph = g.finish()
    for tokens in TOKENS:
        step = simple_step(tokens, start=500, blocks=64)
        got, want = both(cpu_isa, graph, step, {"x": normal(tokens, 3 * head_dim)}, weights)
        for name in graph.outputs:
            assert relative(got[name], want[name]) < TOLERANCE


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh", "relu", "sigmoid"])
def test_glu_and_activate(cpu_isa: Any, activation: str) -> None:
    g = builder([])
    g.segment("all")
    x, up = g.input("x", "f32", "T", 77), g.input("up", "f32", "T", 77)
    g.output(g.glu(x, up, activation=activation), "glu")
    g.output(g.activate(x, activation=activation), "alone")
    graph = g.finish()
    for tokens in TOKENS:
        check(cpu_isa, graph, tokens, {"x": normal(tokens, 77, scale=4.0), "up": normal(tokens, 77, seed=1)})
    extremes = np.array([[0.0, -0.0, 1e-30, 88.0, -88.0, 1000.0, -1000.0] * 11], np.float32)
    with np.errstate(over="ignore"):
        check(cpu_isa, graph, 1, {"x": extremes, "up": np.ones((1, 77), np.float32)})


@pytest.mark.parametrize("op", ["add", "mul"])
def test_add_and_mul_take_equal_shapes_one_row_and_one_column(cpu_isa: Any, op: str) -> None:
    weights = [f32_weight("row", normal(45, seed=5))]
    g = builder(weights)
    g.segment("all")
    a, b, column = g.input("a", "f32", "T", 45), g.input("b", "f32", "T", 45), g.input("c", "f32", "T", 1)
    g.output(getattr(g, op)(a, b), "equal")
    g.output(getattr(g, op)(a, g.weight("row")), "one_row")
    g.output(getattr(g, op)(a, column), "one_column")
    graph = g.finish()
    for tokens in TOKENS:
        inputs = {"a": normal(tokens, 45), "b": normal(tokens, 45, seed=2), "c": normal(tokens, 1, seed=3)}
        check(cpu_isa, graph, tokens, inputs, weights)


def test_scale_softcap_and_position_scale(cpu_isa: Any) -> None:
    g = builder([])
    g.segment("all")
    x = g.input("x", "f32", "T", 50)
    g.output(g.scale(x, factor=0.37), "scale")
    g.output(g.softcap(x, cap=30.0), "softcap")
    g.output(g.position_scale(x, beta=0.1, period=16), "position")
    graph = g.finish()
    for tokens in TOKENS:
        for scale in (1e-3, 1.0, 40.0):
            check(cpu_isa, graph, tokens, {"x": normal(tokens, 50, scale=scale)})


def test_take_gives_the_wanted_rows_and_none_cost_nothing(cpu: Any) -> None:
    g = builder([])
    g.segment("all")
    x, rows = g.input("x", "f32", "T", 19), g.input("rows", "i32", "R")
    g.output(g.scale(g.take(x, rows), factor=2.0), "y")
    graph = g.finish()
    for wanted in ([], [0], [6, 2, 2]):
        check_rows(cpu, graph, wanted)


def check_rows(device: Any, graph: Any, wanted: list[int]) -> None:
    x = normal(7, 19)
    with Machine(device, graph) as machine:
        got = machine.run(simple_step(7, wanted), {"x": x})["y"]
    assert np.array_equal(got, x[wanted] * np.float32(2))


@pytest.mark.parametrize("gating", ["softmax", "sigmoid", "softmax_chosen"])
@pytest.mark.parametrize("normalize", [False, True])
def test_route(cpu: Any, gating: str, normalize: bool) -> None:
    weights = [f32_weight("bias", normal(13, seed=9))]
    g = builder(weights)
    g.segment("all")
    logits = g.input("logits", "f32", "T", 13)
    for name, bias in (("plain", None), ("biased", g.weight("bias"))):
        ids, shares = g.route(logits, bias, used=4, gating=gating, normalize=normalize, scale=2.5)
        g.output(ids, name + ".ids")
        g.output(shares, name + ".shares")
    graph = g.finish()
    for tokens in TOKENS:
        inputs = {"logits": normal(tokens, 13, scale=2.0)}
        got, want = both(cpu, graph, simple_step(tokens), inputs, weights)
        for name in ("plain", "biased"):
            assert np.array_equal(got[name + ".ids"], want[name + ".ids"])
            assert relative(got[name + ".shares"], want[name + ".shares"]) < TOLERANCE
    ties = {"logits": np.zeros((1, 13), np.float32)}
    with Machine(cpu, graph, weights) as machine:
        assert machine.run(simple_step(1), ties)["plain.ids"].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K", "MXFP4"])
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_latent_attention_with_stored_types(cpu_isa: Any, kind: str, tokens: int) -> None:
    heads, plain, rotated, rank, v_head_dim = 3, 256, 16, 256, 20
    weights = [random_weight("k", kind, (heads, rank, plain)), random_weight("v", kind, (heads, v_head_dim, rank))]
    g = builder(weights)
    g.segment("all")
    values = [
        g.input(name, "f32", "T", n) for name, n in (("q", heads * (plain + rotated)), ("key", rotated), ("c", rank))
    ]
    state = g.state_layer("kv", rotated, rank)
    y = g.latent_attention(
        *values, g.weight("k"), g.weight("v"), heads=heads, plain_dim=plain, rotated_dim=rotated, rank=rank,
        v_head_dim=v_head_dim, scale=0.02, **state,
    )  # fmt: skip
    g.output(y, "y")
    inputs = {v.name: normal(tokens, int(v.shape[1]), seed=i) for i, v in enumerate(values)}
    got, want = both(cpu_isa, g.finish(), simple_step(tokens, groups=["kv"]), inputs, weights)
    assert relative(got["y"], want["y"]) < (1e-4 if kind == "F16" else 0.03)


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K", "MXFP4"])
@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_experts_with_gate_and_up_in_one_and_biases(cpu_isa: Any, kind: str, tokens: int) -> None:
    experts, width, hidden = 4, 256, 256
    weights = [
        random_weight("up", kind, (experts, 2 * hidden, width), 1),
        random_weight("down", kind, (experts, width, hidden), 2),
        f32_weight("up_bias", normal(experts, 2 * hidden, seed=3)),
        f32_weight("down_bias", normal(experts, width, seed=4)),
    ]  # fmt: skip
    g = builder(weights)
    g.segment("all")
    x, ids, shares = g.input("x", "f32", "T", width), g.input("chosen", "i32", "T", 2), g.input("shares", "f32", "T", 2)
    y = g.moe(
        x, ids, shares, None, g.weight("up"), g.weight("down"), None, g.weight("up_bias"), g.weight("down_bias"),
        activation="swiglu_oai", limit=7.0,
    )  # fmt: skip
    g.output(y, "y")
    rng = np.random.default_rng(0)
    chosen = np.array([rng.permutation(experts)[:2] for _ in range(tokens)], np.int32)
    inputs = {
        "x": normal(tokens, width),
        "chosen": chosen,
        "shares": rng.uniform(0.1, 1, (tokens, 2)).astype(np.float32),
    }
    got, want = both(cpu_isa, g.finish(), simple_step(tokens), inputs, weights)
    assert relative(got["y"], want["y"]) < (1e-4 if kind == "F16" else 0.03)
