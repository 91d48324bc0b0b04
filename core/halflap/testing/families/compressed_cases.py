"""Cases of rows that stand for several tokens, and of residuals in several streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halflap.testing.cases import Case, Operand
from halflap.testing.families.op_cases import Chunks, case, row

CHUNKS: Chunks = ((17, 2), (1, 1), (3, 0, 20), (1, 2, 1), (40, 5, 1))


def compressed_cases() -> Iterator[Case]:
    """Every op of halflap.graph.compression and halflap.graph.streams."""
    for width, rate in ((16, 4), (33, 3), (300, 5), (1, 1), (20, 128)):
        for overlap in (False, True):
            wide = width * (1 + overlap)
            bias = Operand("bias", (rate, wide), "weight", "F32")
            given: dict[str, Any] = {"rate": rate, "overlap": overlap}
            variant = f"{width}-by-{rate}{'-overlap' if overlap else ''}"
            yield case("compress", variant, row("kv", wide), row("gate", wide), bias, attributes=given,
                       chunks=CHUNKS, emit=(0, 2))  # fmt: skip
    yield case("compress", "from-a-snapshot", row("kv", 40), row("gate", 40), Operand("bias", (4, 40), "weight", "F32"),
               attributes={"rate": 4, "overlap": True}, chunks=CHUNKS, emit=(0, 2), resume=True)  # fmt: skip
    for heads, dim, rate, count in ((4, 16, 4, 3), (1, 33, 1, 8), (3, 20, 3, 100), (16, 64, 7, 1), (2, 8, 128, 2)):
        yield select(f"{heads}x{dim}-{count}-by-{rate}", heads, dim, rate, count, chunks=CHUNKS)
    yield select("long", 2, 16, 2, 40, chunks=(*[(60, 1)] * 5, (1, 3)))
    for heads, width, window, rate in ((4, 16, 5, 4), (1, 33, 40, 3), (6, 64, 0, 8), (3, 20, 1, 128), (5, 32, 7, 1)):
        for sinks in (False, True):
            variant = f"{heads}x{width}-window-{window}-by-{rate}{'-sinks' if sinks else ''}"
            yield attend_compressed(variant, heads, width, window, rate, sinks=sinks)
    yield attend_compressed("near-alone", 4, 20, 9, 1, far=False, sinks=True)
    yield attend_compressed("chosen", 4, 32, 6, 2, count=3, sinks=True)
    for kv in ("f16", "bf16", "q8_0", "q4_0"):
        yield attend_compressed(f"stored-{kv}", 3, 64, 20, 4, kv=kv)
    yield attend_compressed("long", 2, 16, 0, 2, chunks=(*[(60, 1)] * 5, (1, 3)))
    for tokens, width, streams in ((5, 16, 4), (1, 33, 1), (17, 7, 3)):
        by = {"streams": streams}
        yield case("repeat", f"{width}-by-{streams}", row("x", width), attributes=by, chunks=((tokens,),))
        wide, eps = streams * width, {"streams": streams, "eps": 1e-6}
        given = {**eps, "iterations": 1 + 4 * streams}
        for name, count, scales in (("read", streams, 1), ("all", streams * (streams + 2), 3)):
            weights = Operand("scale", (scales,), "weight", "F32"), Operand("base", (count,), "weight", "F32")
            yield case("stream_weights", f"{name}-{streams}", row("x", count), *weights, attributes=given,
                       chunks=((tokens,),))  # fmt: skip
        for made in {1, streams, 2}:
            mixing = row("x", wide), row("weights", made * streams)
            yield case("mix_streams", f"{streams}x{width}-to-{made}", *mixing, attributes=by, chunks=((tokens,),))
            yield case("mix_streams", f"{streams}x{width}-to-{made}-and-y", *mixing, row("y", width),
                       row("shares", made), attributes=by, chunks=((tokens,),))  # fmt: skip
    for groups, rows, width, kind in ((2, 24, 33, "F32"), (1, 5, 64, "F16"), (4, 7, 256, "Q8_0"), (3, 40, 96, "Q4_0")):
        weight = Operand("weight", (groups * rows, width), "weight", kind)
        yield case("grouped_linear", f"{groups}x{rows}x{width}-{kind}", row("x", groups * width), weight,
                   attributes={"groups": groups}, chunks=((17,), (1,)))  # fmt: skip


def select(variant: str, heads: int, dim: int, rate: int, count: int, *, chunks: Chunks) -> Case:
    """A case of `select_rows` with small integers, so that scores are exact and often equal."""
    ties = (Operand(name, ("T", wide), draw="signed ties") for name, wide in
            (("q", heads * dim), ("weights", heads), ("key", dim)))  # fmt: skip
    given = {"heads": heads, "rate": rate, "count": count}
    return case("select_rows", variant, *ties, attributes=given, chunks=chunks)


def attend_compressed(
    variant: str,
    heads: int,
    width: int,
    window: int,
    rate: int,
    *,
    far: bool = True,
    count: int = 0,
    sinks: bool = False,
    kv: str = "f32",
    chunks: Chunks = CHUNKS,
) -> Case:
    """A case of `compressed_attention`; `count`: how many of the first rows are chosen."""
    given = {"heads": heads, "scale": width**-0.5, "window": window, "rate": rate, "far_group": "far" if far else ""}
    chosen = Operand("chosen", ("T", count), dtype="i32", draw="first rows") if count else None
    operands = row("q", heads * width), row("row", width), row("far", width) if far else None, chosen
    extra = Operand("sinks", (heads,), "weight", "F32") if sinks else None
    return case("compressed_attention", variant, *operands, extra, attributes=given, chunks=chunks, kv=kv)
