"""LoRA adapters: GGUF files with two small matrices for some of a model's, several of them side by side.

Source of the format: `general.type` "adapter", `adapter.type` "lora", `adapter.lora.alpha`, tensors NAME.lora_a
(rank, n_in) and NAME.lora_b (n_out, rank): https://github.com/ggml-org/llama.cpp/blob/master/convert_lora_to_gguf.py
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

from halflap.device.interface import Weight
from halflap.errors import InvalidRequestError, ModelFormatError
from halflap.graph.extras import lora_a, lora_b, with_adapters
from halflap.graph.ir import Graph
from halflap.weights import gguf
from halflap.weights.model_file import ModelFile

MOST_RANK = 4096
F32 = npt.NDArray[np.float32]


@frozen
class Adapters:
    """The adapters that a model was loaded with.

    Attributes:
        places: name -> where its rows begin and end among those of all.
        weights: what the devices pack beside the model's own.
    """

    places: Mapping[str, tuple[int, int]]
    weights: Mapping[str, Weight] = field(repr=False)
    targets: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        return max((end for _, end in self.places.values()), default=0)

    def scales(self, wished: Mapping[str, float]) -> F32 | None:
        """(rank,) what a request's tokens multiply each row by; None: no adapter at all.

        Raises:
            InvalidRequestError: an adapter that was not loaded.
        """
        row = np.zeros(self.rank, np.float32)
        for name, scale in wished.items():
            if name not in self.places:
                want = f"one of {sorted(self.places)}" if self.places else "none, for the model has no adapters"
                fix = "Load with adapters={name: path}."
                raise InvalidRequestError("option 'adapters'", got=repr(name), want=want, fix=fix, field="adapters")
            begin, end = self.places[name]
            row[begin:end] = scale
        return row if row.any() else None

    def into(self, graph: Graph) -> Graph:
        """The graph with room for them.

        Raises:
            UnsupportedModelError: a tensor that cannot be adapted.
        """
        return with_adapters(graph, self.targets, self.rank) if self.places else graph


NO_ADAPTERS = Adapters({}, {})


def read(wished: Mapping[str, str | os.PathLike[str]], architecture: str, graph: Graph) -> Adapters:
    """Read adapter files and lay them side by side.

    Args:
        wished: name -> path.
        architecture: of the model.

    Raises:
        ModelNotFoundError, ModelFormatError: a file that is not there, damaged, or no adapter of this model.
    """
    parts: dict[str, dict[str, tuple[F32, F32]]] = {}
    for name, path in wished.items():
        with gguf.open(path) as file:
            parts[name] = _pairs(file, architecture, graph)
    places, at = {}, 0
    for name, pairs in parts.items():
        rank = max(len(a) for a, _ in pairs.values())
        places[name], at = (at, at + rank), at + rank
    weights: dict[str, Weight] = {}
    targets = tuple(dict.fromkeys(target for pairs in parts.values() for target in pairs))
    for target in targets:
        n_out, n_in = (int(n) for n in graph.values[target].shape)
        a, b = np.zeros((at, n_in), np.float32), np.zeros((n_out, at), np.float32)
        for name, pairs in parts.items():
            if target in pairs:
                begin, (own_a, own_b) = places[name][0], pairs[target]
                a[begin : begin + len(own_a)], b[:, begin : begin + len(own_a)] = own_a, own_b
        for made, values in ((lora_a(target), a), (lora_b(target), b)):
            weights[made] = Weight(made, "F32", values.shape, values.reshape(-1).view(np.uint8))
    return Adapters(places, weights, targets)


def _pairs(file: ModelFile, architecture: str, graph: Graph) -> dict[str, tuple[F32, F32]]:
    """Target -> its two matrices, alpha / rank multiplied into the second."""
    for key, want in (("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", architecture)):
        if file.get(key, str, "") != want:
            raise _wrong(file, f"metadata {key!r}", repr(file.get(key, str, "")), repr(want), key)
    alpha = file.get("adapter.lora.alpha", float, 0.0)
    pairs = {}
    for name in file.tensors:
        target, dot, kind = name.rpartition(".")
        if kind not in ("lora_a", "lora_b") or not dot:
            raise _wrong(file, f"tensor {name!r}", "another name", "NAME.lora_a or NAME.lora_b", name)
        if target not in graph.values or graph.values[target].kind != "weight":
            raise _wrong(file, f"tensor {name!r}", "a weight that the model does not have", "one of the model's", name)
        if target in pairs:
            continue
        for needed in (lora_a(target), lora_b(target)):
            if needed not in file.tensors:
                raise _wrong(file, f"tensor {needed!r}", "none", "one beside its partner", needed)
        a, b = file.tensors[lora_a(target)], file.tensors[lora_b(target)]
        shape = graph.values[target].shape
        if (
            len(shape) != 2
            or len(a.shape) != 2
            or (b.shape[-1:] + a.shape[1:] + b.shape[:1]) != (a.shape[0], *shape[::-1])
        ):
            got, want = f"{list(a.shape)} and {list(b.shape)}", f"(rank, {shape[-1]}) and ({shape[0]}, rank)"
            raise _wrong(file, f"tensor {a.name!r} and its partner", got, want, a.name)
        if not 1 <= a.shape[0] <= MOST_RANK:
            raise _wrong(file, f"tensor {a.name!r} rank", a.shape[0], f"1 to {MOST_RANK}", a.name)
        scale = np.float32(alpha / a.shape[0] if alpha else 1.0)
        pairs[target] = file.dequantize(a.name), file.dequantize(b.name) * scale
    if not pairs:
        raise _wrong(file, "tensors", "none", "pairs of lora_a and lora_b", "tensors")
    return pairs


def _wrong(file: ModelFile, what: str, got: object, want: object, key: str) -> ModelFormatError:
    path = Path(file.path)
    return ModelFormatError(f"adapter {path.name}: {what}", got=got, want=want, file=str(path), field=key)
