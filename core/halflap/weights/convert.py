"""Any ModelFile as a GGUF file, written tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from halflap.errors import InvalidRequestError, ModelFormatError
from halflap.weights.gguf_writer import KEPT_F32, head
from halflap.weights.model_file import ModelFile, TensorInfo, show
from halflap.weights.weight_type import Bytes, WeightType

__all__ = ["TYPES", "write"]

TYPES: Final = ("f16", "bf16", "f32")
_FLOATS: Final = tuple(name.upper() for name in TYPES)
_CHUNK: Final = 1 << 22
_ALIGNMENT: Final = 32


def write(
    file: ModelFile,
    path: Path,
    metadata: Mapping[str, Any],
    wanted: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the file; it appears under its name when it is whole.

    Args:
        metadata: what the new file shall say.
        wanted: type of the matrices stored as floats ("f16"); None: as they are.
        progress: called with the bytes written so far.

    Returns:
        Bytes written.

    Raises:
        InvalidRequestError: the path is a folder or cannot be written.
        ModelFormatError: a value does not fit the wanted type.
    """
    metadata = {key: value for key, value in metadata.items() if key != "general.alignment"}
    kinds = {name: _kind(file, info, wanted) for name, info in file.tensors.items()}
    sizes = {name: info.n_elements // kinds[name].block * kinds[name].nbytes for name, info in file.tensors.items()}
    described = {name: (kinds[name].gguf, info.shape, sizes[name]) for name, info in file.tensors.items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    done = 0
    try:
        with part.open("xb") as out:
            done += out.write(head(metadata, described))
            for name in file.tensors:
                for chunk in _data(file, name, kinds[name]):
                    done += out.write(chunk.data)
                    if progress is not None:
                        progress(done)
                done += out.write(bytes(-sizes[name] % _ALIGNMENT))
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InvalidRequestError(
            f"file {show(str(path))}", got=error.strerror or error, want="a place to write to", field="output"
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return done


def _kind(file: ModelFile, info: TensorInfo, wanted: str | None) -> WeightType:
    kind = file.weight_type(info.name)
    matrix = len(info.shape) > 1 and not info.name.endswith(KEPT_F32)
    return file.types[wanted.upper()] if wanted and matrix and kind.name in _FLOATS else kind


def _data(file: ModelFile, name: str, wanted: WeightType) -> Iterator[Bytes]:
    """The tensor's bytes in the wanted type, in order."""
    stored, kind = file.tensor_bytes(name), file.weight_type(name)
    if kind.name == wanted.name:
        yield stored
        return
    blocks = stored.reshape(-1, kind.nbytes)
    for start in range(0, len(blocks), _CHUNK):
        values = kind.dequantize(blocks[start : start + _CHUNK])
        if wanted.name == "F16" and (largest := float(np.abs(values).max(initial=0))) > np.finfo(np.float16).max:
            raise ModelFormatError(
                f"tensor {show(name)}", got=f"a value of {largest:.6g}", want="at most 65504, as F16 takes",
                fix="Choose bf16 or f32.", field=name,
            )  # fmt: skip
        yield wanted.quantize(values).reshape(-1)
