"""GGUF files, versions 2 and 3, little-endian, whole or split: open(path) -> ModelFile.

Metadata values are Python values: bool, int, float, str; arrays of strings are a lazy `Sequence[str]`; arrays of
numbers are lists up to 1,024 elements and numpy arrays beyond; arrays of arrays are lists. Every file is hostile
until checked: limits stand in `gguf_values.py` and below, and no content raises anything but the errors of `open`.

Source: GGUF specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

import attrs

from halflap.errors import ModelError, ModelNotFoundError, UnsupportedModelError
from halflap.weights.catalogue import WEIGHT_TYPES
from halflap.weights.gguf_values import MAX_KEY_BYTES, Cursor
from halflap.weights.model_file import ModelFile, Region, TensorInfo, Value, show
from halflap.weights.weight_type import WeightType

__all__ = ["builtin_types", "open"]

MAX_TENSORS: Final = 65_536
MAX_KEYS: Final = 65_536
MAX_TENSOR_NAME: Final = 255  # ggml itself stops at 63
MAX_DIMS: Final = 4
MAX_ALIGNMENT: Final = 1 << 16
MAX_PARTS: Final = 1_024
_MAX_BYTES: Final = 1 << 62  # no tensor reaches this; keeps every size within int64 for native code

# Numbers that have a name but no layout here: activation-side types, and types that GGUF removed.
_NAMES_ONLY: Final = {
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip

_PART = re.compile(r"(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@cache
def builtin_types() -> dict[int, WeightType]:
    """GGUF type number -> WeightType, for the types that come with Halflap."""
    types = {}
    for name, reference, number in WEIGHT_TYPES:
        module, _, attribute = reference.partition(":")
        kind: WeightType = getattr(import_module(module), attribute)
        assert (kind.name, kind.gguf) == (name, number)
        types[number] = kind
    return types


def open(  # noqa: A001 - the name every format's entry point has
    path: str | os.PathLike[str], *, mmap: bool = True, types: Mapping[int, WeightType] | None = None
) -> ModelFile:
    """Open and check a GGUF file; any part of a split model opens all of it.

    Args:
        path: the file.
        mmap: map it; else read it into memory (slower, but safe from a file that is cut while in use).
        types: further weight types by GGUF number; the built-in ones are always there.

    Returns:
        An open ModelFile. Tensors of unknown types are listed; only asking for their data fails.

    Raises:
        ModelNotFoundError: the file, or a part of a split model, is not there.
        ModelFormatError: it is damaged, cut or hostile.
        UnsupportedModelError: it is big-endian or of another GGUF version.
    """
    known = {**(types or {}), **builtin_types()}
    path = Path(path)
    parts: list[_Part] = []
    try:
        with _collector_paused():
            parts.append(_read_part(path, mmap, 0, known))
            parts = _read_siblings(parts, mmap, known)
            return _join(parts, known)
    except ModelError:
        for part in parts:
            part.region.close()
        raise


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Half a million new objects make the cyclic collector the slowest part of opening a file."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@attrs.frozen
class _Part:
    region: Region
    metadata: dict[str, Value]
    tensors: list[TensorInfo]
    cursor: Cursor


def _read_part(path: Path, use_mmap: bool, index: int, known: Mapping[int, WeightType]) -> _Part:
    region = Region.open(path, use_mmap=use_mmap)
    cursor = Cursor(region.array, path)
    try:
        n_tensors, n_keys = _read_header(cursor)
        metadata = _read_metadata(cursor, n_keys)
        alignment = _alignment(cursor, metadata)
        tensors = _read_tensor_infos(cursor, n_tensors, alignment, index, known)
    except ModelError:
        region.close()
        raise
    finally:
        cursor.data = memoryview(b"")  # a view would keep the region mapped
    return _Part(region, metadata, tensors, cursor)


def _read_header(cursor: Cursor) -> tuple[int, int]:
    magic = bytes(cursor.data[:4])
    if magic != b"GGUF":
        cursor.fail("magic", show(magic), "b'GGUF'", "This is no GGUF file.")
    cursor.pos = 4
    version = cursor.u32("version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        got, fix = f"version {version}", "Convert the model again with a current converter."
        if swapped in (1, 2, 3):
            got, fix = f"a big-endian file (version {swapped})", "Convert the model again without --bigendian."
        elif version != 1 and version > 64:
            cursor.fail("version", version, "2 or 3")
        raise UnsupportedModelError(
            f"{cursor.path.name}: GGUF version",
            got=got,
            want="little-endian, version 2 or 3",
            fix=fix,
            what_kind="GGUF version",
            name=str(version),
        )
    n_tensors = cursor.u64("tensor count")
    n_keys = cursor.u64("metadata count")
    # A tensor takes 24 bytes at least, a key 13: a count beyond the file is a lie before it is a loop.
    if n_tensors > min(MAX_TENSORS, cursor.size // 24):
        cursor.fail("tensor count", n_tensors, f"at most {min(MAX_TENSORS, cursor.size // 24)} in this file")
    if n_keys > min(MAX_KEYS, cursor.size // 13):
        cursor.fail("metadata count", n_keys, f"at most {min(MAX_KEYS, cursor.size // 13)} in this file")
    return n_tensors, n_keys


def _read_metadata(cursor: Cursor, n_keys: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(n_keys):
        key = cursor.string("metadata key", MAX_KEY_BYTES)
        if key in metadata:
            cursor.fail(f"metadata {show(key)}", "the same key twice", "each key once")
        metadata[key] = cursor.value(key)
    return metadata


def _integer(cursor: Cursor, metadata: Mapping[str, Value], key: str, default: int) -> int:
    value = metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        cursor.fail(f"metadata {show(key)}", show(value), "integer")
    return value


def _alignment(cursor: Cursor, metadata: Mapping[str, Value]) -> int:
    alignment = _integer(cursor, metadata, "general.alignment", 32)
    if not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        cursor.fail("metadata 'general.alignment'", alignment, f"a power of two from 8 to {MAX_ALIGNMENT}")
    return alignment


def _read_tensor_infos(
    cursor: Cursor, n_tensors: int, alignment: int, region: int, known: Mapping[int, WeightType]
) -> list[TensorInfo]:
    claims: list[tuple[int, str, int, tuple[int, ...], int]] = []  # offset, name, number, shape, bytes (0: unknown)
    names: set[str] = set()
    for _ in range(n_tensors):
        name = cursor.string("tensor name", MAX_TENSOR_NAME)
        what = f"tensor {show(name)}"
        if name in names:
            cursor.fail(what, "the same name twice", "each name once")
        names.add(name)
        n_dims = cursor.u32(f"{what} dimensions")
        if n_dims > MAX_DIMS:
            cursor.fail(f"{what} dimensions", n_dims, f"at most {MAX_DIMS}")
        shape = tuple(reversed([cursor.u64(f"{what} shape") for _ in range(n_dims)]))
        number = cursor.u32(f"{what} type")
        offset = cursor.u64(f"{what} offset")
        if offset % alignment:
            cursor.fail(f"{what} offset", offset, f"a multiple of {alignment}")
        claims.append((offset, name, number, shape, _nbytes(cursor, what, shape, known.get(number))))
    start = -(-cursor.pos // alignment) * alignment
    return _placed(cursor, claims, start, region, known)


def _nbytes(cursor: Cursor, what: str, shape: tuple[int, ...], kind: WeightType | None) -> int:
    n = 1
    for size in shape:
        n *= size
        if not 0 < n <= _MAX_BYTES:
            cursor.fail(f"{what} shape", list(shape), f"sizes from 1, of at most {_MAX_BYTES} elements together")
    if kind is None:
        return 0
    if kind.block > 1 and (not shape or shape[-1] % kind.block):
        cursor.fail(f"{what} shape", list(shape), f"rows of a multiple of {kind.block} elements, for {kind.name}")
    return n // kind.block * kind.nbytes


def _placed(
    cursor: Cursor,
    claims: list[tuple[int, str, int, tuple[int, ...], int]],
    start: int,
    region: int,
    known: Mapping[int, WeightType],
) -> list[TensorInfo]:
    """The tensors in file order, none beyond the end of the file and none in another's bytes."""
    room = cursor.size - start
    by_offset = sorted(range(len(claims)), key=lambda i: claims[i][0])
    limits = [claims[i][0] for i in by_offset[1:]] + [room][: len(claims)]
    sizes = [0] * len(claims)
    for i, limit in zip(by_offset, limits, strict=True):
        offset, name, number, _, nbytes = claims[i]
        if offset + nbytes > room or offset >= room:
            cursor.fail(
                f"tensor {show(name)} data",
                f"bytes {start + offset} to {start + offset + nbytes} in a file of {cursor.size}",
                "data inside the file",
                "The file is cut: download it again.",
            )
        if offset + nbytes > limit or offset == limit:
            cursor.fail(f"tensor {show(name)} data", "bytes shared with another tensor", "each byte in one tensor")
        sizes[i] = nbytes if number in known else limit - offset
    infos = []
    for (offset, name, number, shape, _), size in zip(claims, sizes, strict=True):
        kind = known.get(number)
        type_name = kind.name if kind else _NAMES_ONLY.get(number, f"type {number}")
        infos.append(TensorInfo(name, type_name, shape, region, start + offset, size))
    return infos


def _read_siblings(parts: list[_Part], use_mmap: bool, known: Mapping[int, WeightType]) -> list[_Part]:
    """All parts in order, given the one that was opened; the list is also what `open` closes on failure."""
    opened = parts[0]
    cursor, path = opened.cursor, opened.region.path
    count = _integer(cursor, opened.metadata, "split.count", 1)
    if not 0 <= count <= MAX_PARTS:
        cursor.fail("metadata 'split.count'", count, f"0 to {MAX_PARTS}")
    if count <= 1:
        return parts
    match = _PART.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        cursor.fail(
            "file name",
            show(path.name),
            f"a name that ends in -00001-of-{count:05d}.gguf, as part of a split model",
            "Give the parts the names they were published under.",
        )
    here = int(match["no"]) - 1
    for index in range(count):
        if index == here:
            continue
        sibling = path.with_name(f"{match['stem']}-{index + 1:05d}-of-{count:05d}.gguf")
        try:
            parts.append(_read_part(sibling, use_mmap, index, known))
        except ModelNotFoundError as error:
            raise ModelNotFoundError(
                f"part {index + 1} of {count} of the split model",
                got=f"no file {show(str(sibling))}",
                want="all parts in one folder",
                fix="Download the missing part.",
            ) from error
    parts[0] = attrs.evolve(opened, tensors=[attrs.evolve(info, region=here) for info in opened.tensors])
    ordered = parts[1:]
    ordered.insert(here, parts[0])
    for index, part in enumerate(ordered):
        for key, want in (("split.no", index), ("split.count", count)):
            if (got := _integer(part.cursor, part.metadata, key, -1)) != want:
                part.cursor.fail(f"metadata '{key}'", got, want, "The parts are of different models.")
    return ordered


def _join(parts: list[_Part], known: Mapping[int, WeightType]) -> ModelFile:
    """One ModelFile; metadata is the first part's, as split files keep it there."""
    tensors: dict[str, TensorInfo] = {}
    for part in parts:
        for info in part.tensors:
            if info.name in tensors:
                part.cursor.fail(f"tensor {show(info.name)}", "the same name in two parts", "each name once")
            tensors[info.name] = info
    first = parts[0]
    want = _integer(first.cursor, first.metadata, "split.tensors.count", len(tensors))
    if len(parts) > 1 and want != len(tensors):
        first.cursor.fail("metadata 'split.tensors.count'", want, f"{len(tensors)}, the tensors found in the parts")
    return ModelFile(
        first.region.path,
        first.metadata,
        tensors,
        tuple(part.region for part in parts),
        {kind.name: kind for kind in known.values()},
    )
