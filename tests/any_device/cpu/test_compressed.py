"""Rows that stand for several tokens, and rows of source texts: where they lie, who may read them, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import halflap
from halflap.errors import DeviceError
from halflap.graph.ir import Graph
from halflap.graph.step import Copy, GroupStep, Limits, Step
from halflap.testing.rig import Rig, Tables, ints
from tests.any_device.cpu.kit import builder, f32_weight, relative

WIDTH, HEADS, COUNT = 32, 2, 3


def graph(rate: int, *, chosen: bool = False) -> Graph:
    """One attention over rows of a window of 8 and rows of `rate` tokens."""
    g = builder([])
    g.segment("all")
    q, row, far = g.input("q", "f32", "T", HEADS * WIDTH), g.input("row", "f32", "T", WIDTH), None
    far = g.input("far", "f32", "T", WIDTH)
    which = g.input("chosen", "i32", "T", COUNT) if chosen else None
    state = g.state_layer("far", 0, WIDTH, rate=rate)
    y = g.compressed_attention(
        q, row, far, which, heads=HEADS, scale=0.2, window=8, rate=rate, far_group=state["group"],
        far_layer=state["layer"], **g.state_layer("near", 0, WIDTH, 8),
    )  # fmt: skip
    g.output(y, "y")
    return g.finish()


def limits(g: Graph, kv: str = "f32", blocks: int = 12, context: int = 512) -> Limits:
    return Limits(64, 4, 64, context, dict.fromkeys((group.name for group in g.groups), blocks), (kv, kv))


def inputs(rng: Any, tokens: int) -> dict[str, Any]:
    widths = {"q": HEADS * WIDTH, "row": WIDTH, "far": WIDTH}
    return {name: rng.standard_normal((tokens, n)).astype(np.float32) for name, n in widths.items()}


@pytest.mark.parametrize("rate", [3, 4, 32, 128])
@pytest.mark.parametrize("kv", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_a_copied_or_moved_block_holds_the_same_rows(cpu: Any, rate: int, kv: str) -> None:
    """A fork by copies goes on with the same bits, and so does a sequence whose blocks left and came back."""
    found = graph(rate)
    for way in ("copies", "export"):
        rng = np.random.default_rng(rate)
        with Rig(cpu, found, {}, limits(found, kv)) as rig:
            tables = Tables(found, limits(found, kv), np.random.default_rng(1), forget=False)
            for n in (60, 60, 37):
                rig.run(tables.step({0: [0] * n}), inputs(rng, n))
            before = {name: list(tables.blocks[name, 0]) for name in ("near", "far")}
            copies = tables.fork(0, 1)
            if way == "export":
                for copy in copies:
                    rows = rig.state.export_block(copy.group, 0, copy.source)
                    rig.state.import_block(copy.group, 0, copy.target, rows)
                copies = []
            x = inputs(rng, 5)
            once = rig.run(tables.step({1: [0] * 5}, copies=copies), x)["y"]
            assert before == {name: tables.blocks[name, 0][: len(held)] for name, held in before.items()}
            again = rig.run(tables.step({0: [0] * 5}), x)["y"]
            if way == "copies" or kv in ("f32", "f16", "bf16"):
                assert np.array_equal(once, again)
            else:
                np.testing.assert_allclose(once, again, atol=0.05)


def test_rows_that_are_not_there_yet_cannot_be_chosen(cpu: Any) -> None:
    found, rng = graph(4, chosen=True), np.random.default_rng(0)
    with Rig(cpu, found, {}, limits(found)) as rig:
        tables = Tables(found, limits(found), rng)
        for wrong in (2, -2, 1 << 30):
            chosen = np.full((9, COUNT), -1, np.int32)
            chosen[8, 1] = wrong
            with pytest.raises(DeviceError, match="chosen row"):
                rig.run(tables.step({0: [0] * 9}), {**inputs(rng, 9), "chosen": chosen})
            tables.release(0)
        chosen[8] = [0, 1, 1]
        rig.run(tables.step({0: [0] * 9}), {**inputs(rng, 9), "chosen": chosen})


def test_a_table_longer_than_the_pool_is_refused_before_scratch_overflows(cpu: Any) -> None:
    """With no context limit the pool bounds what a token may see; a hostile table names one block again and again."""
    found, rng = graph(4), np.random.default_rng(0)
    few = limits(found, blocks=2, context=0)
    with Rig(cpu, found, {}, few) as rig:
        count = 4001
        table = GroupStep(ints([0, 200]), ints([0] * 200), ints([0]), ints([count]))
        near = GroupStep(ints([0, 1]), ints([0]), ints([count // 32 * 32]), ints([count]))
        step = Step(
            ints([0]), ints([count - 1]), ints([[count - 1]]), ints([0, 1]), ints([0]), {"far": table, "near": near}
        )
        with pytest.raises(DeviceError, match="rows of a token"):
            rig.run(step, inputs(rng, 1))


def test_blocks_of_a_rate_begin_at_their_own_multiples(cpu: Any) -> None:
    found, rng = graph(128), np.random.default_rng(0)
    with Rig(cpu, found, {}, limits(found)) as rig:
        step = Tables(found, limits(found), rng).step({0: [0] * 40})
        far = attrs.evolve(step.groups["far"], first_token=ints([32]))
        with pytest.raises(DeviceError, match="first_token"):
            rig.run(attrs.evolve(step, groups={**step.groups, "far": far}), inputs(rng, 40))


def test_a_source_text_must_be_there(cpu: Any) -> None:
    g = builder([])
    g.segment("all")
    q = g.input("q", "f32", "T", 32)
    state = g.state_layer("source", 32, 32)
    g.output(g.attention(q, heads=2, kv_heads=2, head_dim=16, v_head_dim=16, scale=1.0, cross=True, **state), "y")
    found = g.finish()
    x = {"q": np.ones((3, 32), np.float32)}
    with Rig(cpu, found, {}, limits(found)) as rig:
        for first, length in ((0, 0), (32, 40)):
            table = GroupStep(ints([0, 2]), ints([0, 1]), ints([first]), ints([length]))
            step = Step(
                ints([0] * 3), ints(range(700, 703)), ints([range(3)]), ints([0, 3]), ints([]), {"source": table}
            )
            with pytest.raises(DeviceError, match="source text"):
                rig.run(step, x)
        table = GroupStep(ints([0, 2]), ints([0, 1]), ints([0]), ints([40]))  # places of the step are no places there
        assert rig.run(attrs.evolve(step, groups={"source": table}), x)["y"].shape == (3, 32)


def test_experts_by_token_id_are_checked(cpu: Any) -> None:
    for token, expert in ((7, 1.0), (-1, 1.0), (2, 9.0), (2, -1.0), (2, float("nan"))):
        table = np.ones((5, 2), np.float32)
        table[2, 1] = expert
        weights = [f32_weight("table", table)]
        g = builder(weights)
        g.segment("all")
        logits, ids = g.input("logits", "f32", "T", 4), g.input("ids", "i32", "T")
        g.output(g.route(logits, None, None, ids, g.weight("table"), used=2)[0], "y")
        found = g.finish()
        step = Step(ints([token] * 3), ints(range(3)), ints([range(3)]), ints([0, 3]), ints([]), {})
        with Rig(cpu, found, {"table": weights[0]}, limits(found)) as rig, pytest.raises(DeviceError, match="token"):
            rig.run(step, {"logits": np.zeros((3, 4), np.float32)})


def test_rotated_rows_give_the_same_logits(shared: Path) -> None:
    path = shared / "oracle" / "families" / "deepseek4-flash.gguf"
    answers = np.load(path.with_suffix(".npz"))
    with halflap.load(path, devices=["cpu"], kv_type="f32", kv_rotation=True, ctx=512) as model:
        logits = model.logits(answers["tokens"].tolist())
    assert relative(logits, answers["logits_hf"]) < 2e-3


def test_copies_name_blocks_of_their_own_group(cpu: Any) -> None:
    found, rng = graph(4), np.random.default_rng(0)
    with Rig(cpu, found, {}, limits(found)) as rig:
        step = Tables(found, limits(found), rng).step({0: [0] * 4}, copies=[Copy("far", 0, 12)])
        with pytest.raises(DeviceError, match="copy"):
            rig.run(step, inputs(rng, 4))
