"""Whether a finished graph means anything: for graphs that nobody here wrote, such as a plugin architecture's."""

from __future__ import annotations

from halflap.errors import ModelFormatError
from halflap.graph import ops
from halflap.graph.ir import Graph, Node


def verify(graph: Graph) -> None:
    """Check every op against the table, every name against the values, every state layer against its group.

    A layer of a slots group belongs to one op: a second one would read what the first has already moved on.

    Raises:
        ModelFormatError: names the op or value, what it has and what it should have.
        NotRegisteredError: an op that nobody registered.
    """
    known = {"", *(value.name for value in graph.values.values() if value.kind != "result")}
    for node in graph.nodes():
        _verify_node(graph, node, known)
        known.update(node.outputs)
    slots = [(n.attributes["group"], n.attributes["layer"]) for n in graph.nodes() if ops.find(n.op).keeps]
    for group, layer in slots:
        if slots.count((group, layer)) > 1:
            raise _wrong(f"layer {layer} of slots group {group!r}", "two ops", "one")
    whole = [node.op for node in graph.nodes() if ops.find(node.op).whole]
    if whole and not graph.whole:
        raise _wrong(f"graph with op {whole[0]!r}", "sequences in parts", "whole ones")
    for name in graph.outputs:
        if name not in known or not name:
            raise _wrong(f"graph output {name!r}", "no op that makes it", "one of the results")


def _verify_node(graph: Graph, node: Node, known: set[str]) -> None:
    spec = ops.find(node.op)
    where = f"op {node.op!r} making {', '.join(node.outputs)}"
    if node.version != spec.version:
        raise _wrong(f"{where}: version", node.version, spec.version)
    for name in node.inputs:
        if name not in known:
            raise _wrong(f"{where}: input", f"{name!r}, which nothing made before it", "an earlier value")
    if len(node.inputs) != len(spec.inputs) or not spec.complete([bool(name) for name in node.inputs]):
        raise _wrong(f"{where}: inputs", list(node.inputs), list(spec.inputs))
    if dict(node.attributes) != spec.check_attributes(node.attributes):
        raise _wrong(f"{where}: attributes", sorted(node.attributes), sorted(spec.attributes))
    given = [graph.values[name] if name else None for name in node.inputs]
    results = spec.rule(given, node.attributes)
    declared = [(graph.values[name].dtype, graph.values[name].shape) for name in node.outputs if name in graph.values]
    if declared != results:
        raise _wrong(f"{where}: results", declared, results)
    if "group" in node.attributes:
        _verify_state(graph, node, where, spec.keeps(given, node.attributes) if spec.keeps else None)


def _verify_state(graph: Graph, node: Node, where: str, keeps: int | None) -> None:
    group = next((g for g in graph.groups if g.name == node.attributes["group"]), None)
    layer = node.attributes["layer"]
    if group is None or not isinstance(layer, int) or not 0 <= layer < len(group.layers):
        raise _wrong(f"{where}: state", f"layer {layer} of group {node.attributes['group']!r}", "a declared layer")
    kind = "blocks" if keeps is None else "slots"
    if group.kind != kind:
        raise _wrong(f"{where}: state", f"{group.kind} group {group.name!r}", f"one of {kind}")
    if keeps is not None:
        if group.layers[layer].k != keeps:
            raise _wrong(f"{where}: state", f"{group.layers[layer].k} elements", keeps)
        return
    for name, width in zip(node.inputs[1:3], (group.layers[layer].k, group.layers[layer].v), strict=False):
        if name and graph.values[name].shape[-1] != width:
            raise _wrong(f"{where}: state row", graph.values[name].shape[-1], width)
    if node.attributes.get("window", 0) != group.window:
        raise _wrong(f"{where}: window", node.attributes.get("window", 0), f"{group.window}, that of its group")


def _wrong(what: str, got: object, want: object) -> ModelFormatError:
    return ModelFormatError(what, got=got, want=want, field=what)
