"""K-quants: 256 weights in 8 or 16 groups, group scales quantised against one f16 (and minima against another)."""

from __future__ import annotations

import numpy as np

from halflap.weights.quants.bits import f16, fields, words
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]


def _decode_q2_k(blocks: Bytes) -> Floats:
    n = len(blocks)
    scales = blocks[:, :16]
    d = (f16(blocks, 80) * (scales & 15).astype(np.float32)).reshape(n, 16, 1)
    m = (f16(blocks, 82) * (scales >> 4).astype(np.float32)).reshape(n, 16, 1)
    q = fields(blocks[:, 16:80], (0, 2, 4, 6), 3, 32).reshape(n, 16, 16).astype(np.float32)
    values: Floats = d * q - m
    return values.reshape(n, 256)


def _decode_q3_k(blocks: Bytes) -> Floats:
    n = len(blocks)
    # 16 scales of 6 bits: low nibbles in 8 bytes, then two high bits each in 4 bytes.
    low = fields(blocks[:, 96:104], (0, 4), 15, 8)
    high = fields(blocks[:, 104:108], (0, 2, 4, 6), 3, 4)
    scales = (low | (high << np.uint8(4))).astype(np.float32) - np.float32(32)
    d = (f16(blocks, 108) * scales).reshape(n, 16, 1)
    q = fields(blocks[:, 32:96], (0, 2, 4, 6), 3, 32).astype(np.float32)
    # A clear mask bit means "subtract 4".
    q -= np.where(fields(blocks[:, :32], range(8), 1, 32) == 0, np.float32(4), np.float32(0))
    values: Floats = d * q.reshape(n, 16, 16)
    return values.reshape(n, 256)


def _scales_and_mins(packed: Bytes) -> tuple[Floats, Floats]:
    """Q4_K and Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes -> two f32 (n, 8, 1).

    Bytes 0-3 and 4-7 hold scales and minima 0-3 in their low six bits; bytes 8-11 hold the low nibbles of
    scales and minima 4-7, whose high bits are the top two bits of bytes 0-3 and 4-7.
    """
    a, b, c = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([a & 63, (c & 15) | ((a >> 2) & 48)], axis=1)
    mins = np.concatenate([b & 63, (c >> 4) | ((b >> 2) & 48)], axis=1)
    return scales.astype(np.float32).reshape(-1, 8, 1), mins.astype(np.float32).reshape(-1, 8, 1)


def _decode_q4_k(blocks: Bytes) -> Floats:
    n = len(blocks)
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    q = fields(blocks[:, 16:], (0, 4), 15, 32).reshape(n, 8, 32).astype(np.float32)
    values: Floats = f16(blocks, 0)[:, :, None] * scales * q - f16(blocks, 2)[:, :, None] * mins
    return values.reshape(n, 256)


def _decode_q5_k(blocks: Bytes) -> Floats:
    n = len(blocks)
    scales, mins = _scales_and_mins(blocks[:, 4:16])
    high = fields(blocks[:, 16:48], range(8), 1, 32) << np.uint8(4)
    q = (fields(blocks[:, 48:], (0, 4), 15, 32) | high).reshape(n, 8, 32).astype(np.float32)
    values: Floats = f16(blocks, 0)[:, :, None] * scales * q - f16(blocks, 2)[:, :, None] * mins
    return values.reshape(n, 256)


def _decode_q6_k(blocks: Bytes) -> Floats:
    n = len(blocks)
    low = fields(blocks[:, :128], (0, 4), 15, 64)
    high = fields(blocks[:, 128:192], (0, 2, 4, 6), 3, 32) << np.uint8(4)
    q = (low | high).astype(np.float32) - np.float32(32)
    d = f16(blocks, 208) * words(blocks, 192, 208, np.int8).astype(np.float32)
    values: Floats = d.reshape(n, 16, 1) * q.reshape(n, 16, 16)
    return values.reshape(n, 256)


Q2_K = WeightType("Q2_K", 10, 256, 84, _decode_q2_k)
Q3_K = WeightType("Q3_K", 11, 256, 110, _decode_q3_k)
Q4_K = WeightType("Q4_K", 12, 256, 144, _decode_q4_k)
Q5_K = WeightType("Q5_K", 13, 256, 176, _decode_q5_k)
Q6_K = WeightType("Q6_K", 14, 256, 210, _decode_q6_k)
