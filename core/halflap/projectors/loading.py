"""From an open projector file to a device that turns images into rows."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from attrs import field, frozen

from halflap.architectures.keys import Shape
from halflap.architectures.loading import fitted
from halflap.device.conversion import Converted, stand_ins
from halflap.device.interface import Array, Device, Weight
from halflap.errors import InvalidRequestError, ModelFormatError, UnsupportedModelError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.passes import retype
from halflap.graph.step import Limits, Step
from halflap.graph.verify import verify
from halflap.projectors.keys import VisionKeys
from halflap.projectors.patches import F32, Arranged
from halflap.weights.model_file import ModelFile

FAMILIES = {
    "gemma3": "gemma3",
    "gemma4v": "gemma4v",
    "mlp": "llava",
    "pixtral": "mistral3",
    "qwen3vl_merger": "qwen3vl",
}
"""The file's word for its kind of projector -> module."""
MOST_ROWS = 4096
"""Rows of one image, unless the caller says otherwise: they bound the memory of a step."""
TURNED = {"gemma3": ("mm.input_projection.weight",)}
"""Matrices that a family's files hold the other way round, (in, out)."""


class Family(Protocol):
    """A module of this package."""

    FILTER: str
    Config: Any

    def weights(self, config: Any) -> Iterator[tuple[str, Shape]]: ...
    def build(self, config: Any, builder: GraphBuilder) -> Graph: ...
    def fit(self, config: Any, height: int, width: int) -> tuple[int, int]: ...
    def arrange(self, config: Any, pixels: F32, tables: Mapping[str, F32]) -> Arranged: ...


@frozen(eq=False)
class ImageEmbedding:
    """What a text model is given for one image.

    Attributes:
        rows: (n, width) as the text model's input `embeds` takes them: rows of the grid from the top, each from the
            left; behind the text model's own width lie those for its deeper layers.
        grid: frames, rows and columns; n is their product.
        hash: SHA-256 of the pixels and of the graph that encoded them; `Projector.hash_of` gives it without encoding.
    """

    rows: F32
    grid: tuple[int, int, int]
    hash: str


@frozen(eq=False)
class Projection:
    """A projector as its file describes it, on no device yet.

    Attributes:
        kind: the file's word for it ("gemma3", "pixtral", …).
        width: of the rows: the text model's, once for itself and once for each of `deepstack` deeper layers.
        mean, std: of each colour, for pixels from 0 to 1.
        filter: how an image is resampled: "bilinear" or "bicubic".
    """

    kind: str
    graph: Graph
    text_width: int
    deepstack: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    filter: str
    family: Family = field(repr=False)
    config: Any = field(repr=False)
    weights: Mapping[str, Weight] = field(repr=False)
    tables: Mapping[str, F32] = field(repr=False)

    @property
    def width(self) -> int:
        return self.text_width * (1 + self.deepstack)

    @property
    def most_patches(self) -> int:
        """Of one image: what a projector's steps must hold."""
        count: int = self.config.most_patches
        return count

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image is resampled to.

        Raises:
            InvalidRequestError: an image of this shape cannot be shown to the model.
        """
        return self.family.fit(self.config, height, width)

    def arrange(self, pixels: F32) -> Arranged:
        """One image as a sequence of the graph.

        Args:
            pixels: (H, W, 3), resampled to a size that `fit` gave and normalised.

        Raises:
            InvalidRequestError: pixels of another shape, or that are not finite.
        """
        if not np.isfinite(pixels).all():
            raise InvalidRequestError("image", got="pixels that are not finite", want="finite ones", field="image")
        return self.family.arrange(self.config, pixels, self.tables)


def read(file: ModelFile, text_width: int, *, most_rows: int = MOST_ROWS) -> Projection:
    """The projector of an open file.

    Args:
        text_width: elements of a hidden row of the text model that it is for.
        most_rows: rows of the largest image; larger ones are shrunk, where the family's towers take any size.

    Raises:
        ModelFormatError: a key or tensor is missing or contradicts the others, or the text model has another width.
        UnsupportedModelError: no projector of images, or of a kind or with a feature that is not known here.
    """
    if file.architecture != "clip":
        raise UnsupportedModelError(
            f"{file.path.name}: architecture", got=repr(file.architecture), want="'clip', a projector file",
            what_kind="architecture", name=file.architecture,
        )  # fmt: skip
    tensors = {name: (info.type, _flat(name, info.shape)) for name, info in file.tensors.items()}
    keys = VisionKeys(file.metadata, tensors)
    kind = keys.projector()
    if kind not in FAMILIES:
        raise keys.refuse("projector", kind, f"one of {', '.join(sorted(FAMILIES))}")
    turned = [name for name in TURNED.get(FAMILIES[kind], ()) if name in tensors]
    for name in turned:
        tensors[name] = ("F32", tensors[name][1][::-1])
    family: Any = importlib.import_module(f"halflap.projectors.{FAMILIES[kind]}")
    config = family.Config.read(keys).limited(most_rows)
    tensors = dict(fitted(family.weights(config), tensors))
    if config.projected != text_width:
        raise ModelFormatError(
            f"{file.path.name}: rows for a text model", got=f"of width {config.projected}", want=text_width,
            fix="A projector goes with the text model that it was made for.", file=str(file.path),
            field="clip.vision.projection_dim",
        )  # fmt: skip
    graph = family.build(config, GraphBuilder(kind, tensors))
    verify(graph)
    std = keys.colours("image_std")
    if min(std) <= 0:
        raise ModelFormatError("metadata 'clip.vision.image_std'", got=std, want="numbers above 0", field="image_std")
    return Projection(
        kind, graph, config.projected, config.deepstack, keys.colours("image_mean"), std, family.FILTER, family, config,
        {name: _weight(file, name, tensors[name][1], name in turned) for name in graph.weights()},
        {name: file.dequantize(name).reshape(tensors[name][1]) for name in getattr(family, "TABLES", ())},
    )  # fmt: skip


class Projector:
    """A projector on one device. `encode` may be called from one thread at a time.

    Args:
        projection: what `read` gave.
        device: where it runs; only used, never closed.
        tokens: most patches of one step, which images share up to it; None: those of the largest image.
        images: most images of one step.

    Raises:
        UnsupportedOpError: the device lacks an op.
        DeviceMemoryError: the device has too little memory.
    """

    def __init__(self, projection: Projection, device: Device, *, tokens: int | None = None, images: int = 4) -> None:
        self.projection, self.device = projection, device
        tokens = projection.most_patches if tokens is None else tokens
        self._graph = retype(projection.graph, stand_ins(projection.graph, device.info))
        self.limits = Limits(tokens, images, tokens, tokens, {})
        self._digest = self._graph.digest()
        self._parts: list[Any] = []
        try:
            weights = self._own(device.pack(Converted(projection.weights, self._graph), self._graph))
            state = self._own(device.state((), self.limits))
            self._executable = self._own(device.compile(self._graph, weights, state, self.limits))
        except BaseException:
            self.close()
            raise

    def encode(self, images: Sequence[F32]) -> list[ImageEmbedding]:
        """Rows for each image, the same whether they come together or one by one.

        Args:
            images: (H, W, 3) each, resampled to a size that `Projection.fit` gave and normalised.

        Raises:
            InvalidRequestError: an image of another shape or with too many patches.
            DeviceError: the device failed.
        """
        arranged = [self.projection.arrange(np.asarray(pixels, np.float32)) for pixels in images]
        for one in arranged:
            if len(one.patches) > self.limits.tokens:
                raise InvalidRequestError(
                    "image", got=f"{len(one.patches)} patches", want=f"at most {self.limits.tokens}", field="image"
                )
        found: list[F32] = []
        while len(found) < len(arranged):
            found += self._run(self._next(arranged[len(found) :]))
        return [
            ImageEmbedding(rows, (1, *one.grid), self.hash_of(pixels))
            for rows, one, pixels in zip(found, arranged, images, strict=True)
        ]

    def hash_of(self, pixels: F32) -> str:
        """By what an encoded image may be found again."""
        pixels = np.ascontiguousarray(pixels, np.float32)
        return hashlib.sha256(f"{self._digest} {pixels.shape}".encode() + pixels.tobytes()).hexdigest()

    def close(self) -> None:
        """Give the device's memory back."""
        for part in reversed(self._parts):
            part.close()
        self._parts = []

    def _next(self, waiting: Sequence[Arranged]) -> Sequence[Arranged]:
        """As many of these as share a step."""
        total = np.cumsum([len(one.patches) for one in waiting[: self.limits.sequences]])
        return waiting[: int(np.searchsorted(total, self.limits.tokens, side="right"))]

    def _run(self, images: Sequence[Arranged]) -> list[F32]:
        step, inputs = step_of(images, self._graph.inputs())
        values = self._executable.run(self.device.begin(step), inputs, list(self._graph.outputs)).wait()
        whole = np.concatenate([values[name] for name in self._graph.outputs], axis=1)
        return np.split(whole, np.cumsum([len(one.rows) for one in images])[:-1])

    def _own(self, part: Any) -> Any:
        self._parts.append(part)
        return part


def step_of(images: Sequence[Arranged], names: Sequence[str]) -> tuple[Step, dict[str, Array]]:
    """One step that feeds these images side by side, and the inputs of these names that go with it."""
    starts = np.cumsum([0, *(len(one.patches) for one in images)]).astype(np.int32)
    ids = []
    for one, start in zip(images, starts, strict=False):
        own = np.zeros(len(one.patches), np.int32) if one.ids is None else one.ids
        ids.append(np.where(own < 0, own - start, own))
    # Where rows are merged only their number counts, and they must be tokens of the step.
    rows = [one.rows + start for one, start in zip(images, starts, strict=False)]
    step = Step(
        ids=np.concatenate(ids).astype(np.int32),
        index=np.concatenate([one.index for one in images]),
        position=np.concatenate([one.position for one in images], axis=1),
        seq_start=starts,
        rows=np.concatenate(rows).astype(np.int32),
        groups={},
    )
    inputs: dict[str, Array] = {"patches": np.concatenate([one.patches for one in images])}
    if "added" in names:
        inputs["added"] = np.concatenate([one.added for one in images if one.added is not None])
    return step, inputs


def _flat(name: str, shape: Shape) -> Shape:
    """A tensor's shape as ops take it: patches and tables of several axes as matrices, the class token as a row."""
    if name == "v.class_embd" and shape:
        return (1, shape[-1])
    if len(shape) == 4:
        return (shape[0], shape[1] * shape[2] * shape[3])
    return (shape[0] * shape[1], shape[2]) if len(shape) == 3 else shape


def _weight(file: ModelFile, name: str, shape: Shape, turned: bool) -> Weight:
    if turned:
        return Weight(name, "F32", shape, np.ascontiguousarray(file.dequantize(name).T).reshape(-1).view(np.uint8))
    file.weight_type(name)
    return Weight(name, file.tensors[name].type, shape, file.tensor_bytes(name))
