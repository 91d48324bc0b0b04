"""Weights of one to two bits without a codebook: ternary, binary and four-level."""

from __future__ import annotations

import numpy as np

from halflap.weights.quants.bits import f16, fields, sign_bits
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["Q1_0", "Q2_0", "TQ1_0", "TQ2_0"]


def _trits(packed: Bytes, count: int, run: int) -> Bytes:
    """Base-3 digits, most significant first, of fractions byte/256: (n, k) -> (n, k * count)."""
    powers = np.array([3**i for i in range(count)], np.uint8).reshape(1, 1, -1, 1)
    # The product wraps in 8 bits: what is left is the fraction below this digit.
    below = (packed.reshape(len(packed), -1, 1, run) * powers).astype(np.uint16)
    return ((below * np.uint16(3)) >> np.uint16(8)).astype(np.uint8).reshape(len(packed), -1)


def _decode_tq1_0(blocks: Bytes) -> Floats:
    parts = [_trits(blocks[:, :32], 5, 32), _trits(blocks[:, 32:48], 5, 16), _trits(blocks[:, 48:52], 4, 4)]
    return f16(blocks, 52) * (np.concatenate(parts, axis=1).astype(np.float32) - np.float32(1))


def _decode_tq2_0(blocks: Bytes) -> Floats:
    return f16(blocks, 64) * (fields(blocks[:, :64], (0, 2, 4, 6), 3, 32).astype(np.float32) - np.float32(1))


def _decode_q1_0(blocks: Bytes) -> Floats:
    return f16(blocks, 0) * -sign_bits(blocks[:, 2:])


def _decode_q2_0(blocks: Bytes) -> Floats:
    return f16(blocks, 0) * (fields(blocks[:, 2:], (0, 2, 4, 6), 3).astype(np.float32) - np.float32(1))


TQ1_0 = WeightType("TQ1_0", 34, 256, 54, _decode_tq1_0)
TQ2_0 = WeightType("TQ2_0", 35, 256, 66, _decode_tq2_0)
Q1_0 = WeightType("Q1_0", 41, 128, 18, _decode_q1_0)
Q2_0 = WeightType("Q2_0", 42, 64, 18, _decode_q2_0)
