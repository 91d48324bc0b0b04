"""Blocks of 32 with one f16 scale, and a minimum for the _1 kinds: value = d * q (+ m)."""

from __future__ import annotations

import numpy as np

from halflap.weights.quants.bits import f16, fields, words
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """The 32 high bits at byte `at`, already in place: u8 (n, 32) of 0 or 16."""
    return fields(words(blocks, at, at + 4, np.uint32), range(32), 1).astype(np.uint8) << np.uint8(4)


def _decode_q4_0(blocks: Bytes) -> Floats:
    q = fields(blocks[:, 2:], (0, 4), 15, 16).astype(np.float32) - np.float32(8)
    return f16(blocks, 0) * q


def _decode_q4_1(blocks: Bytes) -> Floats:
    q = fields(blocks[:, 4:], (0, 4), 15, 16).astype(np.float32)
    return f16(blocks, 0) * q + f16(blocks, 2)


def _decode_q5_0(blocks: Bytes) -> Floats:
    q = fields(blocks[:, 6:], (0, 4), 15, 16) | _fifth_bits(blocks, 2)
    return f16(blocks, 0) * (q.astype(np.float32) - np.float32(16))


def _decode_q5_1(blocks: Bytes) -> Floats:
    q = fields(blocks[:, 8:], (0, 4), 15, 16) | _fifth_bits(blocks, 4)
    return f16(blocks, 0) * q.astype(np.float32) + f16(blocks, 2)


def _decode_q8_0(blocks: Bytes) -> Floats:
    return f16(blocks, 0) * words(blocks, 2, 34, np.int8).astype(np.float32)


def _reciprocal(d: Floats) -> Floats:
    return np.where(d == 0, np.float32(0), np.float32(1) / d)


def _encode_q8_0(values: Floats) -> Bytes:
    d = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    x = values * _reciprocal(d)
    # C's roundf: halves away from zero.
    q = np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x).astype(np.int8)
    return np.concatenate([d.astype(np.float16).view(np.uint8), q.view(np.uint8)], axis=1)


def _encode_q4_0(values: Floats) -> Bytes:
    # The extreme of larger magnitude, with its sign, becomes -8: the one level without a mirror image.
    peak = np.take_along_axis(values, np.abs(values).argmax(axis=1, keepdims=True), axis=1)
    d = peak / np.float32(-8)
    q = np.clip(np.trunc(values * _reciprocal(d) + np.float32(8.5)), 0, 15).astype(np.uint8)
    return np.concatenate([d.astype(np.float16).view(np.uint8), q[:, :16] | (q[:, 16:] << np.uint8(4))], axis=1)


Q4_0 = WeightType("Q4_0", 2, 32, 18, _decode_q4_0, _encode_q4_0)
Q4_1 = WeightType("Q4_1", 3, 32, 20, _decode_q4_1)
Q5_0 = WeightType("Q5_0", 6, 32, 22, _decode_q5_0)
Q5_1 = WeightType("Q5_1", 7, 32, 24, _decode_q5_1)
Q8_0 = WeightType("Q8_0", 8, 32, 34, _decode_q8_0, _encode_q8_0)
