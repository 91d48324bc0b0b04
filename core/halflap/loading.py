"""From a model's name to an open file, a tokenizer, a graph and a plan: what `load`, `plan` and `inspect` share."""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, frozen

from halflap import placement, plugins
from halflap.adapters import NO_ADAPTERS, Adapters
from halflap.adapters import read as read_adapters
from halflap.architectures import loading as architectures
from halflap.architectures.changes import NO_CHANGES, Changes
from halflap.architectures.loading import Architecture
from halflap.device.interface import Device, Weight
from halflap.device.opening import open_devices
from halflap.device.sizes import host_memory
from halflap.engine.request import check_option
from halflap.errors import (
    HalflapError,
    InvalidRequestError,
    ModelClosedError,
    ModelFormatError,
    ModelNotFoundError,
)
from halflap.graph.extras import with_taps
from halflap.graph.ir import Graph
from halflap.placement import Plan, Wishes
from halflap.text.tokenizer import Tokenizer
from halflap.weights.model_file import ModelFile

if TYPE_CHECKING:  # loaded with the first projector
    from halflap.projectors.loading import Projection

HEADER = 16
SAMPLED = 4096
"""Blocks of a tensor by which its magnitude is judged."""
SAMPLE = 256
"""Bytes at both ends of a tensor that tell it from another."""
READ_AHEAD = 32 << 20
"""Bytes touched between two looks at whether the file is still open."""


@frozen
class ModelInfo:
    """What a model is.

    Attributes:
        context: tokens it was trained for.
        file_bytes: size of its tensors in the file.
        sampling: options that the file recommends.
        pooling: how `embed` makes one row of many, if the file says so.
        outputs: what it computes of a token: "logits", "hidden", "scores" (a classifier's, one per label).
        start: the token that answers begin with in a model whose encoder reads the prompt; None: it has no encoder.
    """

    name: str
    path: str
    architecture: str
    parameters: int
    file_bytes: int
    context: int
    layers: int
    width: int
    vocab: int
    sampling: Mapping[str, Any]
    pooling: str | None
    outputs: tuple[str, ...]
    start: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_model(model: str | os.PathLike[str]) -> Path:
    """The file or folder behind a registered name ("starter"), a scheme ("hf:…") or a path.

    Raises:
        ModelNotFoundError: none of these.
    """
    name = os.fspath(model)
    scheme, colon, rest = name.partition(":")
    for entry in plugins.entries("models"):
        if entry.name == name:
            return Path(entry.resolve()())
        if colon and entry.name == f"{scheme}:":
            return Path(entry.resolve()(rest))
    path = Path(name)
    if path.is_file() or _held_format(path) is not None:
        return path
    names = [n for n in plugins.names("models") if not n.endswith(":")]
    got = "a folder" if path.is_dir() else "no regular file" if path.exists() else "no such file"
    registered = f" or one of the names {', '.join(map(repr, names))}" if names else ""
    raise ModelNotFoundError(
        f"model {name!r}", got=got, want=f"the path of a GGUF file, or of a folder with config.json{registered}"
    )


def open_model(model: str | os.PathLike[str], *, mmap: bool = True) -> ModelFile:
    """Open a model with the format whose magic the file begins with, or whose file the folder holds.

    Raises:
        ModelNotFoundError: no such file.
        ModelFormatError: no known format, or damaged.
    """
    path = find_model(model)
    if (folder := _held_format(path)) is not None:
        opened: ModelFile = folder.resolve()(path, mmap=mmap, types=_plugin_weight_types())
        return opened
    try:
        with path.open("rb") as file:
            head = file.read(HEADER)
    except OSError as cause:
        raise ModelNotFoundError(f"model {str(path)!r}", got=cause.strerror or cause, want="a readable file") from cause
    with_magic = [entry for entry in plugins.entries("model_formats") if "magic" in entry.facts]
    for entry in with_magic:
        if head.startswith(entry.facts["magic"]):
            found: ModelFile = entry.resolve()(path, mmap=mmap, types=_plugin_weight_types())
            return found
    known = ", ".join(f"{e.name} ({e.facts['magic']!r})" for e in with_magic)
    raise ModelFormatError("file's first bytes", got=head[:4], want=f"those of {known}", file=str(path), offset=0)


def _held_format(path: Path) -> plugins.Entry | None:
    """The format of a folder, by a file in it; of that file itself too."""
    for entry in plugins.entries("model_formats"):
        held = entry.facts.get("holds")
        if held and (path.joinpath(held).is_file() if path.is_dir() else path.name == held and path.is_file()):
            return entry
    return None


def read_ahead(file: ModelFile) -> None:
    """Touch the pages of an open file on a thread of its own, while this one builds tokenizer and plan.

    A file that would not fit what memory is free is left alone: reading it ahead would only push itself out again.
    """
    if sum(region.array.nbytes for region in file.regions) < host_memory()[0]:
        threading.Thread(target=_touch, args=(file,), name="halflap-read-ahead", daemon=True).start()


def _touch(file: ModelFile) -> None:
    with suppress(ModelClosedError):
        for region in file.regions:
            for start in range(0, region.array.nbytes, READ_AHEAD):
                region.array[start : start + READ_AHEAD : mmap.PAGESIZE].max()


def _plugin_weight_types() -> dict[int, Any]:
    """GGUF type number -> WeightType, for the types that plugins add to the built-in ones."""
    added = (entry for entry in plugins.entries("weight_types") if entry.owner != plugins.BUILT_IN)
    return {entry.facts["gguf"]: entry.resolve() for entry in added if "gguf" in entry.facts}


def open_architecture(file: ModelFile, changes: Changes = NO_CHANGES) -> Architecture:
    """The graph of an open file, whose tensors from here on have the shapes of that graph: axes of 1 may differ.

    Args:
        changes: what is to be read otherwise than the file says.

    Raises:
        UnsupportedModelError: its architecture, or the type of a weight that the graph needs.
        ModelFormatError: metadata or tensors that do not make a model.
    """
    tensors = {name: (info.type, info.shape) for name, info in file.tensors.items()}

    def magnitude(name: str) -> float:
        kind, size = file.weight_type(name), file.tensor_bytes(name)
        values = kind.dequantize(size[: SAMPLED * kind.nbytes].reshape(-1, kind.nbytes))
        return float((values.astype("float64") ** 2).mean() ** 0.5)

    architecture = architectures.load(file.architecture, file.metadata, tensors, changes, magnitude)
    graph = architecture.graph
    shapes = {name: tuple(map(int, graph.values[name].shape)) for name in graph.weights()}
    for name in shapes:
        file.weight_type(name)
    file.tensors = {n: evolve(info, shape=shapes.get(n, info.shape)) for n, info in file.tensors.items()}
    return architecture


def extended(
    file: ModelFile,
    architecture: Architecture,
    adapters: Mapping[str, str | os.PathLike[str]],
    taps: Sequence[str],
) -> tuple[Architecture, Adapters]:
    """An architecture with room for adapters and with taps, and the adapters.

    Raises:
        ModelNotFoundError, ModelFormatError, UnsupportedModelError: an adapter.
        InvalidRequestError: a layer to tap that is not there.
    """
    if not adapters and not taps:
        return architecture, NO_ADAPTERS
    bank = read_adapters(adapters, file.architecture, architecture.graph)
    return evolve(architecture, graph=with_taps(bank.into(architecture.graph), taps)), bank


def open_projection(
    projector: str | os.PathLike[str], file: ModelFile, *, mmap: bool = True
) -> tuple[ModelFile, Projection]:
    """The projector file that goes with an open text model; the caller closes it.

    Raises:
        ModelNotFoundError, ModelFormatError, UnsupportedModelError: the file, or it does not fit the text model.
    """
    from halflap.projectors import loading as projectors

    width = file.metadata.get(f"{file.architecture}.embedding_length")
    opened = open_model(projector, mmap=mmap)
    try:
        return opened, projectors.read(opened, int(width) if isinstance(width, int) else 0)
    except BaseException:
        opened.close()
        raise


def open_tokenizer(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that metadata describes, with what plugins add to the built-in kinds.

    Raises:
        ModelFormatError: the metadata is missing or contradicts itself.
        UnsupportedModelError: a kind that nobody registered.
    """
    added = [entry for entry in plugins.entries("tokenizers") if entry.owner != plugins.BUILT_IN]
    for entry in added:
        if entry.facts.get("kind") == "model" and entry.name == metadata.get("tokenizer.ggml.model"):
            made: Tokenizer = entry.resolve()(metadata)
            return made
    pretokenizers = {entry.name: entry.resolve()() for entry in added if entry.facts.get("kind") == "pre"}
    return Tokenizer.from_metadata(metadata, pretokenizers=pretokenizers)


class FileWeights(Mapping[str, Weight]):
    """Every tensor of an open file as the devices take it, when they ask: its bytes lie in the mapping, or are made."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file

    def __getitem__(self, name: str) -> Weight:
        info = self._file.tensors[name]
        return Weight(name, info.type, info.shape, self._file.tensor_bytes(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.tensors)

    def __len__(self) -> int:
        return len(self._file.tensors)


def weights_of(file: ModelFile) -> Mapping[str, Weight]:
    """Every tensor as the devices take it; bytes stay in the mapping."""
    return FileWeights(file)


def identity(file: ModelFile, graph: Graph, plan: Plan) -> str:
    """What a stored prefix depends on: the graph, the weights (their shapes and a sample of their bytes), KV types."""
    found = hashlib.sha256(graph.digest().encode())
    for name, info in file.tensors.items():
        data = file.tensor_bytes(name)
        found.update(repr((name, info.type, info.shape)).encode())
        found.update(data[:SAMPLE].tobytes() + data[-SAMPLE:].tobytes())
    found.update(repr((plan.kv_type, plan.kv_rotation)).encode())
    return found.hexdigest()


def model_info(file: ModelFile, architecture: Architecture, changes: Changes = NO_CHANGES) -> ModelInfo:
    meta, name = changes.metadata(file.metadata), file.architecture
    sampling = _recommended(meta)
    count = 0
    for info in file.tensors.values():
        size = 1
        for dim in info.shape:
            size *= dim
        count += size
    return ModelInfo(
        name=str(meta.get("general.name", file.path.stem)),
        path=str(file.path),
        architecture=name,
        parameters=count,
        file_bytes=sum(info.nbytes for info in file.tensors.values()),
        context=architecture.context,
        layers=architecture.layers,
        width=architecture.width,
        vocab=architecture.vocab,
        sampling=sampling,
        pooling=architecture.pooling,
        outputs=architecture.graph.outputs,
        start=architecture.start,
    )


def _recommended(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The options under general.sampling.* that a request could carry; a file's nonsense is left out."""
    found: dict[str, Any] = {}
    for key, option in (("temp", "temperature"), ("top_k", "top_k"), ("top_p", "top_p"), ("min_p", "min_p")):
        value = metadata.get(f"general.sampling.{key}")
        if isinstance(value, float) and key == "top_k" and value.is_integer():
            value = int(value)
        try:
            check_option(option, value)
        except InvalidRequestError:
            continue
        found[option] = value
    return found


def open_wished(wishes: Wishes) -> list[Device]:
    """The wished devices, or the best backend that opens here."""
    options = {"threads": str(wishes.threads)} if wishes.threads else {}
    if wishes.devices:
        return open_devices(wishes.devices, options)
    failure: HalflapError | None = None
    for entry in sorted(plugins.entries("backends"), key=lambda e: -e.facts.get("priority", 0)):
        try:
            return open_devices([entry.name], options)
        except HalflapError as error:
            failure = failure or error
    raise failure or ModelNotFoundError("devices", got="no backend", want="at least the reference device")


def make_plan(
    model: str | os.PathLike[str],
    wishes: Wishes | None = None,
    changes: Changes = NO_CHANGES,
    projector: str | os.PathLike[str] | None = None,
    adapters: Mapping[str, str | os.PathLike[str]] | None = None,
    taps: Sequence[str] = (),
) -> Plan:
    """Place a model without loading it: `halflap plan`."""
    wishes = wishes or Wishes()
    with open_model(model) as file:
        if projector is not None:
            opened, projection = open_projection(projector, file)
            opened.close()
            changes = evolve(changes, given_width=projection.width)
        architecture, _ = extended(file, open_architecture(file, changes), adapters or {}, taps)
        devices: Sequence[Device] = open_wished(wishes)
        try:
            return placement.make_plan(file.path.name, architecture.graph, architecture.context, wishes, devices)
        finally:
            for device in devices:
                device.close()
