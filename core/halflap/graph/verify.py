"""Whether a finished graph means anything: for graphs that nobody here wrote, such as a plugin architecture's."""

from __future__ import annotations

from halflap.errors import ModelFormatError
from halflap.graph import ops
from halflap.graph.ir import Graph, Node, StateGroup


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
    later = [segment for segment in graph.segments if not segment.source]
    whole = [node.op for segment in later for node in segment.nodes if ops.find(node.op).whole]
    if whole and not graph.whole:
        raise _wrong(f"graph with op {whole[0]!r}", "sequences in parts", "whole ones")
    of_sources = {name for s in graph.segments if s.source for node in s.nodes for name in node.outputs}
    if found := of_sources & {name for s in later for node in s.nodes for name in node.inputs}:
        raise _wrong(f"value {min(found)!r} of a source text", "ops of other tokens that read it", "state alone")
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
    if spec.keeps is not None:
        group, layer = _state(graph, node, where, "", "slots")
        keeps = spec.keeps(given, node.attributes)
        if group.layers[layer].k != keeps:
            raise _wrong(f"{where}: state", f"{group.layers[layer].k} elements", keeps)
    for rows in spec.kept_rows(given, node.attributes):
        group, layer = _state(graph, node, where, rows.prefix, "blocks")
        for found, width in ((rows.k, group.layers[layer].k), (rows.v, group.layers[layer].v)):
            if found not in (None, width):
                raise _wrong(f"{where}: state row", found, width)
        if rows.window != group.window:
            raise _wrong(f"{where}: window", rows.window, f"{group.window}, that of its group")
        if rows.rate != group.rate:
            raise _wrong(f"{where}: rate", rows.rate, f"{group.rate}, that of its group")


def _state(graph: Graph, node: Node, where: str, prefix: str, kind: str) -> tuple[StateGroup, int]:
    """The group and layer that a node names, both known to exist."""
    name, layer = node.attributes[prefix + "group"], node.attributes[prefix + "layer"]
    group = next((g for g in graph.groups if g.name == name), None)
    if group is None or not isinstance(layer, int) or not 0 <= layer < len(group.layers):
        raise _wrong(f"{where}: state", f"layer {layer} of group {name!r}", "a declared layer")
    if group.kind != kind:
        raise _wrong(f"{where}: state", f"{group.kind} group {group.name!r}", f"one of {kind}")
    return group, layer


def _wrong(what: str, got: object, want: object) -> ModelFormatError:
    return ModelFormatError(what, got=got, want=want, field=what)
