"""Random numbers, weights and tiny models, the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from halflap import plugins
from halflap.device.interface import Weight

F32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Rng = np.random.Generator

SCALES_AT = {
    "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2),
    "Q6_K": (208,), "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ1_S": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,), "Q1_0": (0,), "Q2_0": (0,),
}  # fmt: skip
"""Where the f16 scales of a block lie, for types that only decode; ggml's `ggml-common.h`."""


def draw_weight(name: str, dtype: str, shape: tuple[int, ...], rng: Rng) -> Weight:
    """A random tensor of any registered weight type.

    Raises:
        ValueError: the last dimension is no multiple of the type's block.
    """
    kind = plugins.get("weight_types", dtype)
    if shape[-1] % kind.block:
        raise ValueError(f"width of a {dtype} weight: got {shape[-1]}, want a multiple of {kind.block}")
    if kind.encode is not None:
        values = rng.standard_normal((math.prod(shape) // kind.block, kind.block)).astype(np.float32)
        blocks = kind.quantize(values / math.sqrt(shape[-1]))
        return Weight(name, dtype, shape, np.ascontiguousarray(blocks).reshape(-1))
    return Weight(name, dtype, shape, _draw_bytes(kind, math.prod(shape) // kind.block, rng).reshape(-1))


def dequantized(weight: Weight) -> F32:
    """A weight's values in its shape."""
    kind = plugins.get("weight_types", weight.dtype)
    values: F32 = kind.dequantize(weight.data.reshape(-1, kind.nbytes)).reshape(weight.shape)
    return values


def f32_weight(name: str, values: F32) -> Weight:
    """Given numbers as a weight of type F32."""
    data = np.ascontiguousarray(values, np.float32)
    return Weight(name, "F32", data.shape, data.reshape(-1).view(np.uint8))


def width_for(dtype: str, about: int) -> int:
    """The width nearest above `about` that whole blocks of this type fill."""
    block = int(plugins.get("weight_types", dtype).block)
    return -(-about // block) * block


def _draw_bytes(kind: Any, blocks: int, rng: Rng) -> Bytes:
    """Valid random blocks whose values spread by about 0.1: (blocks, nbytes)."""
    if kind.name in INTEGERS:
        small = rng.integers(-2, 3, (blocks, 1))
        return small.astype(INTEGERS[kind.name]).view(np.uint8)
    if kind.name == "F64":
        return (rng.standard_normal((blocks, 1)) / 10).view(np.uint8)
    data = rng.integers(0, 256, (blocks, kind.nbytes), dtype=np.uint8)
    places, spread = SCALES_AT.get(kind.name, ()), 0.02
    scales = rng.uniform(0.5, 1.5, (blocks, len(places)))
    for _ in range(2 if places else 0):  # first to see how far the values spread, then to set it
        for column, at in enumerate(places):
            data[:, at : at + 2] = (scales[:, column : column + 1] * spread).astype(np.float16).view(np.uint8)
        spread *= 0.1 / float(np.std(kind.dequantize(data)))
    if kind.name == "IQ1_M":  # its scale is spread over the top nibbles of four words
        bits = rng.uniform(0.005, 0.02, blocks).astype(np.float16).view(np.uint16)
        for i in range(4):
            nibble = ((bits >> (4 * i)) & 15).astype(np.uint8)
            data[:, 49 + 2 * i] = (data[:, 49 + 2 * i] & 15) | (nibble << 4)
    if kind.name == "MXFP4":
        data[:, 0] = rng.integers(117, 124, blocks)
    if kind.name == "NVFP4":
        data[:, :4] = rng.integers(16, 48, (blocks, 4))
    broken = ~np.isfinite(kind.dequantize(data)).all(axis=1)
    data[broken] = 0  # a plugin's type whose scales are not known here
    return data


INTEGERS: Mapping[str, Any] = {"I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
