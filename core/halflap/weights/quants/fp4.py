"""Four-bit floats (E2M1) under a shared scale: MXFP4 (power of two per 32) and NVFP4 (E4M3 per 16).

Source: OCP Microscaling Formats specification 1.0; the scale is halved because the levels are stored doubled.
"""

from __future__ import annotations

import numpy as np

from halflap.weights.quants.bits import fields
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["MXFP4", "NVFP4"]

E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


def _half_e8m0() -> Floats:
    """2^(e - 128) for every byte e; the two smallest are subnormal in f32."""
    e = np.arange(256, dtype=np.uint32)
    bits = np.where(e < 2, np.uint32(0x00200000) << e, (e - np.uint32(1)) << np.uint32(23))
    return bits.astype(np.uint32).view(np.float32)


def _half_ue4m3() -> Floats:
    """Half of every unsigned E4M3 (bias 7); 0x7F is NaN in the format and 0 here, as in ggml; the sign is ignored."""
    x = np.arange(256)
    exponent, mantissa = (x >> 3) & 15, (x & 7).astype(np.float64)
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    value = np.where(exponent == 0, mantissa * 2.0**-9, normal) / 2
    return np.where((x == 0) | (x == 0x7F), 0.0, value).astype(np.float32)


E8M0_HALF = _half_e8m0()
UE4M3_HALF = _half_ue4m3()


def _decode_mxfp4(blocks: Bytes) -> Floats:
    values: Floats = E8M0_HALF[blocks[:, :1]] * E2M1_DOUBLED[fields(blocks[:, 1:], (0, 4), 15, 16)]
    return values


def _decode_nvfp4(blocks: Bytes) -> Floats:
    q = E2M1_DOUBLED[fields(blocks[:, 4:], (0, 4), 15, 8)].reshape(-1, 4, 16)
    values: Floats = UE4M3_HALF[blocks[:, :4]][:, :, None] * q
    return values.reshape(-1, 64)


MXFP4 = WeightType("MXFP4", 39, 32, 17, _decode_mxfp4, stand_in="F32")
NVFP4 = WeightType("NVFP4", 40, 64, 36, _decode_nvfp4)
