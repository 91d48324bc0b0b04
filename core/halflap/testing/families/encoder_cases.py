"""Cases of the ops of encoders, and of what images ask of decoders: rows instead of ids, spans that look ahead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halflap.testing.cases import Case, Operand
from halflap.testing.families.op_cases import attend, case, row


def encoder_cases() -> Iterator[Case]:
    for heads, kv_heads, head_dim, v_head_dim in ((1, 1, 16, 16), (6, 2, 20, 33), (5, 1, 72, 72), (4, 4, 64, 64)):
        yield encode(f"{heads}over{kv_heads}-{head_dim}x{v_head_dim}", heads, kv_heads, head_dim, v_head_dim)
    for window in (1, 2, 7, 33):
        yield encode(f"window-{window}", 4, 2, 16, 16, window=window)
    for window, buckets in (
        (0, (0,)),
        (0, (3, 0, 1)),
        (7, (2, 3, 1, 0, 0, 1, 4)),
        (0, (*range(5), *(0,) * 90, *range(4))),
    ):
        yield encode(f"bias-{len(buckets)}-window-{window}", 6, 2, 20, 33, window, buckets)
    for heads, kv_heads, head_dim, v_head_dim in ((1, 1, 16, 16), (6, 2, 20, 33)):
        dims = {"head_dim": head_dim, "v_head_dim": v_head_dim}
        kept = row("x", heads * head_dim), row("k", kv_heads * head_dim), row("v", kv_heads * v_head_dim)
        yield case("keep_rows", f"{heads}over{kv_heads}-{head_dim}x{v_head_dim}", *kept, attributes=dims,
                   chunks=((33, 1, 17), (3, 4)), reader={"heads": heads, "kv_heads": kv_heads, **dims})  # fmt: skip
    low, high = (Operand(name, (1,), "weight", "F32") for name in ("low", "high"))
    for width, tokens in ((67, 5), (1, 33), (16, 1)):
        yield case("clamp", f"{width}", row("x", width), low, high, chunks=((tokens,),))
    for count in (1, 3, 4):
        wanted = tuple(range(12 // count))
        by = {"count": count}
        yield case("mean_rows", f"by-{count}", row("x", 35), attributes=by, chunks=((12,),), wanted=wanted)
        for interleaved in (False, True):
            joined: dict[str, Any] = {**by, "interleaved": interleaved}
            variant = f"by-{count}{'-interleaved' if interleaved else ''}"
            yield case("join_rows", variant, row("x", 35), attributes=joined, chunks=((12,),), wanted=wanted)
    ids, table = Operand("ids", ("T",), dtype="i32"), Operand("table", (37, 20), "weight", "F32")
    embeds = Operand("embeds", ("T", 65))
    given = (0, 2, 3, 9)
    yield case("embed", "scaled", ids, table, attributes={"scale": 3.5}, chunks=((11,),))
    for column in (0, 45):
        yield case("embed", f"given-from-{column}", ids, table, embeds, attributes={"scale": 3.5, "column": column},
                   chunks=((11,),), given=given)  # fmt: skip
    yield case(
        "embed", "given-alone", ids, None, embeds, attributes={"column": 5, "width": 33}, chunks=((11,),), given=given
    )
    yield case("embed", "blank", ids, table, attributes={"blank": 7, "scale": 2.0}, chunks=((11,),), given=given)
    for window in (0, 7):
        for chunks, spans in ((((20, 9), (3, 17)), ((2, 13), (13, 16), (20, 29))), (((33, 1), (40, 3)), ((0, 33),))):
            yield attend(f"spans-{len(spans)}-window-{window}", 4, 2, 16, 16, chunks=chunks, window=window, spans=True,
                         ahead=spans)  # fmt: skip
    yield attend("no-spans", 4, 2, 16, 16, chunks=((20, 9), (3, 17)), spans=True)


def encode(
    variant: str,
    heads: int,
    kv_heads: int,
    head_dim: int,
    v_head_dim: int,
    window: int = 0,
    buckets: tuple[int, ...] = (),
) -> Case:
    """A case of `self_attention` over sequences of several lengths."""
    given: dict[str, Any] = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "v_head_dim": v_head_dim,
                             "scale": head_dim**-0.5, "window": window, "buckets": buckets}  # fmt: skip
    bias = Operand("bias", (5, heads), "weight", "F32") if buckets else None
    operands = row("q", heads * head_dim), row("k", kv_heads * head_dim), row("v", kv_heads * v_head_dim), bias
    return case("self_attention", variant, *operands, attributes=given, chunks=((33, 1, 17), (1,), (60, 4)))
