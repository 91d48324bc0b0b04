"""How a tensor of a model is made of those that a folder stores: in place where that can be, else when asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from halflap.weights.folder.safetensors import Stored
from halflap.weights.folder.settings import Settings
from halflap.weights.model_file import Region
from halflap.weights.weight_type import Bytes, Floats, WeightType

__all__ = ["Array", "Constant", "Recipe", "Rule", "Shape"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

ARRAYS: Final = {"F32": np.float32, "F16": np.uint16, "BF16": np.uint16, "U8": np.uint8, "I64": np.int64}
"""Type of stored elements -> what `arrange` is given: F16 and BF16 as their bits."""


@attrs.frozen
class Rule:
    """What becomes of a stored tensor.

    Attributes:
        target: name of the tensor it becomes; N stands for the layer.
        note: what is done to it, in a few words for `inspect`.
        arrange: (array, settings) -> array with elements moved, not changed. It is also run on an array without memory
            to learn the shape, so it is made of reshapes, slices and transpositions; else `shape` says it.
        values: (float32 array, settings) -> float32 array of the same shape, after `arrange`.
        shape: (stored shape, settings) -> shape, where `arrange` concatenates.
        beside: name of a second stored tensor that `arrange` reads too, between array and settings.
        type: weight type of the result, where it is not that of the elements.
        reads: the only stored type that `arrange` can take, where `type` is given.
    """

    target: str
    note: str = ""
    arrange: Callable[..., Array] | None = None
    values: Callable[[Floats, Settings], Floats] | None = None
    shape: Callable[[Shape, Settings], Shape] | None = None
    beside: str = ""
    type: str = ""
    reads: str = ""

    def result_shape(self, stored: Stored, settings: Settings) -> Shape:
        """ValueError where the stored shape is not what the rule can take."""
        if self.shape is not None:
            return self.shape(stored.shape, settings)
        if self.arrange is None:
            return stored.shape
        blank = np.broadcast_to(np.zeros((), np.uint8), stored.shape)
        return tuple(int(n) for n in self.arrange(blank, settings).shape)


@attrs.frozen(eq=False)
class Recipe:
    """A tensor to be made from stored ones.

    Attributes:
        shape: of the result.
        type: weight type of the result.
        note: what is done, in a few words.
        sources: the stored tensors, one for each expert where they are stacked.
        beside: a second one for each source, if the rule reads two.
    """

    shape: Shape
    type: str
    note: str
    rule: Rule
    settings: Settings
    sources: Sequence[Stored] = ()
    beside: Sequence[Stored] = ()
    stacked: bool = False

    def make(self, regions: Sequence[Region], types: dict[str, WeightType]) -> Bytes:
        """The bytes of the result: u8 (nbytes,). Beyond the result itself it takes memory for one source only."""
        kind = types[self.type]
        n = math.prod(self.shape)
        made = np.empty(n // kind.block * kind.nbytes, np.uint8)
        parts = made.reshape(len(self.sources), -1) if self.stacked else made[None]
        with np.errstate(all="ignore"):  # a file's infinities are its own affair
            for i, part in enumerate(parts):
                part[:] = self._part(i, kind, regions, types)
        return made

    def _part(self, i: int, kind: WeightType, regions: Sequence[Region], types: dict[str, WeightType]) -> Bytes:
        """What one source gives."""
        source, rule = self.sources[i], self.rule
        given = [_elements(stored, regions) for stored in (source, *self.beside[i : i + 1])]
        array = rule.arrange(*given, self.settings) if rule.arrange else given[0]
        if rule.type or (rule.values is None and self.type == source.dtype):
            return _flat(array)
        stored_as = types[source.dtype]
        values = stored_as.dequantize(_flat(array).reshape(-1, stored_as.nbytes)).reshape(array.shape)
        values = rule.values(values, self.settings) if rule.values is not None else values
        return kind.quantize(values.reshape(-1, kind.block)).reshape(-1)


def _elements(source: Stored, regions: Sequence[Region]) -> Array:
    raw = regions[source.region].array[source.offset : source.offset + source.nbytes]
    kind = np.dtype(ARRAYS[source.dtype])
    if raw.ctypes.data % kind.itemsize:
        raw = raw.copy()
    return raw.view(kind).reshape(source.shape)


def _flat(array: Array) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


@attrs.frozen(eq=False)
class Constant:
    """A tensor that config.json describes and no shard stores: rotary factors."""

    values: tuple[float, ...]
    type: str = "F32"
    note: str = "from config.json"

    @property
    def shape(self) -> Shape:
        return (len(self.values),)

    def make(self, regions: Sequence[Region], types: dict[str, WeightType]) -> Bytes:
        with np.errstate(over="ignore"):
            return np.array(self.values, np.float32).view(np.uint8)
