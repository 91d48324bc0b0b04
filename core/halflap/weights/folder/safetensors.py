"""The safetensors format: a JSON header with name, type, shape and place of every tensor, then their bytes.

Every file is hostile until checked: a header may claim anything about its own length, shapes, types and places.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs

from halflap.errors import ModelFormatError
from halflap.weights.model_file import Region, show

__all__ = ["MAX_TENSORS", "Stored", "read_header"]

# Limits. Each bounds time and memory; the largest published models stay well below.
MAX_HEADER: Final = 32 << 20  # bytes of one file's header
MAX_TENSORS: Final = 1 << 18  # of all shards together
MAX_DIMS: Final = 8
MAX_NAME: Final = 1_024
_MAX_BYTES: Final = 1 << 62

SIZES: Final[Mapping[str, int]] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""Bytes of one element by the format's name for its type."""


@attrs.frozen
class Stored:
    """A tensor as a shard has it.

    Attributes:
        dtype: the format's name ("BF16").
        shape: row-major.
        region: which shard, by its place among the folder's.
        offset: of its first byte in the shard.
        nbytes: its size.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    region: int
    offset: int
    nbytes: int


def read_header(region: Region, index: int) -> dict[str, Stored]:
    """The tensors of one file by name, checked: inside the file, none in another's bytes.

    Args:
        index: what their `region` shall be.

    Raises:
        ModelFormatError: names the file and the field.
    """
    data, path = region.array, region.path
    if len(data) < 8:
        _fail(path, "header length", f"a file of {len(data)} bytes", "at least 8", offset=0)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(MAX_HEADER, len(data) - 8):
        _fail(path, "header length", length, f"at most {min(MAX_HEADER, len(data) - 8)} in this file", offset=0)
    try:
        header = json.loads(data[8 : 8 + length].tobytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        _fail(path, "header", f"no JSON ({str(error)[:80]})", "a JSON object", offset=8)
    if not isinstance(header, dict):
        _fail(path, "header", type(header).__name__, "a JSON object", offset=8)
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        _fail(path, "tensor count", len(header), f"at most {MAX_TENSORS}")
    found = {name: _stored(path, name, entry, index, 8 + length, len(data)) for name, entry in header.items()}
    last = 0
    for tensor in sorted(found.values(), key=lambda t: (t.offset, t.nbytes)):
        if tensor.offset < last and tensor.nbytes:
            what = f"tensor {show(tensor.name)} data_offsets"
            _fail(path, what, "bytes shared with another tensor", "each byte in one tensor", field=tensor.name)
        last = max(last, tensor.offset + tensor.nbytes)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the same name twice")
    return found


def _stored(path: Path, name: str, entry: Any, region: int, start: int, end: int) -> Stored:
    what = f"tensor {show(name)}"

    def fail(field: str, got: object, want: object) -> NoReturn:
        _fail(path, f"{what} {field}", got if isinstance(got, str) else show(got), want, field=name)

    if len(name) > MAX_NAME:
        fail("name", f"{len(name)} characters", f"at most {MAX_NAME}")
    if not isinstance(entry, dict):
        fail("entry", type(entry).__name__, "an object with dtype, shape and data_offsets")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in SIZES:
        fail("dtype", dtype, f"one of {', '.join(SIZES)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMS or not all(type(n) is int and n >= 0 for n in shape):
        fail("shape", shape, f"at most {MAX_DIMS} whole numbers")
    size = SIZES[dtype]
    for n in shape:
        size *= n
        if size > _MAX_BYTES:
            fail("shape", shape, f"at most {_MAX_BYTES} bytes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in offsets):
        fail("data_offsets", offsets, "two whole numbers")
    first, last = offsets
    if last - first != size:
        fail("data_offsets", offsets, f"{size} bytes, as {dtype} of shape {shape} takes")
    if start + last > end:
        fail("data_offsets", f"bytes to {start + last} in a file of {end}", "data inside the file")
    return Stored(name, dtype, tuple(shape), region, start + first, size)


def _fail(
    path: Path, what: str, got: object, want: object, *, field: str | None = None, offset: int | None = None
) -> NoReturn:
    raise ModelFormatError(
        f"{path.name}: {what}", got=got, want=want, file=str(path), offset=offset, field=field or what
    )
