"""Numbers stored one by one: floats and integers. Integers dequantise to their value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from halflap.weights.quants.bits import words
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["BF16", "F16", "F32", "F64", "I8", "I16", "I32", "I64"]


def _decode_as(dtype: npt.DTypeLike, nbytes: int) -> Callable[[Bytes], Floats]:
    return lambda blocks: words(blocks, 0, nbytes, dtype).astype(np.float32)


def _encode_as(dtype: npt.DTypeLike) -> Callable[[Floats], Bytes]:
    return lambda values: values.astype(dtype).view(np.uint8)


def _decode_bf16(blocks: Bytes) -> Floats:
    return (words(blocks, 0, 2, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _encode_bf16(values: Floats) -> Bytes:
    bits = values.view(np.uint32)
    # Ties to even; a NaN keeps its top bits and is made quiet, lest rounding turn it into Inf.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(values), quiet, rounded).astype(np.uint16).view(np.uint8)


F32 = WeightType("F32", 0, 1, 4, _decode_as(np.float32, 4), _encode_as(np.float32))
F16 = WeightType("F16", 1, 1, 2, _decode_as(np.float16, 2), _encode_as(np.float16))
I8 = WeightType("I8", 24, 1, 1, _decode_as(np.int8, 1))
I16 = WeightType("I16", 25, 1, 2, _decode_as(np.int16, 2), stand_in="F32")
I32 = WeightType("I32", 26, 1, 4, _decode_as(np.int32, 4), stand_in="F32")
I64 = WeightType("I64", 27, 1, 8, _decode_as(np.int64, 8), stand_in="F32")
F64 = WeightType("F64", 28, 1, 8, _decode_as(np.float64, 8), stand_in="F32")
BF16 = WeightType("BF16", 30, 1, 2, _decode_bf16, _encode_bf16, stand_in="F32")
