"""Family "candidates": the few highest of rows of logits, where a device finds them beside the rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from halflap.device.interface import Device, DeviceInfo
from halflap.graph.candidates import Ask, Edits, Highest, highest
from halflap.testing.cases import Case, Failed, NotOffered
from halflap.testing.drawing import Rng

ROUNDS = 8
SUMS = 1e-5
"""Of a log of a sum, relative to its size but at least to 1."""
VOCABS = {"small": (1, 7, 16, 65), "odd": (500, 513, 1025), "long": (5003, 32_003)}
ROWS = ("plain", "ties", "infinite", "nan")


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for size in VOCABS:
        for rows in ROWS:
            yield Case(f"candidates/{size}/{rows}", "candidates", 31, {"size": size, "rows": rows})


def check(case: Case, device: Device) -> float:
    find = getattr(device, "candidates", None)
    if find is None:
        raise NotOffered("candidates: the device has none")
    rng, worst = np.random.default_rng(case.seed), 0.0
    for _ in range(ROUNDS):
        vocab = int(rng.choice(VOCABS[case.facts["size"]]))
        rows = draw_rows(rng, 3, vocab, case.facts["rows"])
        before, asks = rows.copy(), [(int(rng.integers(3)), draw_ask(rng, vocab)) for _ in range(5)]
        found = find(rows, asks)
        if not np.array_equal(rows, before, equal_nan=True):
            raise Failed("rows of logits: got changed ones, want them as they were")
        for (row, ask), told in zip(asks, found, strict=True):
            with np.errstate(invalid="ignore"):
                worst = max(worst, compare(told, highest(rows[row], ask), f"{vocab} tokens, {ask.count} wanted"))
    return worst


def draw_rows(rng: Rng, count: int, vocab: int, kind: str) -> np.ndarray:
    """Rows of logits f32 (count, vocab)."""
    rows = (rng.standard_normal((count, vocab)) * 3).astype(np.float32)
    if kind == "ties":
        return rows.round(0)
    if kind != "plain":
        bad = np.nan if kind == "nan" else -np.inf
        rows[rng.random(rows.shape) < rng.choice([0.01, 0.5, 1.0])] = bad
    return rows


def draw_ask(rng: Rng, vocab: int) -> Ask:
    """Any ask about a row of so many tokens; parts of its edits may be about the same tokens."""
    edits = []
    for _ in range(int(rng.integers(3))):
        n = int(rng.integers(min(vocab, 40) + 1))
        bias, repeat, offset = rng.uniform(0.5, 2, (3, n)).astype(np.float32)
        edits.append(Edits(rng.permutation(vocab)[:n].astype(np.int32), bias, repeat, -offset))
    share, spare = rng.choice([0.0, 0.01, 0.5, 1.0]), int(rng.integers(40))
    mask = np.packbits(rng.random(vocab + spare) < share, bitorder="little") if rng.random() < 0.5 else None
    return Ask(int(rng.choice([1, 2, 40, vocab, vocab + 3])), edits, mask, float(rng.choice([0, 1, 0.7])))


def compare(found: Highest, wanted: Highest, what: str) -> float:
    """The largest difference of the sums.

    Raises:
        Failed: anything else is not the same, or a sum is further off than SUMS.
    """
    for name in ("ids", "logits"):
        got, want = getattr(found, name), getattr(wanted, name)
        if not np.array_equal(got, want):
            raise Failed(f"{name}, {what}: got {got[:8].tolist()}, want {want[:8].tolist()}")
    for name in ("complete", "nans"):
        if getattr(found, name) != getattr(wanted, name):
            raise Failed(f"{name}, {what}: got {getattr(found, name)}, want {getattr(wanted, name)}")
    worst = 0.0
    for name in ("log_sum", "log_sum_at"):
        got, want = float(getattr(found, name)), float(getattr(wanted, name))
        same = got == want or (np.isnan(got) and np.isnan(want))
        error = 0.0 if same else abs(got - want) / max(1.0, abs(want))
        if not error <= SUMS:
            raise Failed(f"{name}, {what}: got {got}, want {want}", error)
        worst = max(worst, error)
    return worst
