"""What a model is to a device: segments of ops over named values. Plain data, readable, hashable.

A shape's dimensions are integers or the name of a free size: "T" tokens of the step, "S" sequences, "R" wanted rows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Literal

from attrs import field, frozen

Dim = int | str
Attribute = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
ValueKind = Literal["input", "weight", "result"]
GroupKind = Literal["blocks", "slots"]

BLOCK_TOKENS = 32
"""Tokens in a KV block whose rows stand for one token each."""
STATES = ("", "far_")
"""Before `group` and `layer`: the attributes by which an op names its state layers."""


@frozen
class Value:
    """A named tensor.

    Attributes:
        dtype: "f32", "i32" or a storage type such as "Q4_K" (weights only).
        shape: row-major; a linear weight is (n_out, n_in).
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    kind: ValueKind = "result"


@frozen
class Node:
    """One op: names of its input and output values. An absent optional input is ""."""

    op: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def states(self) -> tuple[tuple[str, int], ...]:
        """The state layers that the op names: (group, layer)."""
        named = ((self.attributes.get(p + "group"), self.attributes.get(p + "layer")) for p in STATES)
        return tuple((str(group), int(layer)) for group, layer in named if group and isinstance(layer, int))


@frozen
class Segment:
    """Ops that stay together on one device; between segments a graph may be cut.

    Attributes:
        source: it runs once for each sequence, before all others, over the text that the sequence is made from
            (an encoder's), from its first token to its last. What it leaves to the others is rows of state.
    """

    name: str
    nodes: tuple[Node, ...]
    source: bool = False


@frozen
class LayerWidth:
    """Elements that one layer keeps: of each token's K row and V row, or in a slots group `k` of each sequence."""

    k: int
    v: int


@frozen
class StateGroup:
    """State that ops keep between steps, declared here and owned by the runtime.

    Attributes:
        layers: one entry per layer that stores rows here; an op's attribute `layer` indexes it.
        window: tokens that are still needed behind the newest one; 0 means all. Of blocks only.
        kind: "blocks" keeps rows of every token, "slots" a fixed number of f32 per sequence (recurrent state).
        rate: tokens that one row stands for; it is written with the last of them. Of blocks only.
    """

    name: str
    layers: tuple[LayerWidth, ...]
    window: int = 0
    kind: GroupKind = "blocks"
    rate: int = 1

    @property
    def block_tokens(self) -> int:
        """Tokens that a block covers: the least that are whole rows and whole blocks of 32."""
        return math.lcm(BLOCK_TOKENS, self.rate)

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return self.block_tokens // self.rate


@frozen
class Graph:
    """A whole model, or the part of it that one device runs.

    Attributes:
        values: every value by name, in order of appearance.
        outputs: names of the values that a caller may fetch.
        whole: each sequence must come in one step from its first token to its last: encoders, which keep no state.
    """

    name: str
    values: Mapping[str, Value] = field(repr=False)
    segments: tuple[Segment, ...] = field(repr=False)
    outputs: tuple[str, ...]
    groups: tuple[StateGroup, ...] = ()
    whole: bool = False

    def nodes(self) -> Iterator[Node]:
        for segment in self.segments:
            yield from segment.nodes

    def inputs(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.values.values() if v.kind == "input")

    def weights(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.values.values() if v.kind == "weight")

    def source_groups(self) -> frozenset[str]:
        """Names of the blocks groups that hold rows of source texts; empty: sequences have none."""
        of_sources = (node for segment in self.segments if segment.source for node in segment.nodes)
        return frozenset(group for node in of_sources for group, _ in node.states())

    def group(self, name: str) -> StateGroup:
        return next(g for g in self.groups if g.name == name)

    def dump(self) -> str:
        """A listing: one line an op, its results' types and shapes first."""
        lines = [f"graph {self.name}{', whole sequences' if self.whole else ''}"]
        for group in self.groups:
            window = f", window {group.window}" if group.window else ""
            kind = ", slots" if group.kind == "slots" else ""
            rate = f", a row for {group.rate} tokens" if group.rate > 1 else ""
            lines.append(f"  state {group.name}: {len(group.layers)} layers{window}{kind}{rate}")
        for name in self.inputs():
            lines.append(f"  input {_typed(self.values[name])}")
        for segment in self.segments:
            lines.append(f"  segment {segment.name}{', of the source text' if segment.source else ''}")
            for node in segment.nodes:
                results = ", ".join(_typed(self.values[name]) for name in node.outputs)
                given = ", ".join(name or "-" for name in node.inputs)
                attributes = "".join(f" {key}={_brief(value)}" for key, value in node.attributes.items())
                lines.append(f"    {results} = {node.op}({given}){attributes}")
        lines.append(f"  outputs {', '.join(self.outputs)}")
        return "\n".join(lines)

    def digest(self) -> str:
        """SHA-256 over everything that changes what the graph computes."""
        text = json.dumps(
            [
                [[v.name, v.dtype, v.shape, v.kind] for v in self.values.values()],
                [
                    [
                        s.name,
                        s.source,
                        [[n.op, n.version, n.inputs, n.outputs, sorted(n.attributes.items())] for n in s.nodes],
                    ]
                    for s in self.segments
                ],
                self.outputs,
                [[g.name, g.kind, g.window, g.rate, [[w.k, w.v] for w in g.layers]] for g in self.groups],
            ]
        )
        return hashlib.sha256(text.encode()).hexdigest()


def _typed(value: Value) -> str:
    return f"{value.name}: {value.dtype}[{', '.join(map(str, value.shape))}]"


def _brief(value: Attribute) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
