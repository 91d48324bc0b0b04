"""A model file as the rest of the runtime sees it, whatever its format: metadata, tensors and mapped regions."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import attrs
import numpy as np

from halflap.errors import ModelClosedError, ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["ModelFile", "Region", "TensorInfo", "Value", "show"]

Value = Any  # bool | int | float | str | list | np.ndarray | StringArray: what a metadata value may be

T = TypeVar("T", bool, int, float, str, list[Any])

_REQUIRED: Any = object()
_DECODE_CHUNK = 1 << 22  # elements decoded at a time: dequantising needs little beyond its result


def show(value: object) -> str:
    """A value of the file for a message: escaped and at most 80 characters, so that no file writes the terminal."""
    text = repr(value[:80] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 80 else text[:77] + "..."


class Region:
    """One file's bytes in page-aligned memory, mapped or read. Views taken from it keep the memory alive."""

    def __init__(self, path: Path, memory: mmap.mmap | None) -> None:
        self.path = path
        self._memory = memory
        self._array: Bytes | None = np.frombuffer(memory if memory is not None else b"", np.uint8)

    @classmethod
    def open(cls, path: Path, *, use_mmap: bool) -> Region:
        """Map `path`, or read it into anonymous pages.

        A mapped file that is cut while in use kills the process (SIGBUS); a read one cannot.

        Raises:
            ModelNotFoundError: there is no such file, or it may not be read.
            ModelFormatError: it is not a regular file, or shrank while it was read.
        """
        what = f"model file {show(str(path))}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ModelNotFoundError(what, got=reason, want="a readable file") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelFormatError(what, got="not a regular file", want="a file of bytes")
            if status.st_size == 0:
                return cls(path, None)
            if use_mmap:
                return cls(path, mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ))
            memory = mmap.mmap(-1, status.st_size)
            done = 0
            with memoryview(memory) as target:
                while done < status.st_size:
                    n = os.readv(descriptor, [target[done : done + (1 << 30)]])
                    if not n:
                        raise ModelFormatError(what, got=f"{done} bytes", want=f"{status.st_size} bytes", offset=done)
                    done += n
            return cls(path, memory)
        except OSError as error:
            raise ModelNotFoundError(what, got=error.strerror, want="a readable file") from error
        finally:
            os.close(descriptor)

    @property
    def array(self) -> Bytes:
        """u8 (file size,), read-only use.

        Raises:
            ModelClosedError: the file was closed.
        """
        if self._array is None:
            raise ModelClosedError(f"model file {show(self.path.name)}", got="closed", want="open")
        return self._array

    @property
    def address(self) -> int:
        """Where the first byte lies in this process; a multiple of the page size."""
        return int(self.array.ctypes.data)

    def sha256(self) -> str:
        """The content's hash, computed at each call: seconds per gigabyte."""
        return hashlib.sha256(self.array.data).hexdigest()

    def close(self) -> None:
        """Let go of the memory; it is unmapped when the last view of it is gone."""
        self._array = None
        if self._memory is not None:
            with contextlib.suppress(BufferError):  # a view still lives and keeps the mapping; its death unmaps
                self._memory.close()
            self._memory = None


@attrs.frozen
class TensorInfo:
    """Where a tensor lies and what it holds.

    Args:
        name: unique in the model.
        type: name of its weight type; "type 77" where this build knows no name for the number.
        shape: row-major, last axis contiguous: a linear weight is (n_out, n_in).
        region: index into `ModelFile.regions`.
        offset: of its first byte in that region.
        nbytes: its size; for a type without a known layout, the bytes up to the next tensor.
        note: how it is made of what the files hold; "" where it lies in its region as it is (else `region` is -1).
    """

    name: str
    type: str
    shape: tuple[int, ...]
    region: int
    offset: int
    nbytes: int
    note: str = ""

    @property
    def n_elements(self) -> int:
        """The product of the shape."""
        n = 1
        for size in self.shape:
            n *= size
        return n


@attrs.define(eq=False)
class ModelFile:
    """An open, checked model file. A context manager; `close()` is idempotent.

    Args:
        path: the first file.
        metadata: key -> Python value; see `halflap.weights.gguf` for the types.
        tensors: name -> TensorInfo, in file order.
        regions: one per file of a split model.
        types: name -> WeightType of the types that can be decoded.
        made: name -> what makes the bytes of a tensor that lies in no region, anew at each call.
    """

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, TensorInfo]
    regions: tuple[Region, ...]
    types: Mapping[str, WeightType] = attrs.field(repr=False)
    made: Mapping[str, Callable[[], Bytes]] = attrs.field(factory=dict, repr=False)

    @property
    def architecture(self) -> str:
        """`general.architecture`; ModelFormatError where the file has none."""
        return self.get("general.architecture", str)

    @overload
    def get(self, key: str, kind: type[T]) -> T: ...
    @overload
    def get(self, key: str, kind: type[T], default: T) -> T: ...
    @overload
    def get(self, key: str, kind: type[T], default: None) -> T | None: ...
    def get(self, key: str, kind: type[T], default: T | None = _REQUIRED) -> T | None:
        """The metadata value of `key`, checked.

        Args:
            key: full name ("llama.block_count").
            kind: bool, int, float (an integer is taken too), str, or list (any array, as Python values).
            default: what a missing key means; without it the key must be there.

        Raises:
            ModelFormatError: the key is missing without a default, or its value is of another kind.
        """
        value = self.metadata.get(key)
        if value is None:
            if default is _REQUIRED:
                raise self._wrong_metadata(key, "nothing", kind)
            return default
        if kind is list and not isinstance(value, str | bool | int | float):
            return value.tolist() if isinstance(value, np.ndarray) else list(value)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        raise self._wrong_metadata(key, f"{_KIND_WORDS.get(type(value), 'an array')} {show(value)}", kind)

    def _wrong_metadata(self, key: str, got: str, kind: type[object]) -> ModelFormatError:
        return ModelFormatError(
            f"{self.path.name}: metadata {show(key)}", got=got, want=_KIND_WORDS[kind], file=str(self.path), field=key
        )

    def weight_type(self, name: str) -> WeightType:
        """The storage type of tensor `name`.

        Raises:
            ModelFormatError: there is no such tensor.
            UnsupportedModelError: nobody registered its type.
        """
        info = self._info(name)
        kind = self.types.get(info.type)
        if kind is None:
            raise UnsupportedModelError(
                f"{self.path.name}: weight type of tensor {show(info.name)}",
                got=info.type,
                want=f"one of {', '.join(sorted(self.types))}",
                fix="A plugin that registers it may be missing (see `halflap plugins`); or convert the model.",
                what_kind="weight type",
                name=info.type,
            )
        return kind

    def tensor_bytes(self, name: str) -> Bytes:
        """The bytes of tensor `name`: a u8 (nbytes,) view of the region, or a new array where it has to be made.

        Raises:
            ModelFormatError: there is no such tensor.
            UnsupportedModelError: its type has no known layout.
            ModelClosedError: the file was closed.
        """
        info = self._info(name)
        self.weight_type(name)
        if info.name in self.made:
            return self.made[info.name]()
        return self.regions[info.region].array[info.offset : info.offset + info.nbytes]

    def dequantize(self, name: str) -> Floats:
        """Tensor `name` as f32 in its shape, by the reference decoder of its type.

        Raises:
            As `tensor_bytes`.
        """
        info, kind = self._info(name), self.weight_type(name)
        blocks = self.tensor_bytes(name).reshape(-1, kind.nbytes)
        values = np.empty((len(blocks), kind.block), np.float32)
        step = max(1, _DECODE_CHUNK // kind.block)
        for start in range(0, len(blocks), step):
            values[start : start + step] = kind.dequantize(blocks[start : start + step])
        return values.reshape(info.shape)

    def _info(self, name: str) -> TensorInfo:
        info = self.tensors.get(name)
        if info is None:
            raise ModelFormatError(
                f"{self.path.name}: tensor {show(name)}",
                got="nothing",
                want="a tensor of that name",
                file=str(self.path),
                field=name,
            )
        return info

    def close(self) -> None:
        """Release the regions; arrays handed out before stay valid and keep their memory."""
        for region in self.regions:
            region.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_KIND_WORDS: dict[type[object], str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
}
