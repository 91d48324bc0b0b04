"""Attention over paged state against the definition: shapes, windows, caps, sinks, shared and read-only layers."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

from halflap.device.reference import ReferenceDevice
from halflap.errors import HalflapError
from halflap.graph.step import Copy, GroupStep, Limits
from tests.any_device.cpu.kit import Machine, builder, f32_weight, mixed_step, relative, simple_step

CASES = (
    # heads, kv_heads, head_dim, v_head_dim, window, softcap, sinks
    (4, 4, 64, 64, 0, 0.0, False),
    (8, 1, 16, 16, 0, 0.0, False),
    (6, 2, 20, 20, 0, 30.0, False),
    (4, 2, 32, 48, 40, 0.0, False),
    (4, 2, 80, 80, 1, 0.0, False),
    (4, 1, 96, 96, 33, 20.0, True),
    (5, 5, 128, 128, 0, 0.0, True),
    (2, 1, 256, 256, 0, 50.0, False),
    (3, 3, 7, 5, 0, 0.0, False),
)


def attention_graph(case: tuple[Any, ...], shared: bool = False) -> tuple[Any, list[Any], dict[str, int]]:
    heads, kv_heads, dim, v_dim, window, softcap, sinks = case
    weights = [f32_weight("sinks", np.linspace(-1, 3, heads))] if sinks else []
    g = builder(weights)
    g.segment("all")
    widths = {"q": heads * dim, "k": kv_heads * dim, "v": kv_heads * v_dim}
    q, k, v = (g.input(name, "f32", "T", width) for name, width in widths.items())
    attributes = {
        "heads": heads, "kv_heads": kv_heads, "head_dim": dim, "v_head_dim": v_dim, "scale": dim**-0.5,
        "window": window, "softcap": softcap, **g.state_layer("kv", widths["k"], widths["v"], window),
    }  # fmt: skip
    sink = g.weight("sinks") if sinks else None
    g.output(g.attention(q, k, v, sink, **attributes), "y")
    if shared:
        g.output(g.attention(g.scale(q, factor=0.5), None, None, sink, **attributes), "again")
    return g.finish(), weights, widths


def table(blocks: list[int], length: int) -> GroupStep:
    """One sequence's blocks, from its first token on."""
    return GroupStep(*(np.array(part, np.int32) for part in ([0, len(blocks)], blocks, [0], [length])))


def inputs(widths: dict[str, int], tokens: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((tokens, width)).astype(np.float32) for name, width in widths.items()}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kv_type", ["f32", "f16"])
def test_attention_in_chunks_and_batches(cpu_isa: Any, case: tuple[Any, ...], kv_type: str) -> None:
    graph, weights, widths = attention_graph(case)
    with (
        Machine(cpu_isa, graph, weights, kv_type=kv_type) as ours,
        Machine(ReferenceDevice(), graph, weights, kv_type=kv_type) as reference,
    ):
        for seed, runs in enumerate(
            ([(0, 1), (0, 40), (0, 33)], [(1, 1), (40, 30), (33, 1)], [(2, 64), (70, 1), (34, 3)])
        ):
            step = mixed_step(runs, "kv")
            given = inputs(widths, step.n_tokens, seed)
            got, want = ours.run(step, given)["y"], reference.run(step, given)["y"]
            assert relative(got, want) < 1e-5


def test_a_layer_can_be_read_again_without_writing(cpu: Any) -> None:
    graph, weights, widths = attention_graph((4, 2, 32, 32, 0, 0.0, False), shared=True)
    with Machine(cpu, graph, weights) as ours, Machine(ReferenceDevice(), graph, weights) as reference:
        for start, n in ((0, 5), (5, 60), (65, 1)):
            step, given = simple_step(n, groups=["kv"], start=start), inputs(widths, n, start)
            got, want = ours.run(step, given), reference.run(step, given)
            for name in ("y", "again"):
                assert relative(got[name], want[name]) < 1e-5


def test_a_windowed_table_may_begin_after_the_first_block(cpu: Any) -> None:
    graph, weights, widths = attention_graph((4, 2, 32, 32, 40, 0.0, False))
    with Machine(cpu, graph, weights) as whole, Machine(cpu, graph, weights) as part:
        for start, n in ((0, 100), (100, 20), (120, 1)):
            step, given = simple_step(n, groups=["kv"], start=start), inputs(widths, n, start)
            first = max(start - 40, 0) // 32 * 32
            full = step.groups["kv"]
            blocks = full.blocks[first // 32 :]
            cut = GroupStep(np.array([0, len(blocks)], np.int32), blocks, np.array([first], np.int32), full.length)
            late = attrs.evolve(step, groups={"kv": cut})
            assert np.array_equal(whole.run(step, given)["y"], part.run(late, given)["y"])


def test_copies_happen_before_everything_else(cpu: Any) -> None:
    graph, weights, widths = attention_graph((2, 2, 16, 16, 0, 0.0, False))
    with Machine(cpu, graph, weights) as machine:
        machine.run(simple_step(20, groups=["kv"]), inputs(widths, 20, 0))
        plain = simple_step(1, groups=["kv"], start=20)
        want = machine.run(plain, inputs(widths, 1, 1))["y"]
        moved = table([3], 21)
        step = attrs.evolve(plain, groups={"kv": moved}, copies=(Copy("kv", 15, 3),))
        assert np.array_equal(machine.run(step, inputs(widths, 1, 1))["y"], want)


@pytest.mark.parametrize("kv_type", ["bf16", "q8_0", "q4_0"])
@pytest.mark.parametrize("window", [0, 35])
def test_every_storage_type_in_chunks_and_batches(cpu_isa: Any, kv_type: str, window: int) -> None:
    test_attention_in_chunks_and_batches(cpu_isa, (6, 2, 32, 64, window, 0.0, False), kv_type)


def test_quantised_rows_want_heads_of_whole_blocks(cpu: Any) -> None:
    limits = Limits(8, 1, 1, 64, {"kv": 2}, ("q8_0", "q8_0"))
    graph = attention_graph((2, 2, 48, 32, 0, 0.0, False))[0]
    with pytest.raises(HalflapError, match="head size for KV type q8_0: got 48, want a multiple of 32"):
        cpu.estimate(graph, limits)
    graph = attention_graph((1, 1, 48, 32, 0, 0.0, False))[0]
    for device in (cpu, ReferenceDevice()):
        with pytest.raises(HalflapError, match=r"width of K rows.*: got 48, want a multiple of 32"):
            device.state(graph.groups, limits)


@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_blocks_are_exported_and_imported_as_rows(cpu: Any, kv_type: str) -> None:
    dims = (32, 64) if kv_type.startswith("q") else (24, 8)
    graph, weights, widths = attention_graph((2, 1, *dims, 0, 0.0, False))
    given = inputs(widths, 40, 0)
    step = simple_step(40, groups=["kv"])
    with Machine(cpu, graph, weights, kv_type=kv_type) as machine:
        want = machine.run(step, given)["y"]
        first = machine.state.export_block("kv", 0, 15)
        stored = np.concatenate([given["k"], given["v"]], axis=1)[:32]
        assert relative(first, stored) < {"f32": 1e-9, "f16": 1e-3, "bf16": 1e-2, "q8_0": 1e-2, "q4_0": 2e-1}[kv_type]
        second = machine.state.export_block("kv", 0, 14)
        machine.state.import_block("kv", 0, 2, first)
        machine.state.import_block("kv", 0, 7, second)
        moved = table([2, 7], 40)
        again = attrs.evolve(step, groups={"kv": moved})
        assert np.array_equal(machine.run(again, given)["y"], want)


def test_stale_rows_of_a_reused_block_never_show(cpu: Any) -> None:
    graph, weights, widths = attention_graph((2, 2, 16, 16, 0, 0.0, False))
    given = inputs(widths, 37, 4)
    with Machine(cpu, graph, weights) as machine:
        want = machine.run(simple_step(37, groups=["kv"]), given)["y"]
        spoiled = {name: np.full((64, width), np.nan, np.float32) for name, width in widths.items()}
        machine.run(simple_step(64, groups=["kv"]), spoiled)
        assert np.array_equal(machine.run(simple_step(37, groups=["kv"]), given)["y"], want)
