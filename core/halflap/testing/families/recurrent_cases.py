"""Cases of the ops that keep a state of fixed size, fixed and drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from halflap.testing.cases import Case, Operand
from halflap.testing.drawing import Rng
from halflap.testing.families.op_cases import Chunks, case, row

CHUNKS: Chunks = ((17, 2), (1, 1), (3, 0, 20), (1, 2, 1))
"""Sequences that grow, start later, pause, and stand in the step without a token."""
EMIT = (0, 2)
"""Tokens of every step after which the state is stored on the side."""
DRAWN = 6


def recurrent_cases() -> Iterator[Case]:
    """Every op of halflap.graph.recurrent, and the split that feeds them."""
    for groups, head in ((1, 64), (3, 33), (5, 16), (2, 128)):
        given = {"eps": 1e-6, "groups": groups}
        yield case("l2_norm", f"{groups}x{head}", row("x", groups * head), attributes=given, chunks=((17,),))
    for groups, sizes in ((1, (5, 3)), (2, (16, 48, 1)), (3, (7,)), (4, (1, 1))):
        cut: dict[str, Any] = {"sizes": sizes, "groups": groups}
        wide = groups * sum(sizes)
        yield case("split", f"{groups}x{'+'.join(map(str, sizes))}", row("x", wide), attributes=cut, chunks=((17,),))
    for channels, taps, biased, activation in ((64, 4, True, "silu"), (37, 3, False, "none"), (300, 2, True, "none"),
                                               (16, 7, False, "silu"), (1, 4, True, "silu")):  # fmt: skip
        yield convolve(f"{channels}x{taps}-{activation}", channels, taps, biased, activation)
    for heads, k_heads, k, v in ((4, 2, 16, 16), (3, 3, 20, 33), (2, 1, 128, 128), (6, 2, 64, 80), (1, 1, 1, 1)):
        for sharing in ("grouped", "tiled"):
            yield delta(f"{heads}over{k_heads}-{k}x{v}-{sharing}", heads, k_heads, k, v, sharing)
    yield delta("from-a-snapshot", 2, 1, 16, 32, "grouped", resume=True)
    for heads, groups, size, state in ((8, 1, 16, 16), (6, 2, 33, 20), (4, 4, 64, 128), (1, 1, 1, 1)):
        yield scan(f"{heads}in{groups}-{size}x{state}", heads, groups, size, state)
    yield scan("plain", 4, 2, 16, 16, plain=True)
    for channels, state in ((128, 16), (37, 5), (70, 16)):
        yield scan(f"channels-{channels}x{state}", 1, 1, channels, state, channels=True)


def drawn_recurrent_cases(seed: int) -> Iterator[Case]:
    """Random shapes, the same for the same seed."""
    rng = np.random.default_rng([seed, 21])
    for place in range(DRAWN):
        name = f"drawn-{seed}.{place}"
        yield convolve(name, _between(rng, 1, 400), int(rng.integers(2, 6)), rng.uniform() < 0.5, "silu")
        k_heads, shared = _between(rng, 1, 4), _between(rng, 1, 3)
        sharing = str(rng.choice(["grouped", "tiled"]))
        yield delta(name, k_heads * shared, k_heads, _between(rng, 1, 130), _between(rng, 1, 130), sharing)
        groups = _between(rng, 1, 3)
        yield scan(name, groups * _between(rng, 1, 4), groups, _between(rng, 1, 80), _between(rng, 1, 130))


def convolve(variant: str, channels: int, taps: int, biased: bool, activation: str) -> Case:
    weight = Operand("weight", (channels, taps), "weight", "F32")
    bias = Operand("bias", (channels,), "weight", "F32") if biased else None
    return case("conv_state", variant, row("x", channels), weight, bias, attributes={"activation": activation},
                chunks=CHUNKS, emit=EMIT)  # fmt: skip


def delta(variant: str, heads: int, k_heads: int, k: int, v: int, sharing: str, *, resume: bool = False) -> Case:
    given = {"heads": heads, "k_heads": k_heads, "sharing": sharing, "scale": k**-0.5}
    units = Operand("q", ("T", k_heads * k)), Operand("k", ("T", k_heads * k), draw=f"unit:{k_heads}")
    rates = Operand("decay", ("T", heads), draw="negative"), Operand("beta", ("T", heads), draw="share")
    return case("delta_rule", variant, *units, row("v", heads * v), *rates, attributes=given, chunks=CHUNKS, emit=EMIT,
                resume=resume)  # fmt: skip


def scan(
    variant: str, heads: int, groups: int, size: int, state: int, *, channels: bool = False, plain: bool = False
) -> Case:
    width = heads * size
    rates = width if channels else heads
    a = Operand("a", (width, state) if channels else (heads, 1), "weight", "F32", "negative")
    d = None if plain else Operand("d", (rates,) if channels else (heads, 1), "weight", "F32")
    bias = None if plain else Operand("dt_bias", (rates,), "weight", "F32")
    gates = row("b", groups * state), row("c", groups * state)
    return case("ssm_scan", variant, row("x", width), row("dt", rates), *gates, a, d, bias,
                attributes={"heads": heads, "groups": groups}, chunks=CHUNKS, emit=EMIT)  # fmt: skip


def _between(rng: Rng, low: int, high: int) -> int:
    return round(float(low * (high / low) ** rng.uniform()))
