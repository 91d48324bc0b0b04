"""ACME5: 64 weights to a block, one f16 scale and levels of five bits, -16 to 15."""

import numpy as np

from halflap.weights.weight_type import WeightType

BLOCK = 64
NBYTES = 2 + BLOCK * 5 // 8


def decode(blocks):
    """u8 (n, 42) -> f32 (n, 64). This is what the type means: every device is compared with it."""
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").reshape(-1, BLOCK, 5)
    levels = bits @ np.float32([1, 2, 4, 8, 16]) - 16
    return scales * levels


def encode(values):
    """f32 (n, 64) -> u8 (n, 42), to nearest. A type that is only read may leave this out."""
    scales = (np.abs(values).max(axis=1, keepdims=True) / 15).astype("<f2")
    levels = np.rint(np.divide(values, scales, out=np.zeros_like(values), where=scales > 0, dtype=np.float32))
    codes = (np.clip(levels, -16, 15) + 16).astype(np.uint8)
    bits = np.unpackbits(codes[:, :, None], axis=2, count=5, bitorder="little").reshape(-1, BLOCK * 5)
    return np.concatenate([scales.view(np.uint8), np.packbits(bits, axis=1, bitorder="little")], axis=1)


ACME5 = WeightType("ACME5", 1005, BLOCK, NBYTES, decode, encode)
