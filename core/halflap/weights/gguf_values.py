"""Reading GGUF values out of a byte region, with a limit on everything a file can claim.

Source: GGUF specification, "File structure": https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NoReturn, overload

import numpy as np
import numpy.typing as npt

from halflap.errors import ModelFormatError
from halflap.weights.model_file import Value, show
from halflap.weights.weight_type import Bytes

__all__ = ["Cursor", "StringArray"]

# Limits. Each bounds time and memory; the largest published models stay well below.
MAX_KEY_BYTES: Final = 65_535  # the specification's own limit
MAX_STRING_BYTES: Final = 32 << 20  # one scalar string: chat templates, embedded tokenizer.json
MAX_SCALAR_BYTES: Final = 64 << 20  # all scalar strings of a file
MAX_STRINGS: Final = 1 << 21  # strings in all arrays of a file (gemma: 777,050)
MAX_DEPTH: Final = 4  # arrays in arrays
MAX_ARRAYS: Final = 1 << 16  # arrays inside arrays, in all
LIST_ELEMENTS: Final = 1_024  # up to here an array of numbers becomes a list, …
MAX_LISTED: Final = 1 << 18  # … while a file has no more than this many such elements

_SCALARS: Final[dict[int, str]] = {
    0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
_BOOL: Final = 7
_STRING: Final = 8
_ARRAY: Final = 9

_U32 = struct.Struct("<I").unpack_from
_U64 = struct.Struct("<Q").unpack_from
_UNPACK = {kind: struct.Struct("<" + code).unpack_from for kind, code in zip(_SCALARS, "BbHhIif?Qqd", strict=True)}
_SCAN_CHUNK: Final = 65_536
_SEPARATE_FROM: Final = 256
_SEPARATORS: Final = (0, 1, 2, 30, 31)


class StringArray(Sequence[str]):
    """An array of strings, decoded when asked for; `list(array)` decodes all at once and is the fast way.

    Text is UTF-8; bytes that are not come out as lone surrogates (`errors="surrogateescape"`), so that
    `s.encode("utf-8", "surrogateescape")` always gives back the bytes of the file.
    """

    __slots__ = ("_blob", "_starts")

    def __init__(self, blob: bytes, starts: npt.NDArray[np.int64]) -> None:
        self._blob = blob  # length (8 bytes) and text of each string, as in the file
        self._starts = starts  # (n + 1,): where each length lies in the blob, and its end

    def __len__(self) -> int:
        return len(self._starts) - 1

    def _decode(self, first: int, last: int) -> list[str]:
        blob = self._blob
        bounds = self._starts[first : last + 1].tolist()
        return [blob[a + 8 : b].decode("utf-8", "surrogateescape") for a, b in pairwise(bounds)]

    def _decode_all(self) -> list[str]:
        """One decoder call for all: every length becomes one separator, and the text is split there."""
        n = len(self)
        starts = self._starts[:-1]
        packed = np.frombuffer(self._blob, np.uint8).copy()
        keep = np.ones(len(packed), np.bool_)
        for k in range(1, 8):
            keep[starts + k] = False
        for separator in _SEPARATORS:
            packed[starts] = separator
            text = packed[keep]
            if np.count_nonzero(text == separator) == n:
                return text[1:].tobytes().decode("utf-8", "surrogateescape").split(chr(separator))
        return self._decode(0, n)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            return [self[i] for i in range(first, last, step)] if step != 1 else self._decode(first, max(first, last))
        i = range(len(self))[index]
        return self._decode(i, i + 1)[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decode_all() if len(self) > _SEPARATE_FROM else self._decode(0, len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} strings>"


class Cursor:
    """A position in a file's bytes. Every read is checked against the end; what fails names the field."""

    def __init__(self, region: Bytes, path: Path) -> None:
        self.data = region.data
        self.size = len(region)
        self.path = path
        self.pos = 0
        self._strings = MAX_STRINGS
        self._scalar_bytes = MAX_SCALAR_BYTES
        self._arrays = MAX_ARRAYS
        self._listed = MAX_LISTED

    def fail(self, what: str, got: object, want: object, fix: str | None = None) -> NoReturn:
        """Raise ModelFormatError for field `what` at this position."""
        raise ModelFormatError(
            f"{self.path.name}: {what}", got=got, want=want, fix=fix, file=str(self.path), offset=self.pos, field=what
        )

    def need(self, n: int, what: str) -> None:
        """Require n more bytes."""
        if n > self.size - self.pos:
            self.fail(what, f"{self.size - self.pos} bytes to the end of the file", f"{n}", "Download the file again.")

    def u32(self, what: str) -> int:
        self.need(4, what)
        value: int = _U32(self.data, self.pos)[0]
        self.pos += 4
        return value

    def u64(self, what: str) -> int:
        self.need(8, what)
        value: int = _U64(self.data, self.pos)[0]
        self.pos += 8
        return value

    def string(self, what: str, limit: int) -> str:
        """A string of at most `limit` bytes, decoded as in StringArray."""
        n = self.u64(what)
        if n > limit:
            self.fail(what, f"a string of {n} bytes", f"at most {limit}")
        self.need(n, what)
        text = str(self.data[self.pos : self.pos + n], "utf-8", "surrogateescape")
        self.pos += n
        return text

    def value(self, key: str) -> Value:
        """A metadata value with its type in front."""
        what = f"metadata {show(key)}"
        kind = self.u32(f"type of {what}")
        if kind == _STRING:
            text = self.string(what, min(MAX_STRING_BYTES, self._scalar_bytes))
            self._scalar_bytes -= len(text)
            return text
        if kind == _ARRAY:
            return self._array(what, 1)
        unpack = _UNPACK.get(kind)
        if unpack is None:
            self.fail(f"type of {what}", kind, "a value type from 0 to 12")
        if kind == _BOOL:
            return bool(self._numbers(_BOOL, 1, what)[0])
        width = np.dtype(_SCALARS[kind]).itemsize
        self.need(width, what)
        value = unpack(self.data, self.pos)[0]
        self.pos += width
        return value

    def _array(self, what: str, depth: int) -> Value:
        kind = self.u32(f"element type of {what}")
        n = self.u64(f"length of {what}")
        if kind == _STRING:
            return self._string_array(n, what)
        if kind == _ARRAY:
            if depth == MAX_DEPTH:
                self.fail(what, f"arrays nested more than {MAX_DEPTH} deep", f"at most {MAX_DEPTH}")
            if n > self._arrays:
                self.fail(what, f"{n} nested arrays", f"at most {MAX_ARRAYS} in a file")
            self.need(12 * n, what)
            self._arrays -= n
            return [self._array(what, depth + 1) for _ in range(n)]
        if kind not in _SCALARS:
            self.fail(f"element type of {what}", kind, "a value type from 0 to 12")
        numbers = self._numbers(kind, n, what)
        if n > LIST_ELEMENTS or n > self._listed:
            return numbers.copy()  # its own memory: the region may be closed
        self._listed -= n
        return numbers.tolist()

    def _numbers(self, kind: int, n: int, what: str) -> npt.NDArray[Any]:
        dtype = np.dtype(_SCALARS[kind])
        self.need(n * dtype.itemsize, what)
        numbers = np.frombuffer(self.data, dtype, n, self.pos) if n else np.empty(0, dtype)
        if kind == _BOOL:
            if n and numbers.max() > 1:
                self.fail(what, f"a boolean of {numbers.max()}", "0 or 1")
            numbers = numbers.view(np.bool_)
        self.pos += n * dtype.itemsize
        return numbers

    def _string_array(self, n: int, what: str) -> StringArray:
        if n > self._strings:
            self.fail(what, f"{n} strings", f"at most {MAX_STRINGS} in a file")
        self.need(8 * n, what)
        self._strings -= n
        starts = np.empty(n + 1, np.int64)
        data, pos = self.data, self.pos
        try:
            for first in range(0, n, _SCAN_CHUNK):
                chunk: list[int] = []
                append = chunk.append
                for _ in range(min(_SCAN_CHUNK, n - first)):
                    append(pos)
                    pos += 8 + _U64(data, pos)[0]
                starts[first : first + len(chunk)] = chunk
        except (struct.error, OverflowError, IndexError):
            self.fail(what, "a string past the end of the file", f"{n} strings inside it", "Download the file again.")
        if pos > self.size:
            self.fail(what, "a string past the end of the file", f"{n} strings inside it", "Download the file again.")
        starts[n] = pos
        starts -= self.pos
        blob = bytes(data[self.pos : pos])
        self.pos = pos
        return StringArray(blob, starts)
