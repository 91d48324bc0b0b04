"""What a weight type is: the layout of one quantisation block and the meaning of its bytes."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt

__all__ = ["Bytes", "Floats", "WeightType"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@attrs.frozen
class WeightType:
    """A storage type for weights.

    Args:
        name: as in model files and listings ("Q4_K").
        gguf: its number in a GGUF file.
        block: elements in one block; blocks lie along the last axis of a tensor.
        nbytes: bytes of one block.
        decode: u8 (n, nbytes) -> f32 (n, block): the reference, bit for bit what ggml computes in float32.
        encode: f32 (n, block) -> u8 (n, nbytes), round to nearest; None where only decoding is defined.
        stand_in: what it is converted to for a device that lacks it: "F16", or "F32" where values may exceed F16.

    Layouts: the structs of ggml's `ggml-common.h`; sizes: the GGUF specification, "tensor types".
    """

    name: str
    gguf: int
    block: int
    nbytes: int
    decode: Callable[[Bytes], Floats] = attrs.field(repr=False)
    encode: Callable[[Floats], Bytes] | None = attrs.field(default=None, repr=False)
    stand_in: str = "F16"

    @property
    def bits(self) -> float:
        """Bits per weight, scales included."""
        return 8 * self.nbytes / self.block

    def dequantize(self, blocks: Bytes) -> Floats:
        """The values of whole blocks.

        Args:
            blocks: u8 (n_blocks, nbytes).

        Returns:
            f32 (n_blocks, block). A block whose scale is Inf or NaN gives Inf or NaN, never an error.
        """
        with np.errstate(all="ignore"):
            return self.decode(blocks).astype(np.float32, copy=False)

    def quantize(self, values: Floats) -> Bytes:
        """Whole blocks of the values, rounded to nearest.

        Args:
            values: f32 (n_blocks, block).

        Returns:
            u8 (n_blocks, nbytes).

        Raises:
            NotImplementedError: this type has no encoder.
        """
        if self.encode is None:
            raise NotImplementedError(f"quantize to {self.name}: got no encoder, want a type that has one")
        with np.errstate(all="ignore"):
            return self.encode(np.ascontiguousarray(values, np.float32))
