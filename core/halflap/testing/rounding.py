"""The activation roundings a device may declare, in numpy, and how much of a result each may change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

SPAN = 256
"""Elements along K that share one scale under "i8x256"."""


def rounded(x: F32, kind: str) -> F32:
    """Activations (…, K) as a device with this rounding sees them.

    Raises:
        ValueError: no such rounding.
    """
    if kind not in ROUNDINGS:
        raise ValueError(f"rounding: got {kind!r}, want one of {sorted(ROUNDINGS)}")
    return ROUNDINGS[kind](x)


def largest_change(x: F32, kind: str) -> F64:
    """How far each element of (…, K) may move under this rounding: half a step of its grid."""
    size = np.abs(x).astype(np.float64)
    if kind == "f16":
        return np.maximum(size * 2.0**-11, 2.0**-25)
    if kind == "bf16":
        return size * 2.0**-8
    if kind == "i8x256":
        return np.asarray(_scales(x).astype(np.float64) * 0.5001, np.float64)
    return np.zeros_like(size)


def settled(x: F32, kind: str) -> F32:
    """The same activations, moved off the ties of "i8x256".

    A device may divide by the scale or multiply by its inverse; a quotient that lies on a tie would then be rounded
    either way, and one step of an int8 grid is far above the tolerance that everything else meets.
    """
    if kind != "i8x256":
        return x
    scale = _scales(x)
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
    near = np.abs(np.abs(quotient) % 1 - 0.5) < 0.05
    return np.where(near, x - np.sign(x) * scale * np.float32(0.1), x).astype(np.float32)


def distance_to_tie(x: F32) -> float:
    """The smallest distance of an element from a tie of "i8x256", in steps of its grid."""
    scale = _scales(x)
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
    return float(np.min(np.abs(np.abs(quotient) % 1 - 0.5), initial=0.5))


def _scales(x: F32) -> F32:
    """amax / 127 of each run of 256 along K, one per element: (…, K). The last run may be shorter."""
    width = x.shape[-1]
    padded = np.zeros((*x.shape[:-1], -(-width // SPAN) * SPAN), np.float32)
    padded[..., :width] = np.abs(x)
    peaks = padded.reshape(*x.shape[:-1], -1, SPAN).max(axis=-1)
    return np.repeat(peaks / np.float32(127), SPAN, axis=-1)[..., :width]


def _i8x256(x: F32) -> F32:
    scale = _scales(x)
    # rint rounds halves to even.
    return np.rint(np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)) * scale


def _bf16(x: F32) -> F32:
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    kept = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return kept.view(np.float32)


ROUNDINGS: dict[str, Callable[[F32], F32]] = {
    "none": lambda x: x,
    "f16": lambda x: x.astype(np.float16).astype(np.float32),
    "bf16": _bf16,
    "i8x256": _i8x256,
}
