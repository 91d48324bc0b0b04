"""Writing GGUF version 3, little-endian: for tests, tools and fuzz seeds.

Source: GGUF specification, "File structure": https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np

from halflap.weights.weight_type import Bytes, WeightType

__all__ = ["KEPT_F32", "TensorData", "chunks", "head", "write"]

_NUMBERS: Final = {
    "u1": 0, "i1": 1, "u2": 2, "i2": 3, "u4": 4, "i4": 5, "f4": 6, "b1": 7, "u8": 10, "i8": 11, "f8": 12,
}  # fmt: skip
KEPT_F32: Final = (
    "_norm.weight", "ffn_gate_inp.weight", "conv1d.weight", "shortconv.conv.weight", "ssm_a", "ssm_d", ".bias",
    "position_embd.weight", "token_types.weight", "_fn.weight", "_ape.weight",
)  # fmt: skip
"""How the names of tensors end that GGUF files keep in F32 whatever their shape; vectors are kept so too."""
_STRING: Final = 8
_ARRAY: Final = 9


@attrs.frozen
class TensorData:
    """A tensor to be written.

    Args:
        type: its GGUF type number (12 for Q4_K).
        shape: row-major, as in TensorInfo.
        data: u8 (nbytes,), blocks in row order.
    """

    type: int
    shape: tuple[int, ...]
    data: Bytes | bytes

    @classmethod
    def of(cls, array: np.ndarray[Any, Any], kind: WeightType | None = None) -> TensorData:
        """From numbers: `kind` encodes f32 (…, n) with n a multiple of its block; without it f32 is stored as F32."""
        if kind is None:
            return cls(0, array.shape, np.ascontiguousarray(array, "<f4").reshape(-1).view(np.uint8))
        blocks = np.ascontiguousarray(array, np.float32).reshape(-1, kind.block)
        return cls(kind.gguf, array.shape, kind.quantize(blocks).reshape(-1))


def write(
    path: str | os.PathLike[str],
    metadata: Mapping[str, object],
    tensors: Mapping[str, TensorData | np.ndarray[Any, Any]] | None = None,
) -> None:
    """Write a GGUF file.

    Args:
        path: the file, replaced if it is there.
        metadata: bool, str, int (stored as u32, else i32, u64 or i64, whichever holds it), float (f32), numpy scalars
            and arrays (stored as they are), and sequences of one kind, nested or not. `general.alignment` is obeyed.
        tensors: name -> TensorData, or f32 to be stored as F32.

    Raises:
        TypeError: a metadata value of another kind.
    """
    with Path(path).open("wb") as file:
        for chunk in chunks(metadata, tensors or {}):
            file.write(chunk)


def chunks(
    metadata: Mapping[str, object], tensors: Mapping[str, TensorData | np.ndarray[Any, Any]]
) -> Iterator[bytes | memoryview]:
    """The bytes of the file, in order; arguments as for `write`."""
    described = {name: t if isinstance(t, TensorData) else TensorData.of(t) for name, t in tensors.items()}
    yield head(metadata, {name: (t.type, t.shape, len(t.data)) for name, t in described.items()})
    alignment = _alignment(metadata)
    for tensor in described.values():
        yield tensor.data if isinstance(tensor.data, bytes) else tensor.data.data
        yield bytes(_padded(len(tensor.data), alignment) - len(tensor.data))


def head(metadata: Mapping[str, object], tensors: Mapping[str, tuple[int, tuple[int, ...], int]]) -> bytes:
    """All that stands before the tensors' data, which follows in this order, each padded to the alignment.

    Args:
        tensors: name -> GGUF type number, row-major shape, bytes.
    """
    alignment = _alignment(metadata)
    made = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        made += _string(key) + _typed(value, key)
    offset = 0
    for name, (kind, row_major, nbytes) in tensors.items():
        shape = row_major[::-1]
        made += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += _padded(nbytes, alignment)
    return bytes(made.ljust(_padded(len(made), alignment), b"\0"))


def _alignment(metadata: Mapping[str, object]) -> int:
    return int(str(metadata.get("general.alignment", 32)))


def _padded(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: object, key: str) -> bytes:
    """A value with its type in front."""
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, np.generic):
        return struct.pack("<I", _NUMBERS[value.dtype.str[1:]]) + value.tobytes()
    if isinstance(value, bool | int | float):
        scalar = _as_numpy([value])
        return struct.pack("<I", _NUMBERS[scalar.dtype.str[1:]]) + scalar.tobytes()
    return struct.pack("<I", _ARRAY) + _array(value, key)


def _array(value: object, key: str) -> bytes:
    """Element type, length and elements."""
    if isinstance(value, np.ndarray):
        return struct.pack("<IQ", _NUMBERS[value.dtype.str[1:]], value.size) + value.tobytes()
    if not isinstance(value, Sequence):
        raise TypeError(f"metadata {key!r}: got {type(value).__name__}, want a number, string, or sequence of these")
    if not value or isinstance(value[0], bool | int | float):
        return _array(_as_numpy(value), key)
    if isinstance(value[0], str):
        return struct.pack("<IQ", _STRING, len(value)) + b"".join(map(_string, value))
    return struct.pack("<IQ", _ARRAY, len(value)) + b"".join(_array(inner, key) for inner in value)


def _as_numpy(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if all(isinstance(v, bool) for v in values) and values:
        return np.array(values, np.bool_)
    if any(isinstance(v, float) for v in values):
        return np.array(values, np.float32)
    low, high = min(values, default=0), max(values, default=0)
    if low < 0:
        return np.array(values, np.int32 if low >= -(2**31) and high < 2**31 else np.int64)
    return np.array(values, np.uint32 if high < 2**32 else np.uint64)
