"""The few highest of a row of logits: what may be asked of a device, what it tells, and what that means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from attrs import frozen

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]


@frozen(eq=False)
class Edits:
    """Changes to single logits: y = l + bias; y = y / repeat if y > 0 else y · repeat; l' = y + offset.

    Attributes:
        ids: (n,) i32, each token once.
        bias, repeat, offset: (n,) f32.
    """

    ids: I32
    bias: F32
    repeat: F32
    offset: F32

    def apply(self, row: F32) -> None:
        """Change a row in place."""
        y = row[self.ids] + self.bias
        row[self.ids] = np.where(y > 0, y / self.repeat, y * self.repeat) + self.offset


@frozen(eq=False)
class Ask:
    """What is asked of one row.

    Attributes:
        count: how many of the highest, at least 1.
        edits: made in order, before anything else.
        mask: u8, at least one bit for each token (token i: bit i % 8 of byte i // 8): 0 makes its logit -inf. None: no
            mask.
        temperature: of the second sum; 0: no sums are wanted.
    """

    count: int
    edits: Sequence[Edits] = ()
    mask: npt.NDArray[np.uint8] | None = None
    temperature: float = 0.0


@frozen(eq=False)
class Highest:
    """What is told of one row; of one with a NaN after the edits only how many there are.

    Attributes:
        ids: (k,) the highest, descending, of equal ones the lower id first.
        logits: (k,) theirs, after edits and mask.
        complete: these are all that the row has.
        log_sum: log of the sum of exp over the whole row, to 1e-5.
        log_sum_at: the same of the logits over the temperature.
        nans: how many are NaN, whatever the mask.
    """

    ids: I32
    logits: F32
    complete: bool
    log_sum: float
    log_sum_at: float
    nans: int


def highest(row: F32, ask: Ask) -> Highest:
    """The definition; `row` stays as it is."""
    row = row.copy()
    for edits in ask.edits:
        edits.apply(row)
    if nans := int(np.isnan(row).sum()):
        return Highest(np.zeros(0, np.int32), np.zeros(0, np.float32), False, np.nan, np.nan, nans)
    if ask.mask is not None:
        row[np.unpackbits(ask.mask, bitorder="little")[: len(row)] == 0] = -np.inf
    ids = np.argsort(-row, kind="stable")[: ask.count].astype(np.int32)
    sums = (_log_sum(row, 1), _log_sum(row, ask.temperature)) if ask.temperature else (np.nan, np.nan)
    return Highest(ids, row[ids], len(ids) == len(row), *sums, 0)


def _log_sum(row: F32, temperature: float) -> float:
    scaled = row.astype(np.float64) / temperature
    peak = scaled.max()
    return float(peak if peak == -np.inf else peak + np.log(np.exp(scaled - peak).sum()))
