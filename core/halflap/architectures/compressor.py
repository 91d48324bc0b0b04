"""What makes one row of several tokens in DeepSeek 4's layers: dimensions, weights, graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from halflap.architectures.keys import Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Value


@frozen
class Compressor:
    """Dimensions of one.

    Attributes:
        rate: tokens of a window, for which one row stands.
        dim: elements of a row.
        overlap: a row also stands for the window before its own.
    """

    rate: int
    dim: int
    overlap: bool

    @property
    def wide(self) -> int:
        """What a token gives: a row for its window, and with `overlap` one for the next."""
        return self.dim * (2 if self.overlap else 1)

    def weights(self, prefix: str, width: int) -> Iterator[tuple[str, Shape]]:
        yield prefix + "_kv.weight", (self.wide, width)
        yield prefix + "_gate.weight", (self.wide, width)
        yield prefix + "_ape.weight", (self.rate, self.wide)
        yield prefix + "_norm.weight", (self.dim,)

    def build(self, g: GraphBuilder, prefix: str, h: Value, eps: float, frequencies: tuple[float, ...]) -> Value:
        """Rows (T, dim): that of a window's last token is the window's, turned by the place of its first."""
        row = g.compress(
            g.linear(h, g.weight(prefix + "_kv.weight")), g.linear(h, g.weight(prefix + "_gate.weight")),
            g.weight(prefix + "_ape.weight"), rate=self.rate, overlap=self.overlap,
            **g.slot_layer("windows", 3 * self.wide),
        )  # fmt: skip
        row = g.rms_norm(row, g.weight(prefix + "_norm.weight"), eps=eps)
        turned: Value = g.rope(row, every=self.rate, **turning(frequencies, self.dim))
        return turned


def turning(frequencies: tuple[float, ...], dim: int) -> dict[str, Any]:
    """Attributes of the op `rope` by which the last elements of each head turn."""
    offset = dim - 2 * len(frequencies)
    return {"head_dim": dim, "offset": offset, "layout": "interleaved", "frequencies": frequencies}
