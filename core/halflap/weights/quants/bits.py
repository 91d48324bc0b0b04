"""Reading packed fields out of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from halflap.weights.weight_type import Bytes, Floats

__all__ = ["f16", "fields", "sign_bits", "words"]


def words(blocks: Bytes, start: int, stop: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Bytes start..stop of every block as little-endian numbers: (n, (stop - start) / itemsize)."""
    return np.ascontiguousarray(blocks[:, start:stop]).view(np.dtype(dtype).newbyteorder("<"))


def f16(blocks: Bytes, at: int) -> Floats:
    """The f16 at byte `at` of every block: f32 (n, 1)."""
    return words(blocks, at, at + 2, np.float16).astype(np.float32)


def fields(packed: npt.NDArray[Any], shifts: Sequence[int], mask: int, run: int = 1) -> npt.NDArray[Any]:
    """Bit fields in ggml's order: for each run of `run` words, one whole run per shift.

    Args:
        packed: unsigned (n, k), k a multiple of `run`.
        shifts: where the fields of one word begin.
        mask: applied after the shift.

    Returns:
        The same dtype, (n, k * len(shifts)).
    """
    n = len(packed)
    steps = np.array(shifts, packed.dtype).reshape(1, 1, -1, 1)
    found: npt.NDArray[Any] = (packed.reshape(n, -1, 1, run) >> steps) & packed.dtype.type(mask)
    return found.reshape(n, -1)


def sign_bits(packed: Bytes) -> Floats:
    """One sign per bit, lowest first: u8 (n, k) -> f32 (n, 8k), -1 where the bit is set."""
    return np.where(fields(packed, range(8), 1) == 0, np.float32(1), np.float32(-1))
