"""One case per op and variant, over odd shapes: the data behind the family "op"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halflap.testing.cases import Case, Operand

TOKENS = (1, 2, 3, 17, 33)
Chunks = tuple[tuple[int, ...], ...]


def op_cases() -> Iterator[Case]:
    """Every op of the core table."""
    yield from _elementwise()
    yield from _norms()
    yield from _rope()
    yield from _attention()
    yield from _latent_attention()
    yield from _rows_and_routes()


def case(op: str, variant: str, *operands: Operand | None, chunks: Chunks = ((5,),), **facts: Any) -> Case:
    """A case of one op.

    Args:
        chunks: per step, the tokens that each sequence is fed.
        facts: attributes, kv (storage of K and V), offset (of rotary positions), axes (of positions), wanted (rows),
            read_only (True, or "cross"), reader (of what `keep_rows` stored), emit (tokens whose state is kept),
            resume (sequences go on from what was emitted), ahead (spans of the first step's tokens), given (tokens
            whose row comes from `embeds`).
    """
    facts = {"attributes": {}, "kv": "f32", **facts, "op": op, "operands": operands, "chunks": chunks}
    return Case(f"op/{op}/{variant}", "op", len(variant), facts)


def row(name: str, width: int) -> Operand:
    """An input of one f32 row per token."""
    return Operand(name, ("T", width))


def _elementwise() -> Iterator[Case]:
    for tokens in TOKENS:
        n = 2 * tokens + 61
        yield case("add", f"same-T{tokens}", row("a", n), row("b", n), chunks=((tokens,),))
        yield case("mul", f"same-T{tokens}", row("a", n), row("b", n), chunks=((tokens,),))
    for op in ("add", "mul"):
        yield case(op, "row", row("a", 67), Operand("b", (67,)))
        yield case(op, "weight-row", row("a", 67), Operand("b", (67,), "weight", "F32"))
        yield case(op, "column", row("a", 67), row("b", 1))
        yield case(op, "number", row("a", 67), Operand("b", (1,), "weight", "F32"))
    for activation in ("silu", "gelu", "gelu_tanh", "sigmoid", "relu", "relu2", "softplus"):
        given = {"activation": activation}
        yield case("activate", activation, row("x", 131), attributes=given, chunks=((17,),))
        yield case("glu", activation, row("gate", 131), row("up", 131), attributes=given, chunks=((3,),))
    for activation, limit in (("silu", 0.0), ("silu", 0.7), ("swiglu_oai", 0.7)):
        gated: dict[str, Any] = {"activation": activation, "limit": limit}
        yield case("glu", f"{activation}-limit-{limit}", row("gate", 67), row("up", 67), attributes=gated)
        yield case("glu", f"{activation}-limit-{limit}-in-one", row("gate", 66), None, attributes=gated, chunks=((3,),))
    yield case("scale", "by-0.37", row("x", 35), attributes={"factor": 0.37})
    yield case("softcap", "at-1.5", row("x", 35), attributes={"cap": 1.5})
    yield case("softcap", "at-30", row("x", 35), attributes={"cap": 30.0})
    for offset in (0, 1):
        growth = {"beta": 0.1, "period": 7, "offset": offset}
        yield case("position_scale", f"period-7-{offset}", row("x", 48), attributes=growth, chunks=((17,), (3,)))


def _norms() -> Iterator[Case]:
    for tokens, head, groups in ((1, 64, 1), (2, 16, 7), (3, 80, 3), (17, 128, 5), (33, 33, 1), (3, 20, 4)):
        weight = Operand("weight", (head,), "weight", "F32")
        given = {"eps": 1e-6, "groups": groups}
        yield case("rms_norm", f"T{tokens}-{groups}x{head}", row("x", head * groups), weight, attributes=given,
                    chunks=((tokens,),))  # fmt: skip
        both = weight, Operand("bias", (head,), "weight", "F32")
        yield case("layer_norm", f"T{tokens}-{groups}x{head}", row("x", head * groups), *both, attributes=given,
                    chunks=((tokens,),))  # fmt: skip
    each = Operand("weight", (3, 35), "weight", "F32")
    yield case("layer_norm", "one-each", row("x", 105), each, None, attributes={"eps": 1e-5, "groups": 3})
    yield case("layer_norm", "no-weight", row("x", 96), None, None, attributes={"eps": 0.5, "groups": 2})
    weight = Operand("weight", (3, 20), "weight", "F32")
    yield case("rms_norm", "weight-per-group", row("x", 60), weight, attributes={"eps": 1e-6, "groups": 3})
    yield case("rms_norm", "no-weight", row("x", 96), None, attributes={"eps": 1e-5, "groups": 2})
    for block in (1, 2, 64):
        yield case("hadamard", f"block-{block}", row("x", 3 * block), attributes={"block": block}, chunks=((17,),))
    yield case("rms_norm", "large-eps", row("x", 96), None, attributes={"eps": 0.5})


def _rope() -> Iterator[Case]:
    for layout in ("interleaved", "half"):
        for head_dim, heads, pairs in ((16, 3, 8), (20, 1, 10), (32, 5, 8), (80, 2, 40), (128, 3, 64), (80, 1, 16)):
            given: dict[str, Any] = {"head_dim": head_dim, "layout": layout, "frequencies": frequencies(pairs)}
            partial = "-partial" if 2 * pairs < head_dim else ""
            x = row("x", heads * head_dim)
            yield case("rope", f"{layout}-{heads}x{head_dim}{partial}", x, None, attributes=given,
                        chunks=((3, 2), (1, 17)))  # fmt: skip
            given = {**given, "axes": tuple(i % 3 for i in range(pairs))}
            for axes in (1, 3, 4):
                yield case("rope", f"{layout}-{heads}x{head_dim}{partial}-axes-{axes}", x, None, attributes=given,
                           chunks=((3, 2),), axes=axes)  # fmt: skip
        given = {"head_dim": 32, "layout": layout, "frequencies": frequencies(12), "magnitude": 1.19}
        factors = Operand("factors", (12,), "weight", "F32", "positive")
        yield case("rope", f"{layout}-factors-magnitude", row("x", 96), factors, attributes=given, chunks=((33,),))
        longer = Operand("long_factors", (12,), "weight", "F32", "positive")
        for long_from in (0, 1 << 20):
            yield case("rope", f"{layout}-long-from-{long_from}", row("x", 96), factors, longer,
                       attributes={**given, "long_from": long_from}, chunks=((33,),))  # fmt: skip
        given = {"head_dim": 20, "layout": layout, "frequencies": tuple(-f for f in frequencies(8)), "every": 4}
        yield case("rope", f"{layout}-every-4-backwards", row("x", 60), None, attributes=given, chunks=((17, 3), (5,)))
        given = {"head_dim": 40, "layout": layout, "frequencies": frequencies(8), "offset": 17}
        yield case("rope", f"{layout}-offset", row("x", 120), None, attributes=given, chunks=((17,),))
        given = {"head_dim": 32, "layout": layout, "frequencies": frequencies(12), "magnitude": 1.19}
        yield case("rope", f"{layout}-far", row("x", 96), None, attributes=given, chunks=((17,),), offset=40_000)


def frequencies(pairs: int) -> tuple[float, ...]:
    return tuple(float(10_000.0 ** (-i / pairs)) for i in range(pairs))


def _attention() -> Iterator[Case]:
    shapes = ((1, 1, 16, 16), (3, 3, 32, 32), (6, 2, 20, 20), (5, 1, 80, 80), (4, 2, 128, 128), (7, 7, 16, 32))
    for heads, kv_heads, head_dim, v_head_dim in shapes:
        for kv in ("f16", "f32"):
            yield attend(f"{heads}over{kv_heads}-{head_dim}x{v_head_dim}-{kv}", heads, kv_heads, head_dim, v_head_dim,
                          chunks=((33, 2), (1, 3), (2, 17)), kv=kv)  # fmt: skip
    for tokens in TOKENS:
        yield attend(f"T{tokens}", 4, 2, 32, 32, chunks=((tokens,), (1,)))
    for window in (1, 5, 32, 40):
        yield attend(f"window-{window}", 4, 2, 16, 16, chunks=((33, 3), (17, 1), (1, 33), (1, 1)), window=window)
        yield attend(f"chunked-{window}", 4, 2, 16, 16, chunks=((33, 3), (17, 1), (1, 33), (1, 1)), window=window,
                     window_kind="chunked")  # fmt: skip
    for kv in ("bf16", "q8_0", "q4_0"):
        yield attend(f"stored-{kv}", 6, 2, 32, 64, chunks=((33, 2), (1, 17), (2, 1)), kv=kv)
        yield attend(f"stored-{kv}-window", 3, 1, 64, 32, chunks=((40, 1), (1, 33)), kv=kv, window=7)
    long = (*[(60, 1)] * 5, (1, 3))  # past whatever stretch of keys a device takes at once
    yield attend("long", 4, 2, 16, 16, chunks=long, kv="f16")
    yield attend("long-window", 4, 1, 16, 16, chunks=long, kv="f16", window=270)
    yield attend("long-chunked", 4, 1, 16, 16, chunks=long, kv="f16", window=100, window_kind="chunked")
    yield attend("softcap", 4, 2, 16, 16, chunks=((17,), (3,)), softcap=2.5)
    yield attend("sinks", 6, 2, 16, 16, chunks=((17, 1), (1, 3)), sinks=True)
    yield attend("sinks-window-softcap", 6, 3, 20, 20, chunks=((33, 1), (3, 3)), sinks=True, window=7, softcap=4.0)
    yield attend("read-only", 4, 2, 32, 32, chunks=((33, 2), (1, 17)), read_only=True)
    yield attend("cross", 4, 2, 32, 32, chunks=((33, 2), (1, 17)), read_only="cross", sinks=True)
    yield attend("long-cross", 4, 2, 16, 20, chunks=(*[(60, 1)] * 5, (1, 3)), read_only="cross")
    for buckets in ((0,), (3, 0, 1), (*range(5), *(0,) * 90, *range(4)), (*[1, 2] * 50, 4, *[0] * 100)):
        for window in (0, 7):
            yield attend(f"bias-{len(buckets)}-window-{window}", 6, 2, 20, 33, chunks=((33, 2), (1, 17), (40, 1)),
                         window=window, buckets=buckets)  # fmt: skip
    yield attend("slopes", 6, 2, 20, 33, chunks=((33, 2), (1, 17), (40, 1)), slopes=tuple(0.3 / 2**i for i in range(6)))
    yield attend("long-slopes", 2, 2, 16, 16, chunks=(*[(60, 1)] * 5, (1, 3)), slopes=(0.01, 0.002), sinks=True)
    yield attend("scale-0.3", 2, 1, 16, 16, chunks=((17,),), scale=0.3)


def attend(
    variant: str,
    heads: int,
    kv_heads: int,
    head_dim: int,
    v_head_dim: int,
    *,
    chunks: Chunks,
    sinks: bool = False,
    kv: str = "f32",
    read_only: bool | str = False,
    ahead: tuple[tuple[int, int], ...] = (),
    **attributes: Any,
) -> Case:
    given = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "v_head_dim": v_head_dim,
             "scale": head_dim**-0.5, **attributes}  # fmt: skip
    operands = [row("q", heads * head_dim), row("k", kv_heads * head_dim), row("v", kv_heads * v_head_dim),
                Operand("sinks", (heads,), "weight", "F32") if sinks else None,
                Operand("bias", (5, heads), "weight", "F32") if attributes.get("buckets") else None]  # fmt: skip
    return case("attention", variant, *operands, attributes=given, chunks=chunks, kv=kv, read_only=read_only,
                ahead=ahead)  # fmt: skip


def _latent_attention() -> Iterator[Case]:
    for heads, plain, rotated, rank, v_head_dim in (
        (4, 8, 8, 16, 12),
        (1, 5, 6, 7, 3),
        (16, 32, 16, 64, 33),
        (3, 16, 32, 96, 20),
    ):
        for kv in ("f16", "f32"):
            variant = f"{heads}x{plain}+{rotated}-over-{rank}-to-{v_head_dim}-{kv}"
            yield latent(variant, heads, plain, rotated, rank, v_head_dim, chunks=((33, 2), (1, 3), (2, 17)), kv=kv)
    for kv in ("bf16", "q8_0", "q4_0"):
        yield latent(f"stored-{kv}", 6, 16, 32, 64, 24, chunks=((33, 2), (1, 17), (2, 1)), kv=kv)
    yield latent("long", 6, 16, 8, 32, 24, chunks=(*[(60, 1)] * 5, (1, 3)), kv="f16")
    yield latent("chosen", 6, 16, 32, 64, 24, chunks=((33, 2), (1, 3), (2, 17)), chosen=5)
    yield latent("chosen-q8_0", 3, 16, 32, 96, 20, chunks=((33, 2), (1, 3), (2, 17)), chosen=40, kv="q8_0")
    yield latent("read-only", 4, 8, 8, 16, 12, chunks=((33, 2), (1, 17)), read_only=True)


def latent(
    variant: str, heads: int, plain: int, rotated: int, rank: int, v_head_dim: int, *, chunks: Chunks,
    chosen: int = 0, **facts: Any,
) -> Case:  # fmt: skip
    """A case of `latent_attention`; `chosen`: how many of the first places a token sees."""
    given = {"heads": heads, "plain_dim": plain, "rotated_dim": rotated, "rank": rank, "v_head_dim": v_head_dim,
             "scale": (plain + rotated) ** -0.5}  # fmt: skip
    operands = (row("q", heads * (plain + rotated)), row("key", rotated), row("latent", rank),
                Operand("k_up", (heads, rank, plain), "weight", "F32"),
                Operand("v_up", (heads, v_head_dim, rank), "weight", "F32"),
                Operand("chosen", ("T", chosen), dtype="i32", draw="first rows") if chosen else None)  # fmt: skip
    return case("latent_attention", variant, *operands, attributes=given, chunks=chunks, **facts)


def _rows_and_routes() -> Iterator[Case]:
    ids = Operand("ids", ("T",), dtype="i32")
    rows = Operand("rows", ("R",), dtype="i32")
    table = Operand("table", (53, 65), "weight", "F32")
    yield case("add_positions", "F32", row("x", 65), table, chunks=((17, 3), (1, 33)))
    for same in (0, 2):
        few = Operand("table", (3, 65), "weight", "F32")
        yield case("add_positions", f"row-{same}", row("x", 65), few, attributes={"row": same}, chunks=((17, 3),))
    yield case("embed", "F32", ids, Operand("table", (37, 65), "weight", "F32"), chunks=((17,),))
    for wanted in ((), (4,), (0, 2, 4), (4, 0, 4)):
        yield case("take", f"rows-{'-'.join(map(str, wanted)) or 'none'}", row("x", 35), rows, wanted=wanted)
    experts_of = Operand("experts_of", (37, 3), "weight", "F32", "experts:9")
    for gating in ("softmax", "sqrt_softplus"):
        given = {"gating": gating, "used": 3, "normalize": True, "scale": 1.5}
        yield case("route", f"by-id-{gating}", row("logits", 9), None, None, ids, experts_of, attributes=given,
                   chunks=((17, 2), (1,)))  # fmt: skip
    for gating in ("softmax", "sigmoid", "sqrt_softplus", "softmax_chosen"):
        for experts, used in ((8, 2), (60, 4), (5, 5), (7, 1)):
            for bias in (None, Operand("bias", (experts,), "weight", "F32")):
                variant = f"{gating}-{used}of{experts}{'-bias' if bias else ''}"
                given = {"gating": gating, "used": used, "normalize": used == 2, "scale": 1.0 if used < 4 else 2.5}
                yield case("route", variant, row("logits", experts), bias, attributes=given, chunks=((17,),))
    bias, scales = (Operand(name, (24,), "weight", "F32", "positive") for name in ("bias", "scales"))
    for gating, best in (("sigmoid", 2), ("softmax", 1)):
        given = {"gating": gating, "used": 5, "groups": 6, "groups_used": 2, "group_best": best, "normalize": True}
        yield case("route", f"groups-{gating}", row("logits", 24), None, None, attributes=given, chunks=((33,),))
        yield case("route", f"groups-bias-{gating}", row("logits", 24), bias, None, attributes=given, chunks=((33,),))
        given = given | {"used": 3, "groups_used": 6}
        yield case("route", f"scales-{gating}", row("logits", 24), None, scales, attributes=given, chunks=((17,),))
    given = {"used": 4, "groups": 3, "groups_used": 2}
    yield case("route", "group-ties", Operand("logits", ("T", 9), draw="ties"), None, attributes=given, chunks=((33,),))
    given = {"used": 3}
    yield case("route", "ties", Operand("logits", ("T", 9), draw="ties"), None, attributes=given, chunks=((17,),))
    for tokens in TOKENS:
        weight = Operand("weight", (2 * tokens + 3, 67), "weight", "F32")
        yield case("linear", f"F32-T{tokens}", row("x", 67), weight, None, chunks=((tokens,),))
    bias = Operand("bias", (19,), "weight", "F32")
    yield case("linear", "bias", row("x", 67), Operand("weight", (19, 67), "weight", "F32"), bias)
    for tokens, experts, used in ((1, 4, 2), (3, 8, 8), (17, 5, 1), (33, 6, 3)):
        yield mixture(f"T{tokens}-{used}of{experts}", tokens, experts, used, 48, 35)
    for tokens in (1, 17):
        yield mixture(f"biases-T{tokens}", tokens, 5, 2, 48, 35, biases=True, activation="swiglu_oai", limit=0.7)
        yield mixture(f"in-one-T{tokens}", tokens, 5, 2, 48, 35, gated="in one")
        yield mixture(f"in-one-biases-T{tokens}", tokens, 5, 2, 33, 20, gated="in one", biases=True)
        yield mixture(f"not-gated-T{tokens}", tokens, 5, 2, 48, 35, gated="not", biases=True, activation="relu2")
        yield mixture(f"weighed-input-T{tokens}", tokens, 5, 2, 48, 35, biases=True, weigh_input=True)


def mixture(
    variant: str, tokens: int, experts: int, used: int, width: int, hidden: int, gated: str = "apart",
    biases: bool = False, **attributes: Any,
) -> Case:  # fmt: skip
    """A case of `moe`; `gated`: the gate's matrix lies "apart", "in one" with up, or does "not" exist."""
    rows = 2 * hidden if gated == "in one" else hidden
    matrices = (("gate", (hidden, width)), ("up", (rows, width)), ("down", (width, hidden)))
    weights = {name: Operand(name, (experts, *shape), "weight", "F32") for name, shape in matrices}
    shifts = {f"{name}_bias": Operand(f"{name}_bias", (experts, shape[0]), "weight", "F32") for name, shape in matrices}
    given = (weights | shifts if biases else weights) | ({} if gated == "apart" else {"gate": None, "gate_bias": None})
    return case(
        "moe", variant, row("x", width), Operand("experts", ("T", used), dtype="i32", draw=f"experts:{experts}"),
        Operand("shares", ("T", used), draw="positive"), *given.values(), chunks=((tokens,),),
        attributes={"activation": "gelu_tanh" if used == 1 else "silu", **attributes},
    )  # fmt: skip
