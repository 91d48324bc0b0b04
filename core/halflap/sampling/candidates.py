"""The few tokens a step may choose from, taken exactly from a row of logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from attrs import define

from halflap.errors import ConstraintError

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

DEPTH = 128
"""Elements a row is folded into, column by column: maxima down the columns are what numpy finds fastest."""


_BOUNDS = np.where(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), np.inf, -np.inf)
_BOUNDS = _BOUNDS.astype(np.float32)  # (256, 8): for each byte of a mask the highest that its eight logits may be


@define(eq=False)
class Candidates:
    """Tokens still in the running, best first (ties: lower id).

    Attributes:
        ids: (k,) token ids.
        logits: (k,) descending.
        rng: the request's own source of chance; samplers that gamble draw from it.
    """

    ids: I32
    logits: F32
    rng: np.random.Generator

    def __len__(self) -> int:
        return len(self.ids)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Softmax over these candidates only."""
        logits = self.logits.astype(np.float64)
        shifted: npt.NDArray[np.float64] = np.exp(logits - logits[0])
        shifted /= shifted.sum()
        return shifted

    def keep(self, which: npt.NDArray[np.bool_] | slice) -> Candidates:
        return Candidates(self.ids[which], self.logits[which], self.rng)

    def ordered(self) -> Candidates:
        """Restore the order after logits were changed."""
        order = np.lexsort((self.ids, -self.logits))
        return Candidates(self.ids[order], self.logits[order], self.rng)


def check_mask(mask: npt.NDArray[np.uint8], vocab: int) -> None:
    """Raises ConstraintError if a mask has another type, or fewer bits than there are tokens."""
    if mask.dtype != np.uint8 or mask.ndim != 1 or 8 * len(mask) < vocab:
        want = f"uint8 with a bit for each of {vocab} tokens"
        raise ConstraintError("mask", got=f"{mask.dtype} {mask.shape}", want=want, field="constraint")


def restrict(row: F32, mask: npt.NDArray[np.uint8], scratch: F32) -> None:
    """Make logits -inf in place where a mask's bit (token i: bit i % 8 of byte i // 8) is 0; NaN stays NaN.

    Args:
        scratch: (ceil(vocab / 8), 8), overwritten: memory that is there already takes half the time.

    Raises:
        ConstraintError: as `check_mask`.
    """
    check_mask(mask, len(row))
    _BOUNDS.take(mask[: len(scratch)], axis=0, mode="clip", out=scratch)
    np.minimum(row, scratch.reshape(-1)[: len(row)], out=row)


def top_k(row: F32, k: int, rng: np.random.Generator) -> Candidates:
    """The k highest logits of a row.

    The row is folded into columns. At least k elements reach the k-th highest of the columns' maxima, so one pass finds
    all that can matter, and only those are sorted.
    """
    n, width = len(row), len(row) // DEPTH
    if k >= width:
        bound = np.partition(row, n - k)[n - k] if k < n else -np.inf
        return at_least(row, bound, rng).keep(slice(k))
    columns = row[: DEPTH * width].reshape(DEPTH, width)
    maxima = columns.max(axis=0)
    bound = np.partition(maxima, width - k)[width - k]
    reaching = np.flatnonzero(maxima >= bound)
    depth, place = np.nonzero(columns[:, reaching] >= bound)
    tail = np.flatnonzero(row[DEPTH * width :] >= bound) + DEPTH * width
    ids = np.concatenate([depth * width + reaching[place], tail]).astype(np.int32)
    return _sorted(row, np.sort(ids), rng).keep(slice(k))


def at_least(row: F32, bound: np.floating | float, rng: np.random.Generator) -> Candidates:
    """Every logit that reaches `bound`."""
    return _sorted(row, np.flatnonzero(row >= bound).astype(np.int32), rng)


def top_mass(row: F32, mass: float, rng: np.random.Generator) -> Candidates:
    """Enough of the highest logits to hold at least `mass` of the probability."""
    total = float(np.exp(row - row.max()).sum(dtype=np.float64))
    k = 64
    while k < len(row):
        found = top_k(row, k, rng)
        if np.exp(found.logits - found.logits[0]).sum(dtype=np.float64) >= mass * total:
            return found
        k *= 8
    return every(row, rng)


def every(row: F32, rng: np.random.Generator) -> Candidates:
    """The whole vocabulary, sorted."""
    return _sorted(row, np.arange(len(row), dtype=np.int32), rng)


def _sorted(row: F32, ids: I32, rng: np.random.Generator) -> Candidates:
    logits = row[ids]
    order = np.argsort(-logits, kind="stable")  # ids ascend, so equal logits stay in order of id
    return Candidates(ids[order], logits[order], rng)
