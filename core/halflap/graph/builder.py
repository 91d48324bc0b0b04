"""Writing a graph down, op by op; every op is checked against the table as it is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from halflap.errors import ModelFormatError
from halflap.graph import ops
from halflap.graph.ir import Dim, Graph, LayerWidth, Node, Segment, StateGroup, Value


class GraphBuilder:
    """Collects segments. `g.rms_norm(x, w, eps=1e-6)` appends that op and returns its result.

    Args:
        name: the architecture's name.
        weights: the file's tensors, name -> (dtype, shape).
        given_width: elements of the rows that stand in for token ids where an image is; 0: text only.
    """

    def __init__(self, name: str, weights: Mapping[str, tuple[str, tuple[int, ...]]], given_width: int = 0) -> None:
        self.name, self._given_width = name, given_width
        self._file = weights
        self._values: dict[str, Value] = {}
        self._segments: list[Segment] = []
        self._nodes: list[Node] = []
        self._segment, self._source = "", False
        self._groups: dict[str, StateGroup] = {}
        self._outputs: list[str] = []
        self._public: dict[str, str] = {}  # old name -> the one that `output` gave

    def input(self, name: str, dtype: str, *shape: Dim) -> Value:
        return self._add(Value(name, dtype, shape, "input"))

    def given_rows(self) -> Value | None:
        """The input `embeds` (T, given_width), for models that read more of it than the embedding; None: text only."""
        if not self._given_width:
            return None
        return self._values.get("embeds") or self.input("embeds", "f32", "T", self._given_width)

    def weight(self, name: str) -> Value:
        """A tensor of the file.

        Raises:
            ModelFormatError: the file has none of this name.
        """
        value = self.optional(name)
        if value is None:
            raise ModelFormatError("tensor", got="none", want=repr(name), field=name)
        return value

    def optional(self, name: str) -> Value | None:
        if name not in self._file:
            return None
        if name in self._values:
            return self._values[name]
        dtype, shape = self._file[name]
        return self._add(Value(name, dtype, tuple(shape), "weight"))

    def segment(self, name: str, *, source: bool = False) -> None:
        """Later ops belong to this segment; `source`: see `Segment`."""
        self._close_segment()
        self._segment, self._source = name, source

    def state_layer(self, group: str, k: int, v: int, window: int = 0, rate: int = 1) -> dict[str, Any]:
        """One more layer of a blocks group; returns the attributes by which an attention op names it."""
        return self._add_layer(StateGroup(group, (), window, rate=rate), LayerWidth(k, v))

    def slot_layer(self, group: str, elements: int) -> dict[str, Any]:
        """One more layer of a slots group, `elements` of f32 per sequence; returns the attributes that name it."""
        return self._add_layer(StateGroup(group, (), 0, "slots"), LayerWidth(elements, 0))

    def output(self, value: Value, name: str) -> None:
        """Give a value its public name and make it fetchable."""
        self._close_segment()
        self._segments = [_renamed(segment, value.name, name) for segment in self._segments]
        self._values = {
            (name if key == value.name else key): (Value(name, v.dtype, v.shape, v.kind) if key == value.name else v)
            for key, v in self._values.items()
        }
        self._outputs.append(name)
        self._public[value.name] = name

    def finish(self) -> Graph:
        self._close_segment()
        groups = tuple(self._groups.values())
        segments = tuple(self._segments)
        whole = any(ops.find(node.op).whole for segment in segments if not segment.source for node in segment.nodes)
        return Graph(self.name, dict(self._values), segments, tuple(self._outputs), groups, whole)

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)
        spec = ops.find(op)

        def append(*inputs: Value | None, **attributes: Any) -> Any:
            return self._append(spec, inputs, attributes)

        return append

    def _append(self, spec: ops.Op, inputs: tuple[Value | None, ...], attributes: dict[str, Any]) -> Any:
        padded = (*inputs, *[None] * (len(spec.inputs) - len(inputs)))
        if len(padded) != len(spec.inputs) or not spec.complete([value is not None for value in padded]):
            raise ops.mismatch(spec.name, f"inputs {[ops.shown(v) for v in inputs]}", f"{spec.inputs}")
        complete = spec.check_attributes(attributes)
        results = [
            self._add(Value(f"{self._segment}.{spec.name}_{len(self._nodes)}{chr(97 + i) if i else ''}", dtype, shape))
            for i, (dtype, shape) in enumerate(spec.rule(padded, complete))
        ]
        names = tuple(self._public.get(value.name, value.name) if value else "" for value in padded)
        self._nodes.append(Node(spec.name, spec.version, names, tuple(r.name for r in results), complete))
        return results[0] if len(results) == 1 else tuple(results)

    def _add_layer(self, group: StateGroup, width: LayerWidth) -> dict[str, Any]:
        known = self._groups.setdefault(group.name, group)
        if (known.window, known.kind, known.rate) != (group.window, group.kind, group.rate):
            raise ModelFormatError(
                f"state group {group.name!r}", got=f"{group.kind} of window {group.window}, rate {group.rate}",
                want=f"{known.kind} of window {known.window}, rate {known.rate}", field=group.name,
            )  # fmt: skip
        self._groups[group.name] = evolve(known, layers=(*known.layers, width))
        return {"group": group.name, "layer": len(known.layers)}

    def _add(self, value: Value) -> Value:
        self._values[value.name] = value
        return value

    def _close_segment(self) -> None:
        if self._nodes:
            self._segments.append(Segment(self._segment, tuple(self._nodes), self._source))
            self._nodes = []


def _renamed(segment: Segment, old: str, new: str) -> Segment:
    def swap(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    nodes = (Node(n.op, n.version, swap(n.inputs), swap(n.outputs), n.attributes) for n in segment.nodes)
    return Segment(segment.name, tuple(nodes), segment.source)
