"""IQ types: groups of 4 or 8 weights are rows of a codebook (quants/iq_grids.py), signs are stored apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from halflap.weights.quants.bits import f16, fields, sign_bits, words
from halflap.weights.quants.iq_grids import grid
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["IQ1_M", "IQ1_S", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ3_S", "IQ3_XXS", "IQ4_NL", "IQ4_XS"]

IQ4_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
IQ1_DELTA = np.float32(0.125)

# Seven stored sign bits; the eighth makes the number of minus signs even.
EVEN_SIGNS = np.array([i | ((i.bit_count() & 1) << 7) for i in range(128)], np.uint8)


def _rows(name: str, index: npt.NDArray[Any]) -> Floats:
    return grid(name)[index.astype(np.intp)]


def _scaled(d: Floats, values: Floats, signs: Floats) -> Floats:
    """One scale per run of d, all flattened to (n, 256); multiplied left to right, as the reference does."""
    n = len(values)
    groups = d.shape[1]
    decoded: Floats = d.reshape(n, groups, 1) * values.reshape(n, groups, -1) * signs.reshape(n, groups, -1)
    return decoded.reshape(n, 256)


def _half_offset_scales(blocks: Bytes, packed: npt.NDArray[Any], factor: float) -> Floats:
    return f16(blocks, 0) * (np.float32(0.5) + packed.astype(np.float32)) * np.float32(factor)


def _decode_iq2_xxs(blocks: Bytes) -> Floats:
    pairs = words(blocks, 2, 66, np.uint32).reshape(-1, 8, 2)  # per 32 weights: four indices, then signs and scale
    index, rest = np.ascontiguousarray(pairs[:, :, 0]).view(np.uint8), pairs[:, :, 1]
    signs = sign_bits(EVEN_SIGNS[fields(rest, (0, 7, 14, 21), 127)])
    return _scaled(_half_offset_scales(blocks, rest >> np.uint32(28), 0.25), _rows("IQ2_XXS", index), signs)


def _decode_iq2_xs(blocks: Bytes) -> Floats:
    q = words(blocks, 2, 66, np.uint16)
    scales = fields(blocks[:, 66:74], (0, 4), 15)
    signs = sign_bits(EVEN_SIGNS[q >> np.uint16(9)])
    return _scaled(_half_offset_scales(blocks, scales, 0.25), _rows("IQ2_XS", q & np.uint16(511)), signs)


def _decode_iq2_s(blocks: Bytes) -> Floats:
    high = fields(blocks[:, 66:74], (0, 2, 4, 6), 3).astype(np.uint16) << np.uint16(8)
    scales = fields(blocks[:, 74:82], (0, 4), 15)
    values = _rows("IQ2_S", blocks[:, 2:34] | high)
    return _scaled(_half_offset_scales(blocks, scales, 0.25), values, sign_bits(blocks[:, 34:66]))


def _decode_iq3_xxs(blocks: Bytes) -> Floats:
    rest = words(blocks, 66, 98, np.uint32)
    signs = sign_bits(EVEN_SIGNS[fields(rest, (0, 7, 14, 21), 127)])
    d = _half_offset_scales(blocks, rest >> np.uint32(28), 0.5)
    return _scaled(d, _rows("IQ3_XXS", blocks[:, 2:66]), signs)


def _decode_iq3_s(blocks: Bytes) -> Floats:
    high = fields(blocks[:, 66:74], range(8), 1).astype(np.uint16) << np.uint16(8)
    scales = fields(blocks[:, 106:110], (0, 4), 15).astype(np.float32)
    d = f16(blocks, 0) * (np.float32(1) + np.float32(2) * scales)
    return _scaled(d, _rows("IQ3_S", blocks[:, 2:66] | high), sign_bits(blocks[:, 74:106]))


def _decode_iq1_s(blocks: Bytes) -> Floats:
    n = len(blocks)
    high = words(blocks, 34, 50, np.uint16)
    scales = ((high >> np.uint16(12)) & np.uint16(7)).astype(np.float32)
    d = (f16(blocks, 0) * (np.float32(2) * scales + np.float32(1))).reshape(n, 8, 1)
    delta = np.where(high & np.uint16(0x8000), -IQ1_DELTA, IQ1_DELTA).reshape(n, 8, 1)
    index = blocks[:, 2:34] | (fields(high, (0, 3, 6, 9), 7) << np.uint16(8))
    decoded: Floats = d * (_rows("IQ1", index).reshape(n, 8, 32) + delta)
    return decoded.reshape(n, 256)


def _decode_iq1_m(blocks: Bytes) -> Floats:
    n = len(blocks)
    packed = words(blocks, 48, 56, np.uint16)
    # The f16 scale is spread over the top nibbles of the four scale words.
    nibbles = (packed >> np.uint16(12)) << np.array([0, 4, 8, 12], np.uint16)
    d = np.bitwise_or.reduce(nibbles, axis=1, keepdims=True).astype(np.uint16).view(np.float16).astype(np.float32)
    scales = fields(packed, (0, 3, 6, 9), 7).astype(np.float32)
    high = fields(blocks[:, 32:48], (0, 4), 15)
    delta = np.where(high & 8, -IQ1_DELTA, IQ1_DELTA).reshape(n, 16, 2, 1)
    index = blocks[:, :32] | ((high & 7).astype(np.uint16) << np.uint16(8))
    values = _rows("IQ1", index).reshape(n, 16, 2, 8) + delta
    decoded: Floats = (d * (np.float32(2) * scales + np.float32(1))).reshape(n, 16, 1, 1) * values
    return decoded.reshape(n, 256)


def _decode_iq4_nl(blocks: Bytes) -> Floats:
    levels: Floats = IQ4_LEVELS[fields(blocks[:, 2:], (0, 4), 15, 16)]
    return f16(blocks, 0) * levels


def _decode_iq4_xs(blocks: Bytes) -> Floats:
    n = len(blocks)
    high = fields(words(blocks, 2, 4, np.uint16), range(0, 16, 2), 3).astype(np.uint8) << np.uint8(4)
    scales = (fields(blocks[:, 4:8], (0, 4), 15) | high).astype(np.float32) - np.float32(32)
    values = IQ4_LEVELS[fields(blocks[:, 8:], (0, 4), 15, 16)].reshape(n, 8, 32)
    decoded: Floats = (f16(blocks, 0) * scales).reshape(n, 8, 1) * values
    return decoded.reshape(n, 256)


IQ2_XXS = WeightType("IQ2_XXS", 16, 256, 66, _decode_iq2_xxs)
IQ2_XS = WeightType("IQ2_XS", 17, 256, 74, _decode_iq2_xs)
IQ3_XXS = WeightType("IQ3_XXS", 18, 256, 98, _decode_iq3_xxs)
IQ1_S = WeightType("IQ1_S", 19, 256, 50, _decode_iq1_s)
IQ4_NL = WeightType("IQ4_NL", 20, 32, 18, _decode_iq4_nl)
IQ3_S = WeightType("IQ3_S", 21, 256, 110, _decode_iq3_s)
IQ2_S = WeightType("IQ2_S", 22, 256, 82, _decode_iq2_s)
IQ4_XS = WeightType("IQ4_XS", 23, 256, 136, _decode_iq4_xs)
IQ1_M = WeightType("IQ1_M", 29, 256, 56, _decode_iq1_m)
