"""What a host adds to a model's graph: low-rank adapters, and taps of the stream between layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from halflap.errors import InvalidRequestError, UnsupportedModelError
from halflap.graph.ir import Graph, Node, Segment, Value

SCALES = "adapter_scales"
"""Input (T, rank of all adapters together): the scale of each adapter for each token, once for each of its rows."""
TAP = "tap."
"""Before the names of outputs that `with_taps` added."""


def with_adapters(graph: Graph, targets: Sequence[str], rank: int) -> Graph:
    """The same graph in which y = W x becomes y = W x + B (s * A x) for the named weights W.

    A and B hold all adapters side by side, and s their scales: where it is 0, exactly nothing is added. The new weights
    are called `lora_a(name)` (rank, n_in) and `lora_b(name)` (n_out, rank).

    Source: Hu et al., "LoRA", 2021.

    Raises:
        UnsupportedModelError: a weight that is used otherwise than by `linear`.
    """
    values = {**graph.values, SCALES: Value(SCALES, "f32", ("T", rank), "input")}
    left = set(targets)
    segments = []
    for segment in graph.segments:
        nodes: list[Node] = []
        for node in segment.nodes:
            if node.op == "linear" and node.inputs[1] in targets:
                left.discard(node.inputs[1])
                nodes += _adapted(node, node.inputs[1], rank, values)
            else:
                nodes.append(node)
        segments.append(evolve(segment, nodes=tuple(nodes)))
    other = {name for node in graph.nodes() if node.op != "linear" for name in node.inputs} & set(targets)
    if left or other:
        name = min(left | other)
        got = "a weight that the model reads otherwise than by a matrix product, or not at all"
        raise UnsupportedModelError(
            f"adapter's tensor {name!r}", got=got, want="one of a plain matrix product", what_kind="adapter", name=name
        )
    return evolve(graph, values=values, segments=tuple(segments))


def lora_a(weight: str) -> str:
    return f"{weight}.lora_a"


def lora_b(weight: str) -> str:
    return f"{weight}.lora_b"


def _adapted(node: Node, weight: str, rank: int, values: dict[str, Value]) -> Iterator[Node]:
    (y,), (x, *_) = node.outputs, node.inputs
    n_out, n_in = values[weight].shape
    values[lora_a(weight)] = Value(lora_a(weight), "F32", (rank, n_in), "weight")
    values[lora_b(weight)] = Value(lora_b(weight), "F32", (n_out, rank), "weight")
    rows = values[x].shape[0]

    def result(part: str, width: int | str) -> str:
        name = f"{y}.{part}"
        values[name] = Value(name, "f32", (rows, width))
        return name

    yield evolve(node, outputs=(result("plain", n_out),))
    scales = SCALES
    if rows != "T":
        scales = result("scales", rank)
        yield Node("take", 1, (SCALES, "rows"), (scales,), {})
    inner, scaled, added = result("inner", rank), result("scaled", rank), result("added", n_out)
    yield Node("linear", 1, (x, lora_a(weight), ""), (inner,), {})
    yield Node("mul", 1, (inner, scales), (scaled,), {})
    yield Node("linear", 1, (scaled, lora_b(weight), ""), (added,), {})
    yield Node("add", 1, (f"{y}.plain", added), (y,), {})


def with_taps(graph: Graph, names: Sequence[str]) -> Graph:
    """The same graph with the results of some layers as outputs `tap.NAME`, (R, width), of the wanted rows.

    Args:
        names: of segments, such as "layer.3".

    Raises:
        InvalidRequestError: no such layer.
    """
    values, outputs, segments = dict(graph.values), list(graph.outputs), list(graph.segments)
    for name in dict.fromkeys(names):
        place = next((i for i, s in enumerate(segments) if s.name == name and not s.source), None)
        if place is None or not name.startswith("layer."):
            known = [s.name for s in graph.segments if s.name.startswith("layer.") and not s.source]
            raise InvalidRequestError(
                "taps", got=repr(name), want=f"layers from {known[0]} to {known[-1]}", field="taps"
            )
        stream = _leaving(graph, segments[place])
        tap, (rows, *rest) = TAP + name, values[stream].shape
        values[tap] = Value(tap, "f32", ("R", *rest))
        taken = Node("take", 1, (stream, "rows"), (tap,), {})
        copied = Node("scale", 1, (stream,), (tap,), {"factor": 1.0})
        segments[place] = evolve(segments[place], nodes=(*segments[place].nodes, taken if rows == "T" else copied))
        outputs.append(tap)
    values.setdefault("rows", Value("rows", "i32", ("R",), "input"))
    return evolve(graph, values=values, segments=tuple(segments), outputs=tuple(outputs))


def _leaving(graph: Graph, segment: Segment) -> str:
    """The last result of a segment that others read: the stream between the layers."""
    later = {n for s in graph.segments if s is not segment for node in s.nodes for n in node.inputs}
    made = [output for node in segment.nodes for output in node.outputs]
    return next((name for name in reversed(made) if name in later or name in graph.outputs), made[-1])


def tap_names(outputs: Sequence[str]) -> Mapping[str, str]:
    """Layer -> output of what `with_taps` added."""
    return {name.removeprefix(TAP): name for name in outputs if name.startswith(TAP)}
