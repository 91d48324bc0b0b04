"""K and V stored rotated: the same answers, and less lost where rows are quantised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halflap.device.reference import ReferenceDevice
from halflap.graph import reference
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.passes import rotate_kv
from halflap.graph.step import GroupStep, Limits, Step

TOKENS = 40


def attention_graph(dim: int, v_dim: int) -> Graph:
    g = GraphBuilder("attention", {})
    g.segment("layer.0")
    q, k, v = (g.input(name, "f32", "T", width) for name, width in (("q", 4 * dim), ("k", 2 * dim), ("v", 2 * v_dim)))
    shape = {"heads": 4, "kv_heads": 2, "head_dim": dim, "v_head_dim": v_dim, "scale": dim**-0.5}
    state = g.state_layer("kv", 2 * dim, 2 * v_dim, 0)
    g.output(g.attention(q, k, v, None, **shape, **state), "y")
    g.output(g.attention(g.scale(q, factor=0.5), None, None, None, **shape, **state), "again")  # only reads
    return g.finish()


def run(graph: Graph, inputs: dict[str, Any], kv_type: str) -> Any:
    device, limits = ReferenceDevice(), Limits(TOKENS, 1, 1, 64, {"kv": 2}, (kv_type, kv_type))
    index = np.arange(TOKENS, dtype=np.int32)
    table = GroupStep(*(np.array(part, np.int32) for part in ([0, 2], [1, 0], [0], [TOKENS])))
    step = Step(index, index, index[None], np.array([0, TOKENS], np.int32), np.array([], np.int32), {"kv": table})
    executable = device.compile(graph, device.pack({}, graph), device.state(graph.groups, limits), limits)
    return executable.run(device.begin(step), inputs, ["y", "again"]).wait()


def drawn(dim: int, v_dim: int, outliers: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.standard_normal((TOKENS, n)).astype(np.float32)
        for name, n in (("q", 4 * dim), ("k", 2 * dim), ("v", 2 * v_dim))
    }
    if outliers:  # as trained models have them: the same few channels, far above the rest
        inputs["k"][:, ::17] *= 20
        inputs["v"][:, ::13] *= 20
    return inputs


@pytest.mark.parametrize(("dim", "v_dim"), [(64, 32), (80, 48), (7, 5)])
def test_rotation_changes_nothing_but_rounding(dim: int, v_dim: int) -> None:
    graph, inputs = attention_graph(dim, v_dim), drawn(dim, v_dim)
    plain, rotated = (run(g, inputs, "f32") for g in (graph, rotate_kv(graph)))
    for name in ("y", "again"):
        assert np.abs(plain[name] - rotated[name]).max() < 1e-5 * np.abs(plain[name]).max()


@pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
def test_rotation_helps_quantised_rows_with_outliers(kv_type: str) -> None:
    graph, inputs = attention_graph(64, 64), drawn(64, 64, outliers=True)
    exact = run(graph, inputs, "f32")["y"]
    plain, rotated = (np.abs(run(g, inputs, kv_type)["y"] - exact).mean() for g in (graph, rotate_kv(graph)))
    assert rotated < 0.8 * plain


@pytest.mark.parametrize("block", [1, 2, 8, 64])
def test_hadamard_is_sylvesters_matrix_and_its_own_inverse(block: int) -> None:
    x = np.random.default_rng(1).standard_normal((3, 2 * block)).astype(np.float32)
    y = reference.hadamard(x, block=block)
    for row, out in zip(x.reshape(-1, block), y.reshape(-1, block), strict=True):
        for i in range(block):
            signs = [(-1) ** (i & j).bit_count() for j in range(block)]
            assert out[i] == pytest.approx(float(row @ np.array(signs)) / block**0.5, abs=1e-5)
    assert np.allclose(reference.hadamard(y, block=block), x, atol=1e-6)
