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
    yield from _rows_and_routes()


def _case(op: str, variant: str, *operands: Operand | None, chunks: Chunks = ((5,),), **facts: Any) -> Case:
    facts = {"attributes": {}, "kv": "f32", **facts, "op": op, "operands": operands, "chunks": chunks}
    return Case(f"op/{op}/{variant}", "op", len(variant), facts)


def _x(width: int, name: str = "x") -> Operand:
    return Operand(name, ("T", width))


def _elementwise() -> Iterator[Case]:
    for tokens in TOKENS:
        n = 2 * tokens + 61
        yield _case("add", f"same-T{tokens}", _x(n, "a"), _x(n, "b"), chunks=((tokens,),))
        yield _case("mul", f"same-T{tokens}", _x(n, "a"), _x(n, "b"), chunks=((tokens,),))
    for op in ("add", "mul"):
        yield _case(op, "row", _x(67, "a"), Operand("b", (67,)))
        yield _case(op, "weight-row", _x(67, "a"), Operand("b", (67,), "weight", "F32"))
        yield _case(op, "column", _x(67, "a"), _x(1, "b"))
    for activation in ("silu", "gelu_tanh", "sigmoid", "relu"):
        given = {"activation": activation}
        yield _case("activate", activation, _x(131), attributes=given, chunks=((17,),))
        yield _case("glu", activation, _x(131, "gate"), _x(131, "up"), attributes=given, chunks=((3,),))
    yield _case("scale", "by-0.37", _x(35), attributes={"factor": 0.37})
    yield _case("softcap", "at-1.5", _x(35), attributes={"cap": 1.5})
    yield _case("softcap", "at-30", _x(35), attributes={"cap": 30.0})
    yield _case("position_scale", "period-7", _x(48), attributes={"beta": 0.1, "period": 7}, chunks=((17,), (3,)))


def _norms() -> Iterator[Case]:
    for tokens, head, groups in ((1, 64, 1), (2, 16, 7), (3, 80, 3), (17, 128, 5), (33, 33, 1), (3, 20, 4)):
        weight = Operand("weight", (head,), "weight", "F32")
        given = {"eps": 1e-6, "groups": groups}
        yield _case("rms_norm", f"T{tokens}-{groups}x{head}", _x(head * groups), weight, attributes=given,
                    chunks=((tokens,),))  # fmt: skip
    yield _case("rms_norm", "no-weight", _x(96), None, attributes={"eps": 1e-5, "groups": 2})
    yield _case("rms_norm", "large-eps", _x(96), None, attributes={"eps": 0.5})


def _rope() -> Iterator[Case]:
    for layout in ("interleaved", "half"):
        for head_dim, heads, pairs in ((16, 3, 8), (20, 1, 10), (32, 5, 8), (80, 2, 40), (128, 3, 64), (80, 1, 16)):
            given: dict[str, Any] = {"head_dim": head_dim, "layout": layout, "frequencies": _frequencies(pairs)}
            partial = "-partial" if 2 * pairs < head_dim else ""
            yield _case("rope", f"{layout}-{heads}x{head_dim}{partial}", _x(heads * head_dim), None, attributes=given,
                        chunks=((3, 2), (1, 17)))  # fmt: skip
        given = {"head_dim": 32, "layout": layout, "frequencies": _frequencies(12), "magnitude": 1.19}
        factors = Operand("factors", (12,), "weight", "F32", "positive")
        yield _case("rope", f"{layout}-factors-magnitude", _x(96), factors, attributes=given, chunks=((33,),))
        yield _case("rope", f"{layout}-far", _x(96), None, attributes=given, chunks=((17,),), offset=40_000)


def _frequencies(pairs: int) -> tuple[float, ...]:
    return tuple(float(10_000.0 ** (-i / pairs)) for i in range(pairs))


def _attention() -> Iterator[Case]:
    shapes = ((1, 1, 16, 16), (3, 3, 32, 32), (6, 2, 20, 20), (5, 1, 80, 80), (4, 2, 128, 128), (7, 7, 16, 32))
    for heads, kv_heads, head_dim, v_head_dim in shapes:
        for kv in ("f16", "f32"):
            yield _attend(f"{heads}over{kv_heads}-{head_dim}x{v_head_dim}-{kv}", heads, kv_heads, head_dim, v_head_dim,
                          chunks=((33, 2), (1, 3), (2, 17)), kv=kv)  # fmt: skip
    for tokens in TOKENS:
        yield _attend(f"T{tokens}", 4, 2, 32, 32, chunks=((tokens,), (1,)))
    for window in (1, 5, 32, 40):
        yield _attend(f"window-{window}", 4, 2, 16, 16, chunks=((33, 3), (17, 1), (1, 33), (1, 1)), window=window)
    yield _attend("softcap", 4, 2, 16, 16, chunks=((17,), (3,)), softcap=2.5)
    yield _attend("sinks", 6, 2, 16, 16, chunks=((17, 1), (1, 3)), sinks=True)
    yield _attend("sinks-window-softcap", 6, 3, 20, 20, chunks=((33, 1), (3, 3)), sinks=True, window=7, softcap=4.0)
    yield _attend("read-only", 4, 2, 32, 32, chunks=((33, 2), (1, 17)), read_only=True)
    yield _attend("scale-0.3", 2, 1, 16, 16, chunks=((17,),), scale=0.3)


def _attend(
    variant: str,
    heads: int,
    kv_heads: int,
    head_dim: int,
    v_head_dim: int,
    *,
    chunks: Chunks,
    sinks: bool = False,
    kv: str = "f32",
    read_only: bool = False,
    **attributes: Any,
) -> Case:
    given = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "v_head_dim": v_head_dim,
             "scale": head_dim**-0.5, **attributes}  # fmt: skip
    operands = [_x(heads * head_dim, "q"), _x(kv_heads * head_dim, "k"), _x(kv_heads * v_head_dim, "v"),
                Operand("sinks", (heads,), "weight", "F32") if sinks else None]  # fmt: skip
    return _case("attention", variant, *operands, attributes=given, chunks=chunks, kv=kv, read_only=read_only)


def _rows_and_routes() -> Iterator[Case]:
    ids = Operand("ids", ("T",), dtype="i32")
    rows = Operand("rows", ("R",), dtype="i32")
    yield _case("embed", "F32", ids, Operand("table", (37, 65), "weight", "F32"), chunks=((17,),))
    for wanted in ((), (4,), (0, 2, 4), (4, 0, 4)):
        yield _case("take", f"rows-{'-'.join(map(str, wanted)) or 'none'}", _x(35), rows, wanted=wanted)
    for gating in ("softmax", "sigmoid", "softmax_chosen"):
        for experts, used in ((8, 2), (60, 4), (5, 5), (7, 1)):
            for bias in (None, Operand("bias", (experts,), "weight", "F32")):
                variant = f"{gating}-{used}of{experts}{'-bias' if bias else ''}"
                given = {"gating": gating, "used": used, "normalize": used == 2, "scale": 1.0 if used < 4 else 2.5}
                yield _case("route", variant, _x(experts, "logits"), bias, attributes=given, chunks=((17,),))
    given = {"used": 3}
    yield _case("route", "ties", Operand("logits", ("T", 9), draw="ties"), None, attributes=given, chunks=((17,),))
    for tokens in TOKENS:
        yield _case("linear", f"F32-T{tokens}", _x(67), Operand("weight", (2 * tokens + 3, 67), "weight", "F32"), None,
                    chunks=((tokens,),))  # fmt: skip
    bias = Operand("bias", (19,), "weight", "F32")
    yield _case("linear", "bias", _x(67), Operand("weight", (19, 67), "weight", "F32"), bias)
    for tokens, experts, used in ((1, 4, 2), (3, 8, 8), (17, 5, 1), (33, 6, 3)):
        yield _case(
            "moe", f"T{tokens}-{used}of{experts}", _x(48),
            Operand("experts", ("T", used), dtype="i32", draw=f"experts:{experts}"),
            Operand("shares", ("T", used), draw="positive"),
            *(Operand(n, (experts, *shape), "weight", "F32") for n, shape in
              (("gate", (35, 48)), ("up", (35, 48)), ("down", (48, 35)))),
            chunks=((tokens,),), attributes={"activation": "gelu_tanh" if used == 1 else "silu"},
        )  # fmt: skip
