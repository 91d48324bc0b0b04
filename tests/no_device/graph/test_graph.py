from __future__ import annotations

import numpy as np
import pytest

from halflap.architectures.keys import Keys
from halflap.architectures.rotary import interleaved_axes
from halflap.errors import ModelFormatError, NotRegisteredError, PlanError
from halflap.graph import ops, recurrent
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.passes import split


def small(layers: int = 3) -> Graph:
    """A model of nothing but attention."""
    g = GraphBuilder("small", {"table": ("F32", (11, 8)), "w": ("F32", (8, 8)), "head": ("F32", (11, 8))})
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("table"))
    for i in range(layers):
        g.segment(f"layer.{i}")
        q = g.linear(x, g.weight("w"))
        h = g.attention(q, q, x, heads=2, kv_heads=2, head_dim=4, v_head_dim=4, scale=0.5, **g.state_layer("kv", 8, 8))
        x = g.add(x, h)
    g.segment("head")
    g.output(g.linear(g.take(x, rows), g.weight("head")), "logits")
    return g.finish()


def test_dump_shows_every_op_with_types() -> None:
    text = small().dump()
    assert "state kv: 3 layers" in text
    assert "logits: f32[R, 11] = linear(" in text
    assert text.count("attention(") == 3


def test_digest_changes_with_the_graph_only() -> None:
    assert small().digest() == small().digest() != small(2).digest()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda g, x: g.linear(x, g.weight("odd")), "equal last dimensions"),
        (lambda g, x: g.rms_norm(x, None, eps=1e-6, groups=3), "groups"),
        (lambda g, x: g.rms_norm(x), "no attribute 'eps'"),
        (lambda g, x: g.scale(x, factor=2.0, colour=1), "colour"),
        (lambda g, x: g.add(x, g.weight("odd")), "equal shapes"),
        (lambda g, x: g.rope(x, None, head_dim=8, frequencies=(1.0,) * 5, layout="half"), "pairs"),
        (lambda g, x: g.rope(x, None, head_dim=8, frequencies=(1.0,), layout="spiral"), "spiral"),
        (lambda g, x: g.weight("absent"), "absent"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_when_it_is_written(wrong, message: str) -> None:  # type: ignore[no-untyped-def]
    g = GraphBuilder("x", {"odd": ("F32", (3, 5))})
    g.segment("a")
    x = g.input("x", "f32", "T", 8)
    with pytest.raises(ModelFormatError, match=message):
        wrong(g, x)


def test_an_unknown_op_is_named() -> None:
    with pytest.raises(NotRegisteredError, match="atention"):
        GraphBuilder("x", {}).atention  # noqa: B018


def test_every_op_has_a_definition_and_documented_inputs() -> None:
    for op in (*ops.TABLE, *recurrent.TABLE):
        code = op.meaning().__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        expected = (["context"] if op.context else []) + [n.removesuffix("?") for n in op.inputs] + list(op.attributes)
        assert list(names) == expected, op.name


@pytest.mark.parametrize("cut", [[0] * 12, [0] * 4 + [1] * 8, [0, 1] * 6, [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]])
def test_stages_pass_on_exactly_what_later_ones_need(cut: list[int]) -> None:
    graph = small()
    stages = split(graph, cut)
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.receives) <= seen
        assert all(stage.graph.values[name].kind == "input" for name in stage.receives)
        seen |= set(stage.sends)
    assert "logits" in seen
    assert sum(len(list(stage.graph.nodes())) for stage in stages) == 12
    for stage in stages:
        for node in stage.graph.nodes():
            if node.op == "attention":
                assert node.attributes["layer"] < len(stage.graph.group("kv").layers)


def test_state_cannot_be_parted_from_its_reader() -> None:
    g = GraphBuilder("x", {})
    g.segment("a")
    x = g.input("x", "f32", "T", 8)
    state = g.state_layer("kv", 8, 8)
    facts = {"heads": 2, "kv_heads": 2, "head_dim": 4, "v_head_dim": 4, "scale": 1.0, **state}
    y = g.attention(x, x, x, **facts)
    g.output(g.attention(y, None, None, **facts), "out")
    with pytest.raises(PlanError, match="two devices"):
        split(g.finish(), [0, 1])


@pytest.mark.parametrize("kind", ["sliding", "chunked"])
def test_reference_attention_equals_a_loop_over_scalars(kind: str) -> None:
    from halflap.graph.reference import attention
    from halflap.graph.step import GroupStep, Step

    rng = np.random.default_rng(3)
    heads, kv_heads, d, count, window, cap = 4, 2, 5, 11, 4, 3.0
    q, k, v = (rng.standard_normal((count, n * d)).astype(np.float32) for n in (heads, kv_heads, kv_heads))
    sinks = rng.standard_normal(heads).astype(np.float32)

    class Rows:
        def write(self, blocks, places, k, v) -> None:  # type: ignore[no-untyped-def]
            self.k, self.v = k, v

        def read(self, blocks):  # type: ignore[no-untyped-def]
            return self.k, self.v

    class Context:
        def layer(self, group: str, layer: int) -> Rows:
            return rows

    rows, context = Rows(), Context()
    ints = lambda *x: np.array(x, np.int32)  # noqa: E731
    index = np.arange(count, dtype=np.int32)
    table = GroupStep(ints(0, 1), ints(0), ints(0), ints(count))
    context.step = Step(ints(*range(count)), index, index[None], ints(0, count), ints(0), {"kv": table})  # type: ignore[attr-defined]
    found = attention(
        context, q, k, v, sinks, None, heads=heads, kv_heads=kv_heads, head_dim=d, v_head_dim=d, scale=0.3, group="kv",
        layer=0, window=window, window_kind=kind, softcap=cap, spans=False, buckets=(), slopes=(), cross=False,
    )  # type: ignore[arg-type]  # fmt: skip
    for t in range(count):
        for h in range(heads):
            g = h // (heads // kv_heads)
            seen = range(t // window * window if kind == "chunked" else max(0, t - window + 1), t + 1)
            scores = []
            for s in seen:
                dot = sum(float(q[t, h * d + i]) * float(k[s, g * d + i]) for i in range(d))
                scores.append(cap * np.tanh(dot * 0.3 / cap))
            weights = np.exp(np.array([*scores, float(sinks[h])]))
            weights /= weights.sum()
            for i in range(d):
                want = sum(w * float(v[s, g * d + i]) for w, s in zip(weights, seen, strict=False))
                assert abs(found[t, h * d + i] - want) < 1e-5


def test_layers_of_slots_follow_their_ops_when_a_graph_is_cut() -> None:
    g = GraphBuilder("x", {"w": ("F32", (8, 4))})
    x = g.input("x", "f32", "T", 8)
    for layer in range(4):
        g.segment(f"layer.{layer}")
        x = g.conv_state(x, g.weight("w"), **g.slot_layer("recurrent", 24))
    g.output(x, "out")
    graph = g.finish()
    assert "state recurrent: 4 layers, slots" in graph.dump()
    first, second = split(graph, [0, 0, 0, 1])
    assert [len(stage.graph.group("recurrent").layers) for stage in (first, second)] == [3, 1]
    assert second.graph.group("recurrent").kind == "slots"
    assert [node.attributes["layer"] for node in second.graph.nodes()] == [0]


def test_a_group_is_of_one_kind() -> None:
    g = GraphBuilder("x", {})
    g.state_layer("kv", 8, 8)
    with pytest.raises(ModelFormatError, match="kv"):
        g.slot_layer("kv", 8)


@pytest.mark.parametrize("width", [24, 17])
def test_an_axis_turns_only_its_own_pairs(width: int) -> None:
    """Interleaved sections: pairs of height and width take turns with time until their section is full."""
    keys = Keys("a", {"a.rope.dimension_sections": [4, 2, 2, 0]}, {})
    assert interleaved_axes(keys, width) == (0, 1, 2, 0, 1, 2, 0, 0, 0, 0, 0, 0)[: width // 2]
