"""Cases whose shapes are drawn: other ones for every seed, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from halflap.testing.cases import Case, Operand
from halflap.testing.drawing import Rng
from halflap.testing.families import op_cases

EACH = 6
"""Cases per op and seed."""
HEAD_DIMS = (16, 20, 32, 64, 80, 96, 128)


def drawn_cases(seed: int) -> Iterator[Case]:
    """Random shapes for the ops whose kernels depend on them most; the name tells the shape, so it can be asked for."""
    rng = np.random.default_rng([seed, 20])
    for draw in (_linear, _rms_norm, _rope, _attention, _route, _moe):
        for place in range(EACH):
            case = draw(rng, f"drawn-{seed}.{place}")
            yield Case(case.name, "op", place, case.facts)


def _between(rng: Rng, low: int, high: int) -> int:
    """Low and high included; small numbers come often."""
    return round(float(low * (high / low) ** rng.uniform()))


def _chunks(rng: Rng) -> tuple[tuple[int, ...], ...]:
    """Up to three steps of up to three sequences, at most 60 tokens a step."""
    sequences = int(rng.integers(1, 4))
    return tuple(tuple(_between(rng, 1, 60 // sequences) for _ in range(sequences)) for _ in range(rng.integers(1, 4)))


def _linear(rng: Rng, name: str) -> Case:
    tokens, rows, width = _between(rng, 1, 64), _between(rng, 1, 300), _between(rng, 1, 700)
    weight = Operand("weight", (rows, width), "weight", "F32")
    bias = Operand("bias", (rows,), "weight", "F32") if rng.uniform() < 0.5 else None
    x = op_cases.row("x", width)
    return op_cases.case("linear", f"{name}-T{tokens}-{rows}x{width}", x, weight, bias, chunks=((tokens,),))


def _rms_norm(rng: Rng, name: str) -> Case:
    tokens, width, groups = _between(rng, 1, 64), _between(rng, 1, 700), _between(rng, 1, 9)
    weight = Operand("weight", (width,), "weight", "F32") if rng.uniform() < 0.7 else None
    given = {"eps": float(10 ** rng.uniform(-7, -3)), "groups": groups}
    return op_cases.case("rms_norm", f"{name}-T{tokens}-{groups}x{width}", op_cases.row("x", width * groups), weight,
                         attributes=given, chunks=((tokens,),))  # fmt: skip


def _rope(rng: Rng, name: str) -> Case:
    head_dim, heads = int(rng.choice(HEAD_DIMS)), _between(rng, 1, 9)
    pairs = int(rng.integers(1, head_dim // 2 + 1))
    given: dict[str, Any] = {
        "head_dim": head_dim, "layout": str(rng.choice(["half", "interleaved"])),
        "frequencies": op_cases.frequencies(pairs), "magnitude": float(rng.uniform(0.8, 1.3)),
    }  # fmt: skip
    factors = Operand("factors", (pairs,), "weight", "F32", "positive") if rng.uniform() < 0.5 else None
    x = op_cases.row("x", heads * head_dim)
    return op_cases.case("rope", f"{name}-{heads}x{head_dim}-{pairs}pairs", x, factors, attributes=given,
                         chunks=_chunks(rng), offset=_between(rng, 1, 100_000))  # fmt: skip


def _attention(rng: Rng, name: str) -> Case:
    kv_heads, group = _between(rng, 1, 5), _between(rng, 1, 7)
    head_dim, v_head_dim = (int(n) for n in rng.choice(HEAD_DIMS, 2))
    extra: dict[str, Any] = {"window": _between(rng, 1, 80)} if rng.uniform() < 0.5 else {}
    if rng.uniform() < 0.3:
        extra["softcap"] = float(rng.uniform(1, 50))
    shape = f"{kv_heads * group}over{kv_heads}-{head_dim}x{v_head_dim}"
    return op_cases.attend(f"{name}-{shape}", kv_heads * group, kv_heads, head_dim, v_head_dim, chunks=_chunks(rng),
                           kv=str(rng.choice(["f16", "f32"])), sinks=bool(rng.uniform() < 0.3), **extra)  # fmt: skip


def _route(rng: Rng, name: str) -> Case:
    experts = _between(rng, 1, 130)
    used, tokens = _between(rng, 1, min(experts, 10)), _between(rng, 1, 64)
    given: dict[str, Any] = {
        "gating": str(rng.choice(["softmax", "sigmoid", "softmax_chosen"])), "used": used,
        "normalize": bool(rng.uniform() < 0.5), "scale": float(rng.uniform(0.5, 3)),
    }  # fmt: skip
    return op_cases.case("route", f"{name}-T{tokens}-{used}of{experts}", op_cases.row("logits", experts), None,
                         attributes=given, chunks=((tokens,),))  # fmt: skip


def _moe(rng: Rng, name: str) -> Case:
    experts, width, hidden = _between(rng, 1, 12), _between(rng, 1, 200), _between(rng, 1, 200)
    used, tokens = _between(rng, 1, min(experts, 5)), _between(rng, 1, 40)
    return op_cases.mixture(
        f"{name}-T{tokens}-{used}of{experts}-{hidden}x{width}", tokens, experts, used, width, hidden
    )
