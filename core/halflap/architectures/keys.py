"""Reading a model's metadata with types checked, so that a wrong file names the key and not a line of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from halflap.errors import ModelFormatError, UnsupportedModelError

REQUIRED: Any = object()
Shape = tuple[int, ...]


class Keys:
    """The keys of one architecture: `keys.integer("block_count")` reads `llama.block_count`.

    Args:
        metadata: all of the file's metadata.
        tensors: name -> (dtype, shape) of the file's tensors.
        magnitude: the root mean square of a tensor's first numbers, for the rare fact that a file tells no other way.
    """

    def __init__(
        self,
        architecture: str,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, tuple[str, Shape]],
        magnitude: Callable[[str], float] | None = None,
    ) -> None:
        self.architecture, self.metadata, self.tensors = architecture, metadata, tensors
        self.magnitude = magnitude
        self.asked: set[str] = set()

    def has(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self.metadata

    def integer(self, key: str, default: Any = REQUIRED, *, least: int = 0, most: int = 1 << 31) -> int:
        value = self._get(key, default)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(set(value)) == 1:
            value = value[0]  # some writers repeat one number for every layer
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            if value is default:
                return int(default)
            raise self._wrong(key, value, f"an integer from {least} to {most}")
        return value

    def integers(self, key: str, count: int, *, least: int = 0, most: int = 1 << 31) -> tuple[int, ...]:
        """One for each of `count` layers; a file that states one number means it for all."""
        value = self._get(key, REQUIRED)
        listed = value if isinstance(value, list) else [value] * count
        if len(listed) < count or not all(type(v) is int and least <= v <= most for v in listed):
            raise self._wrong(key, value, f"an integer from {least} to {most}, or one for each of {count} layers")
        return tuple(listed[:count])

    def number(self, key: str, default: Any = REQUIRED) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            if value is default:
                return float(default)
            raise self._wrong(key, value, "a finite number")
        return float(value)

    def numbers(self, key: str, count: int, default: float) -> tuple[float, ...]:
        """One for each of `count` layers; a file that states one number means it for all."""
        value = self._get(key, default)
        listed = value if isinstance(value, list) else [value] * count
        fits = [isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in listed]
        if len(listed) < count or not all(fits):
            raise self._wrong(key, value, f"a finite number, or one for each of {count} layers")
        return tuple(float(v) for v in listed[:count])

    def positive(self, key: str, default: Any = REQUIRED) -> float:
        value = self.number(key, default)
        if value <= 0:
            raise self._wrong(key, value, "a number above 0")
        return value

    def shared_number(self, key: str, layer: int) -> float:
        """A number for one layer under a key that carries no architecture's name, such as `xielu.beta`."""
        value: Any = self.metadata.get(key)
        value = value.tolist() if hasattr(value, "tolist") else value
        found = value[layer] if isinstance(value, list) and layer < len(value) else value
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise ModelFormatError(
                f"metadata {key!r}", got=f"{value!r:.80}", want="a finite number per layer", field=key
            )
        return float(found)

    def text(self, key: str, default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def windowed(self, key: str, layers: int, period: int, *, first: bool = False) -> tuple[bool, ...]:
        """Which layers see a window only: all but each `period`-th, unless the file lists them or names a period.

        Args:
            first: the layer that sees all is the first of its period, not the last.
        """
        value = self._get(key, period)
        if isinstance(value, list) and len(value) >= layers and all(isinstance(v, bool) for v in value):
            return tuple(value[:layers])
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(key, value, f"a period of at least 1, or true or false for each of {layers} layers")
        return tuple(i % value != (0 if first else value - 1) for i in range(layers))

    def pooling(self) -> str | None:
        """How one row is made of many, by the file's number; None: it does not say."""
        known = ("none", "mean", "cls", "last", "rank")
        value = self.integer("pooling_type", -1)
        if value >= len(known):
            raise self._wrong("pooling_type", value, f"0 to {len(known) - 1}")
        return known[value] if value >= 0 else None

    def sees_both_ways(self) -> None:
        """Raises UnsupportedModelError where the file says that attention is causal."""
        if self.flag("attention.causal", False):
            raise self.refuse("attention", "causal", "'attention.causal' to be false: an encoder")

    def experts_used(self) -> int:
        """Experts of each token, at least one of those there are; 0 where there are none."""
        count = self.integer("expert_count", 0)
        return self.integer("expert_used_count", least=1, most=count) if count else 0

    def gating(self, default: str) -> str:
        """How router logits become scores, by the file's number; see the op `route`."""
        known = {1: "softmax", 2: "sigmoid", 3: "softmax_chosen", 4: "sqrt_softplus"}
        value = self.integer("expert_gating_func", 0)
        if value and value not in known:
            raise self._wrong("expert_gating_func", value, f"one of {list(known)}")
        return known.get(value, default)

    def size(self, key: str, tensor: str, axis: int) -> int:
        """A dimension that older files state only through a tensor's shape."""
        if f"{self.architecture}.{key}" in self.metadata or tensor not in self.tensors:
            return self.integer(key, least=1)
        shape = self.tensors[tensor][1]
        if len(shape) <= axis:
            raise ModelFormatError(
                f"tensor {tensor!r}", got=f"{len(shape)} dimensions", want=f"over {axis}", field=tensor
            )
        return shape[axis]

    def rows(self, tensor: str) -> int:
        """First dimension of a tensor: its number of rows."""
        if tensor not in self.tensors:
            raise ModelFormatError("tensor", got="none", want=repr(tensor), field=tensor)
        if not self.tensors[tensor][1]:
            raise ModelFormatError(f"tensor {tensor!r}", got="one number", want="rows", field=tensor)
        return self.tensors[tensor][1][0]

    def refuse(self, kind: str, name: str, want: str) -> UnsupportedModelError:
        """The error for something this architecture's file here does not know."""
        return UnsupportedModelError(
            f"{self.architecture} {kind}", got=repr(name), want=want, what_kind=kind, name=name
        )

    def _get(self, key: str, default: Any) -> Any:
        full = f"{self.architecture}.{key}"
        self.asked.add(key)
        value = self.metadata.get(full, default)
        if value is REQUIRED:
            raise ModelFormatError("metadata", got=f"no key {full!r}", want="it to be present", field=full)
        return value.tolist() if hasattr(value, "tolist") else value

    def _wrong(self, key: str, value: object, want: str) -> ModelFormatError:
        full = f"{self.architecture}.{key}"
        return ModelFormatError(f"metadata {full!r}", got=f"{value!r:.80}", want=want, field=full)
