"""Weights of types that a device lacks: each becomes F16 or F32 while it is packed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from halflap import plugins
from halflap.device.interface import DeviceInfo, Weight
from halflap.errors import ModelFormatError
from halflap.graph.ir import Graph

STAND_INS: Mapping[str, type[np.floating]] = {"F16": np.float16, "F32": np.float32}
CHUNK = 1 << 20
"""Elements decoded at a time."""


def stand_ins(graph: Graph, info: DeviceInfo) -> dict[str, str]:
    """Weight type -> what it becomes on this device, for those that the device lacks.

    The type names its stand-in (`WeightType.stand_in`), so that no weight is read to decide; a device without F16 gets
    F32. A type with no stand-in that the device reads is left out.
    """
    found = {}
    reads = info.rounding
    for lacking in sorted({value.dtype for value in graph.values.values() if value.kind == "weight"} - set(reads)):
        wanted = plugins.get("weight_types", lacking).stand_in
        if wanted in reads or "F32" in reads:
            found[lacking] = wanted if wanted in reads else "F32"
    return found


class Converted(Mapping[str, Weight]):
    """A file's weights in the types that a stage's graph names, each converted when it is asked for."""

    def __init__(self, weights: Mapping[str, Weight], graph: Graph) -> None:
        self._weights, self._graph = weights, graph

    def __getitem__(self, name: str) -> Weight:
        weight = self._weights[name]
        wanted = self._graph.values[name].dtype if name in self._graph.values else weight.dtype
        return weight if wanted == weight.dtype else convert(weight, wanted)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def convert(weight: Weight, wanted: str) -> Weight:
    """The same values as F16, rounded to nearest, or as F32.

    Raises:
        ModelFormatError: a value exceeds F16.
    """
    kind = plugins.get("weight_types", weight.dtype)
    blocks = weight.data.reshape(-1, kind.nbytes)
    values = np.empty((len(blocks), kind.block), STAND_INS[wanted])
    step = max(1, CHUNK // kind.block)
    with np.errstate(over="raise"):
        for start in range(0, len(blocks), step):
            decoded = kind.dequantize(blocks[start : start + step])
            try:
                values[start : start + step] = decoded
            except FloatingPointError:
                raise ModelFormatError(
                    f"weight {weight.name!r} of type {weight.dtype}",
                    got=f"a value of {float(np.nanmax(np.abs(decoded))):.6g}",
                    want=f"at most 65504, as {wanted} stands in for this type here",
                    field=weight.name,
                ) from None
    return Weight(weight.name, wanted, weight.shape, values.reshape(-1).view(np.uint8))
