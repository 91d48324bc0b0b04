"""What turns one graph into another: cutting it by device, other weight types, rotated K and V."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from halflap.errors import InvalidRequestError, PlanError
from halflap.graph.ir import STATES, Graph, Node, Segment, StateGroup, Value

ROTATED = ("attention", "compressed_attention", "keep_rows", "select_rows")
"""Ops whose rows `rotate_kv` turns."""


@frozen
class Stage:
    """Consecutive ops on one device.

    Attributes:
        device: index into the plan's devices.
        receives: values that earlier stages computed, live across the cut.
        sends: values that later stages or the caller want.
        places: (group, layer of the whole graph) -> its layer in the device's group of that name.
        source: it runs once for each sequence, over its source text.
    """

    device: int
    graph: Graph
    receives: tuple[str, ...]
    sends: tuple[str, ...]
    places: Mapping[tuple[str, int], int]
    source: bool = False


def split(graph: Graph, devices: Sequence[int]) -> list[Stage]:
    """Cut a graph into stages.

    Args:
        devices: for each node, in order, the index of its device.

    Raises:
        PlanError: the cut would part an op that only reads state from the op that writes it.
    """
    runs: list[tuple[tuple[int, bool], list[tuple[str, Node]]]] = []
    flat = [(segment.name, node) for segment in graph.segments for node in segment.nodes]
    sources = [segment.source for segment in graph.segments for _ in segment.nodes]
    for named, device, source in zip(flat, devices, sources, strict=True):
        if not runs or runs[-1][0] != (device, source):
            runs.append(((device, source), []))
        runs[-1][1].append(named)
    groups = {device: _groups_on(graph, flat, devices, device) for device in set(devices)}
    stages = []
    for i, ((device, source), nodes) in enumerate(runs):
        later = {name for _, rest in runs[i + 1 :] for _, node in rest for name in node.inputs}
        stage = _stage(graph, device, nodes, later, *groups[device])
        stages.append(evolve(stage, graph=evolve(stage.graph, whole=graph.whole or source), source=source))
    return stages


def retype(graph: Graph, types: Mapping[str, str]) -> Graph:
    """The same graph with weights of other types, old name -> new; unchanged, the graph itself."""
    if not any(value.kind == "weight" and value.dtype in types for value in graph.values.values()):
        return graph
    values = {
        name: evolve(value, dtype=types.get(value.dtype, value.dtype)) if value.kind == "weight" else value
        for name, value in graph.values.items()
    }
    return evolve(graph, values=values)


def rotate_kv(graph: Graph) -> Graph:
    """The same graph with K and V stored rotated, which spreads outliers before they are quantised.

    A Hadamard matrix is orthogonal and its own inverse: q and k rotated alike give the same scores, and the weighted
    sum of rotated values is rotated back. Blocks are the largest power of two that divides the head's size.
    """
    values = dict(graph.values)
    segments = []
    for segment in graph.segments:
        nodes: list[Node] = []
        for node in segment.nodes:
            nodes += _rotated(node, values) if node.op in ROTATED else [node]
        segments.append(evolve(segment, nodes=tuple(nodes)))
    return evolve(graph, values=values, segments=tuple(segments))


def accept_images(graph: Graph, width: int, blank: int) -> Graph:
    """The same graph with an input `embeds` (T, width), whose row j is taken for a token id of -1-j.

    What scales the embedding scales the table's rows only. A second table that reads the ids gives row `blank` there.
    """
    values = dict(graph.values)
    values.setdefault("embeds", Value("embeds", "f32", ("T", width), "input"))
    users: dict[str, list[Node]] = {}
    for node in graph.nodes():
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    segments = []
    for segment in graph.segments:
        nodes: list[Node] = []
        dropped: set[str] = set()
        for node in segment.nodes:
            if node.outputs[0] in dropped:
                continue
            if node.op != "embed" or node.inputs[0] != "ids" or node.inputs[2]:
                nodes.append(node)
            elif node.inputs[1] != "token_embd.weight":
                nodes.append(evolve(node, attributes={**node.attributes, "blank": blank}))
            else:
                follower = users[node.outputs[0]][0]
                alone = len(users[node.outputs[0]]) == 1 and follower.op == "scale" and follower in segment.nodes
                given = {**node.attributes, "scale": follower.attributes["factor"]} if alone else node.attributes
                result = follower.outputs if alone else node.outputs
                if alone:
                    dropped.add(follower.outputs[0])
                    del values[node.outputs[0]]
                inputs = (*node.inputs[:2], "embeds")
                nodes.append(evolve(node, inputs=inputs, outputs=result, attributes=given))
        segments.append(evolve(segment, nodes=tuple(nodes)))
    return evolve(graph, values=values, segments=tuple(segments))


def skip_layers(graph: Graph, layers: Sequence[int]) -> Graph:
    """The same graph without some layers: what would enter such a layer goes on to the next one.

    Raises:
        InvalidRequestError: no such layer, or one that another layer needs for more than its result.
    """
    values, groups, kept = dict(graph.values), graph.groups, list(graph.segments)
    for layer in sorted(set(layers), reverse=True):
        name = f"layer.{layer}"
        place = next((i for i, segment in enumerate(kept) if segment.name == name), None)
        if place is None or not place:
            raise InvalidRequestError(
                "skip_layers",
                got=layer,
                want=f"layers of the model ({len(graph.segments)} segments)",
                field="skip_layers",
            )
        skipped, rest = kept[place], kept[place + 1 :]
        made = {output for node in skipped.nodes for output in node.outputs}
        later = {name for segment in rest for node in segment.nodes for name in node.inputs}
        leaves = [output for output in made if output in later or output in graph.outputs]
        entering = skipped.nodes[0].inputs[0]
        states = {state for node in skipped.nodes for state in node.states()}
        takes = [n for n in skipped.nodes if n.op == "take"]
        shared = any(state in states for segment in rest for node in segment.nodes for state in node.states())
        if len(leaves) != 1 or shared or values[entering].kind != "result":
            raise InvalidRequestError(
                "skip_layers", got=layer, want="a layer whose result alone is needed later", field="skip_layers"
            )
        (left,) = leaves
        if not takes:
            kept[place] = evolve(skipped, nodes=())
            kept[place + 1 :] = [_reading(segment, {left: entering}) for segment in rest]
        else:  # the last layer, which keeps the wanted rows only
            kept[place] = evolve(
                skipped, nodes=(evolve(takes[0], inputs=(entering, takes[0].inputs[1]), outputs=(left,)),)
            )
        present = {output for node in kept[place].nodes for output in node.outputs}
        for output in made - present:
            del values[output]
    used = {name for segment in kept for node in segment.nodes for name in node.inputs}
    values = {name: value for name, value in values.items() if value.kind != "weight" or name in used}
    return _without_unused_state(
        evolve(graph, values=values, segments=tuple(s for s in kept if s.nodes), groups=groups)
    )


def _reading(segment: Segment, names: Mapping[str, str]) -> Segment:
    """The segment with its inputs renamed."""
    nodes = (evolve(node, inputs=tuple(names.get(name, name) for name in node.inputs)) for node in segment.nodes)
    return evolve(segment, nodes=tuple(nodes))


def _without_unused_state(graph: Graph) -> Graph:
    """State layers that no op names any more go, and the others close up."""
    flat = [(segment.name, node) for segment in graph.segments for node in segment.nodes]
    groups, places = _groups_on(graph, flat, [0] * len(flat), 0)
    segments = tuple(
        evolve(segment, nodes=tuple(_moved(node, places) for node in segment.nodes)) for segment in graph.segments
    )
    return evolve(graph, segments=segments, groups=groups)


def _rotated(node: Node, values: dict[str, Value]) -> list[Node]:
    """The node with what it stores rotated before, so with its queries; its result is rotated back."""

    def rotation(name: str, result: str, dim: int) -> Node:
        return Node("hadamard", 1, (name,), (result,), {"block": dim & -dim})

    def width(place: int) -> int:
        return int(values[node.inputs[place]].shape[-1])

    if node.op == "compressed_attention":  # rows are K and V, and so are the far ones
        dims = {place: width(1) for place in range(3)}
    elif node.op == "select_rows":
        dims = {0: width(2), 2: width(2)}
    else:
        k_dim, v_dim = (int(node.attributes[name]) for name in ("head_dim", "v_head_dim"))  # type: ignore[arg-type]
        dims = {1: k_dim, 2: v_dim} if node.op == "keep_rows" else {0: k_dim, 1: k_dim, 2: v_dim}
    (y,) = node.outputs
    inputs, before = list(node.inputs), {}
    for place, dim in dims.items():
        if name := inputs[place]:
            inputs[place] = f"{y}.rotated.{name}"
            before[name] = rotation(name, inputs[place], dim)
            values[inputs[place]] = evolve(values[name], name=inputs[place], kind="result")
    if node.op in ("keep_rows", "select_rows"):
        return [*before.values(), evolve(node, inputs=tuple(inputs))]
    values[f"{y}.rotated"] = evolve(values[y], name=f"{y}.rotated")
    attention = evolve(node, inputs=tuple(inputs), outputs=(f"{y}.rotated",))
    return [*before.values(), attention, rotation(f"{y}.rotated", y, dims[2])]


def _groups_on(
    graph: Graph, flat: Sequence[tuple[str, Node]], devices: Sequence[int], device: int
) -> tuple[tuple[StateGroup, ...], dict[tuple[str, int], int]]:
    """The state groups a device needs, and where each layer of the whole graph lies in them."""
    wanted: dict[str, list[int]] = {}
    uses = [(state, place) for (_, node), place in zip(flat, devices, strict=True) for state in node.states()]
    for (group, layer), place in uses:
        if place == device and layer not in wanted.setdefault(group, []):
            wanted[group].append(layer)
        elif place != device and layer in wanted.get(group, []):
            raise PlanError(
                f"state layer {layer} of group {group!r}",
                got="its ops on two devices",
                want="ops that share state on one device",
                fix="Place these layers together.",
            )
    groups = tuple(
        evolve(g, layers=tuple(g.layers[i] for i in wanted[g.name])) for g in graph.groups if g.name in wanted
    )
    return groups, {(name, layer): i for name, layers in wanted.items() for i, layer in enumerate(layers)}


def _stage(
    graph: Graph,
    device: int,
    nodes: Sequence[tuple[str, Node]],
    later: set[str],
    groups: tuple[StateGroup, ...],
    layer_index: Mapping[tuple[str, int], int],
) -> Stage:
    made = {name for _, node in nodes for name in node.outputs}
    used = dict.fromkeys(name for _, node in nodes for name in node.inputs if name)
    receives = tuple(n for n in used if n not in made and graph.values[n].kind == "result")
    sends = tuple(n for n in graph.values if n in made and (n in later or n in graph.outputs))
    values: dict[str, Value] = {}
    for name in used:
        if name not in made:
            value = graph.values[name]
            values[name] = evolve(value, kind="input") if value.kind == "result" else value
    values.update((name, graph.values[name]) for _, node in nodes for name in node.outputs)
    segments: dict[str, list[Node]] = {}
    for segment, node in nodes:
        node = _moved(node, layer_index)
        segments.setdefault(segment, []).append(node)
    parts = tuple(Segment(name, tuple(ops)) for name, ops in segments.items())
    return Stage(device, Graph(graph.name, values, parts, sends, groups, graph.whole), receives, sends, layer_index)


def _moved(node: Node, places: Mapping[tuple[str, int], int]) -> Node:
    """The node with its state layers where they lie now."""
    named = [p for p in STATES if node.attributes.get(p + "group")]
    moved = {f"{p}layer": places[state] for p, state in zip(named, node.states(), strict=True)}
    return evolve(node, attributes={**node.attributes, **moved}) if moved else node
