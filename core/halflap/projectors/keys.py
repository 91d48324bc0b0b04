"""Reading a projector file's metadata: the keys under `clip.vision`, and what lies beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from halflap.architectures.keys import Keys, Shape
from halflap.errors import ModelFormatError


class VisionKeys(Keys):
    """`keys.integer("block_count")` reads `clip.vision.block_count`."""

    def __init__(self, metadata: Mapping[str, Any], tensors: Mapping[str, tuple[str, Shape]]) -> None:
        super().__init__("clip.vision", metadata, tensors)

    def projector(self) -> str:
        """The kind of projector, from either of the two keys that writers use."""
        kind = self.text("projector_type", "") or Keys("clip", self.metadata, self.tensors).text("projector_type", "")
        if not kind:
            raise ModelFormatError(
                "metadata", got="no key 'clip.projector_type'", want="it to be present", field="clip.projector_type"
            )
        return kind

    def uses(self, activation: str) -> bool:
        """Whether the file says clip.use_gelu, clip.use_silu, …"""
        return Keys("clip", self.metadata, self.tensors).flag(f"use_{activation}", False)

    def colours(self, key: str) -> tuple[float, float, float]:
        """A finite number for red, green and blue."""
        value = self._get(key, None)
        if (
            not isinstance(value, Sequence)
            or isinstance(value, str)
            or len(value) != 3
            or not all(type(v) in (int, float) and math.isfinite(v) for v in value)
        ):
            raise self._wrong(key, value, "three finite numbers")
        return float(value[0]), float(value[1]), float(value[2])

    def marked(self, key: str, count: int) -> tuple[int, ...]:
        """Which of `count` layers the file marks true; none without the key."""
        value = self._get(key, [False] * count)
        if not isinstance(value, list) or len(value) != count or not all(isinstance(v, bool) for v in value):
            raise self._wrong(key, value, f"true or false for each of {count} layers")
        return tuple(i for i, there in enumerate(value) if there)

    def without(self, endings: tuple[str, ...], kind: str) -> None:
        """Refuse a file with tensors of a kind that is not known here.

        Raises:
            UnsupportedModelError: it has one.
        """
        for name in self.tensors:
            if name.endswith(endings):
                raise self.refuse(kind, name, "none")
