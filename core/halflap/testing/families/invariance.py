"""Family "invariance": where `row_invariant` is claimed, a row's bits depend on its own sequence only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from halflap.device.interface import Array, Device, DeviceInfo
from halflap.testing.cases import Case, Failed, NotOffered, require_support
from halflap.testing.rig import Rig, Tables, limits_for
from halflap.testing.tiny import SHAPES, VOCAB, tiny_model

PROMPT = 45
ARRANGEMENTS = {
    "token-by-token": (1,) * PROMPT,
    "chunks": (1, 7, 16, 2, 19),
    "two-halves": (32, 13),
    "in-a-batch": (3, 33, 9),
    "other-blocks": (PROMPT,),
}
"""Tokens of the prompt per step; the plain one has all in one step."""


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    if "row_invariant" not in info.features:
        yield Case("invariance/not-claimed", "invariance")
        return
    for architecture in SHAPES:
        for dtype in sorted(info.rounding) if architecture == "llama" else ("F32", "F16", "Q8_0"):
            if dtype not in info.rounding or dtype in ("F64", "I8", "I16", "I32", "I64"):
                continue
            for arrangement in ARRANGEMENTS if dtype in ("F32", "Q8_0") else ("chunks", "in-a-batch"):
                facts = {"architecture": architecture, "dtype": dtype, "arrangement": arrangement}
                yield Case(f"invariance/{architecture}/{dtype}/{arrangement}", "invariance", 3, facts)


def check(case: Case, device: Device) -> None:
    if "row_invariant" not in device.info.features:
        raise NotOffered("feature 'row_invariant'")
    facts = case.facts
    model = tiny_model(facts["architecture"], facts["dtype"], case.seed)
    require_support(device, model.graph)
    limits = limits_for(model.graph, tokens=128)
    prompt = np.random.default_rng(case.seed).integers(0, VOCAB, PROMPT).tolist()
    with Rig(device, model.graph, model.weights, limits) as rig:
        whole = _logits(rig, prompt, (PROMPT,), batch=False, seed=case.seed)
    with Rig(device, model.graph, model.weights, limits) as rig:
        arrangement = facts["arrangement"]
        parts = _logits(rig, prompt, ARRANGEMENTS[arrangement], batch=arrangement == "in-a-batch", seed=case.seed + 1)
    different = np.nonzero((whole != parts).any(axis=1))[0]
    if len(different):
        gap = float(np.abs(whole - parts).max() / np.abs(whole).max())
        raise Failed(
            f"rows {different.tolist()!s:.80}: got other bits than in one step ({gap:.3g}), want the same", gap
        )


def _logits(rig: Rig, prompt: list[int], sizes: tuple[int, ...], *, batch: bool, seed: int) -> Array:
    """Logits of the prompt's tokens, fed in steps of these sizes; with `batch`, between two other sequences."""
    rng = np.random.default_rng(seed)
    tables, rows, done = Tables(rig.graph, rig.limits, rng), [], 0
    for size in sizes:
        chunks = {0: prompt[done : done + size]}
        before = 0
        if batch:
            before = int(rng.integers(1, 6))
            chunks = {1: rng.integers(0, VOCAB, before).tolist(), **chunks, 2: rng.integers(0, VOCAB, 2).tolist()}
        found = rig.run(tables.step(chunks), fetch=["logits"])["logits"]
        rows.append(np.array(found[before : before + size]))
        done += size
    return np.concatenate(rows)
