"""A row's bits never depend on how many tokens there are, how they were cut, who sits beside them, or on threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

from halflap.testing.drawing import width_for
from tests.any_device.cpu.kit import TYPES, Machine, builder, mixed_step, random_weight, simple_step


@pytest.mark.parametrize("kind", TYPES)
def test_linear_rows_do_not_depend_on_the_number_of_tokens(cpu_isa: Any, kind: str) -> None:
    width = width_for(kind, 7 * 256 + 96)
    weight = random_weight("w", kind, (77, width))
    g = builder([weight])
    g.segment("all")
    g.output(g.linear(g.input("x", "f32", "T", width), g.weight("w")), "y")
    x = np.random.default_rng(0).standard_normal((130, width)).astype(np.float32)
    with Machine(cpu_isa, g.finish(), [weight]) as machine:
        whole = machine.run(simple_step(130), {"x": x})["y"]
        for tokens in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 64):
            part = machine.run(simple_step(tokens), {"x": x[:tokens]})["y"]
            assert np.array_equal(part, whole[:tokens]), tokens
        for t in range(0, 130, 13):
            assert np.array_equal(machine.run(simple_step(1), {"x": x[t : t + 1]})["y"], whole[t : t + 1]), t


def small_model(kind: str, window: int = 0) -> tuple[Any, list[Any]]:
    """One layer with everything in it that tokens could meet each other in."""
    width, heads, kv_heads, dim, experts = 256, 4, 2, 64, 3
    weights = [
        random_weight("emb", kind, (50, width), 1),
        random_weight("q", kind, (heads * dim, width), 2),
        random_weight("k", kind, (kv_heads * dim, width), 3),
        random_weight("v", kind, (kv_heads * dim, width), 4),
        random_weight("o", kind, (width, heads * dim), 5),
        random_weight("router", "F32", (experts, width), 6),
        random_weight("gate", kind, (experts, 256, width), 7),
        random_weight("up", kind, (experts, 256, width), 8),
        random_weight("down", kind, (experts, width, 256), 9),
    ]
    g = builder(weights)
    g.segment("all")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("emb"))
    h = g.rms_norm(x, eps=1e-5)
    q, k, v = (g.linear(h, g.weight(name)) for name in "qkv")
    rope = {"head_dim": dim, "layout": "half", "frequencies": tuple(100.0 ** (-i / 32) for i in range(32))}
    state = g.state_layer("kv", kv_heads * dim, kv_heads * dim, window)
    q = g.rope(g.rms_norm(q, eps=1e-5, groups=heads), **rope)
    k = g.rope(g.rms_norm(k, eps=1e-5, groups=kv_heads), **rope)
    h = g.attention(
        q, k, v, heads=heads, kv_heads=kv_heads, head_dim=dim, v_head_dim=dim, scale=0.3, window=window, **state,
    )  # fmt: skip
    x = g.add(x, g.rms_norm(g.linear(h, g.weight("o")), eps=1e-5))
    h = g.rms_norm(x, eps=1e-5)
    ids, shares = g.route(g.linear(h, g.weight("router")), used=2, normalize=True)
    h = g.moe(h, ids, shares, g.weight("gate"), g.weight("up"), g.weight("down"))
    g.output(g.add(x, h), "y")
    return g.finish(), weights


IDS = np.random.default_rng(5).integers(0, 50, 120).astype(np.int32)


def fed(machine: Machine, cuts: list[int]) -> Any:
    parts, start = [], 0
    for n in cuts:
        step = simple_step(n, ids=IDS[start : start + n], groups=["kv"], start=start)
        parts.append(machine.run(step)["y"])
        start += n
    return np.concatenate(parts)


@pytest.mark.parametrize("kind", ["F32", "Q4_K", "Q8_0"])
@pytest.mark.parametrize("window", [0, 40])
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_a_model_does_not_depend_on_chunks_neighbours_or_threads(
    open_cpu: Callable[..., Any], kind: str, window: int, kv_type: str
) -> None:
    graph, weights = small_model(kind, window)
    results = []
    for threads in (1, 2, 3):
        device = open_cpu(threads=threads)
        for cuts in ([120], [1] * 120, [33, 2, 7, 64, 14]):
            with Machine(device, graph, weights, kv_type=kv_type) as machine:
                results.append(fed(machine, cuts))
        with Machine(device, graph, weights, kv_type=kv_type) as machine:
            step = mixed_step([(0, 60), (0, 37), (0, 61)], "kv")
            ids = np.concatenate([IDS[:60], IDS[80:117], IDS[:61]])
            together = machine.run(attrs.evolve(step, ids=ids))
        assert np.array_equal(together["y"][:60], results[-1][:60])
        assert np.array_equal(together["y"][97:], results[-1][:61])
        device.close()
    for other in results[1:]:
        assert np.array_equal(results[0], other)


def test_long_sequences_are_shared_by_threads_without_a_trace(open_cpu: Callable[..., Any]) -> None:
    graph, weights = small_model("F32")
    ids = np.random.default_rng(5).integers(0, 50, 700).astype(np.int32)
    results = []
    for threads, cuts in ((1, [700]), (1, [300, 400]), (3, [*[255] * 2, *[1] * 190]), (2, [2] * 350)):
        device = open_cpu(threads=threads)
        with Machine(device, graph, weights, kv_type="q8_0", blocks=22, tokens=700) as machine:
            parts, start = [], 0
            for n in cuts:
                step = simple_step(n, ids=ids[start : start + n], groups=["kv"], start=start, blocks=22)
                parts.append(machine.run(step)["y"])
                start += n
            results.append(np.concatenate(parts))
        device.close()
    for other in results[1:]:
        assert np.array_equal(results[0], other)
