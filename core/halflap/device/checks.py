"""What every device must refuse, said once: for devices written in Python, which have no validator of their own.

Each function raises an error of `halflap.errors` with status "invalid", or returns None. Native backends do the same
checks behind `abi.h`, where no Python exception could reach them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from halflap.device.interface import Array, Weight
from halflap.device.sizes import weight_bytes
from halflap.errors import DeviceError, HalflapError, UnsupportedOpError
from halflap.graph import ops
from halflap.graph.ir import Graph, Node
from halflap.graph.step import Ints, Limits, Step


def refusal(node: Node, graph: Graph, types: Collection[str]) -> str | None:
    """Why no device that follows the op table may run this node; None if one may.

    Args:
        types: weight types that the device reads.
    """
    try:
        op = ops.find(node.op)
        op.check_attributes(node.attributes)
    except HalflapError as error:
        return str(error)
    if node.version != op.version:
        return f"op {node.op!r} version: got {node.version}, want {op.version}"
    for value in (graph.values[name] for name in node.inputs if name):
        if value.kind == "weight" and value.dtype not in types:
            return f"weight {value.name!r} type: got {value.dtype}, want one of {sorted(types)}"
    return None


def check_graph(graph: Graph, types: Collection[str], device: str) -> None:
    """For `compile`: every node can run.

    Raises:
        UnsupportedOpError: one cannot.
    """
    for node in graph.nodes():
        reason = refusal(node, graph, types)
        if reason is not None:
            raise UnsupportedOpError(
                f"op {node.op!r} on device {device!r}", got=reason, want="an op of the table", op=node.op, device=device
            )


def check_weight(weight: Weight, device: str) -> None:
    """For `pack`: as many bytes as its type and shape need.

    Raises:
        DeviceError: more or fewer.
    """
    wanted = weight_bytes(weight.dtype, weight.shape, device)
    if weight.data.nbytes != wanted:
        raise invalid(device, f"weight {weight.name!r}", f"{weight.data.nbytes} bytes", f"{wanted}")


def check_step(step: Step, graph: Graph, limits: Limits, device: str) -> None:
    """For `run` of a graph: counts within the limits, every index inside what it points into.

    Raises:
        DeviceError: some number is out of bounds.
    """
    for what, count, most in (
        ("tokens", step.n_tokens, limits.tokens),
        ("sequences", step.n_sequences, limits.sequences),
        ("rows", step.n_rows, limits.rows),
    ):
        if count > most:
            raise invalid(device, f"step's {what}", count, f"at most {most}")
    _check_range(step.rows, 0, step.n_tokens, "wanted row", device)
    if step.span_end is not None:
        _check_spans(step, step.span_end, device)
    groups, addressed = graph.groups, _addressed(graph)
    slots = {group.name for group in groups if group.kind == "slots"}
    if any(copy.group in slots for copy in step.copies):
        raise invalid(device, "copy", "one in a slots group", "copies of blocks only")
    for group in groups:
        if group.kind == "slots":
            _check_slots(step, group.name, limits.slots[group.name], device)
            continue
        table, pool = step.groups[group.name], limits.blocks[group.name]
        _check_range(table.blocks, 0, pool, f"block of group {group.name!r}", device)
        room = np.diff(table.table_start) * group.block_tokens
        if np.any(table.length - table.first_token > room):
            raise invalid(device, f"blocks of group {group.name!r}", f"room for {room.tolist()} tokens",
                          (table.length - table.first_token).tolist())  # fmt: skip
        first = np.repeat(table.first_token, np.diff(step.seq_start))
        length = np.repeat(table.length, np.diff(step.seq_start))
        if group.name in addressed and (np.any(step.index < first) or np.any(step.index >= length)):
            raise invalid(device, f"index in group {group.name!r}", step.index.tolist(), "places that its blocks hold")
        for copy in step.copies:
            if copy.group == group.name:
                ends = np.array([copy.source, copy.target], np.int32)
                _check_range(ends, 0, pool, f"copied block of group {group.name!r}", device)


def _addressed(graph: Graph) -> set[str]:
    """The blocks groups in which the graph's tokens find their rows by their index."""
    found = set()
    for node in graph.nodes():
        given = [graph.values[name] if name else None for name in node.inputs]
        rows = ops.find(node.op).kept_rows(given, node.attributes)
        found |= {str(node.attributes[kept.prefix + "group"]) for kept in rows if kept.own}
    return found


def _check_spans(step: Step, span_end: Ints, device: str) -> None:
    """No span ends behind its sequence's last token of the step, or before one that began earlier."""
    if span_end.shape != step.index.shape:
        raise invalid(device, "span_end", f"shape {list(span_end.shape)}", list(step.index.shape))
    newest = np.maximum(step.index, span_end - 1)
    for begin, end in zip(step.seq_start[:-1], step.seq_start[1:], strict=True):
        part = newest[begin:end]
        if len(part) and (part[-1] > step.index[end - 1] or np.any(np.diff(part) < 0)):
            raise invalid(device, "span_end", span_end[begin:end].tolist(), "spans inside the step, one after another")


def _check_slots(step: Step, name: str, pool: int, device: str) -> None:
    """Every id in range; a slot is written once, and read by nobody but the sequence that writes it."""
    slots, what = step.slots[name], f"slot of group {name!r}"
    if slots.source.shape != (step.n_sequences,) or slots.target.shape != (step.n_sequences,):
        raise invalid(device, f"{what}: sequences", len(slots.source), step.n_sequences)
    _check_range(slots.source, -1, pool, what, device)
    _check_range(slots.target, 0, pool, what, device)
    emit = slots.emit.reshape(-1, 2)
    _check_range(emit[:, 0], 0, step.n_tokens, f"{what}: token whose state is stored", device)
    _check_range(emit[:, 1], 0, pool, what, device)
    if np.any(np.diff(emit[:, 0]) < 0):
        raise invalid(device, f"{what}: tokens whose state is stored", emit[:, 0].tolist(), "ascending ones")
    writers = dict(zip(slots.target.tolist(), range(step.n_sequences), strict=True))
    owners = np.searchsorted(step.seq_start, emit[:, 0], side="right") - 1
    writers.update(zip(emit[:, 1].tolist(), owners.tolist(), strict=True))
    if len(writers) < step.n_sequences + len(emit):
        raise invalid(device, what, "a slot written twice", "each once in a step")
    for sequence, source in enumerate(slots.source.tolist()):
        if writers.get(source, sequence) != sequence:
            raise invalid(device, what, f"{source}, which another sequence writes", "one of the sequence's own")


def check_inputs(graph: Graph, step: Step, inputs: Mapping[str, Array], device: str) -> None:
    """For `run`: each input is there in its shape, and each token id is one of the embedding's rows.

    Raises:
        DeviceError: one is not.
    """
    sizes = step.sizes()
    for name in graph.inputs():
        if name in ("ids", "rows"):
            continue
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in graph.values[name].shape)
        found = inputs[name].shape if name in inputs else None
        if found != shape:
            raise invalid(device, f"input {name!r}", "none" if found is None else f"shape {list(found)}", list(shape))
    for node in graph.nodes():
        axes = node.attributes.get("axes", ())
        if axes and len(step.position) > 1:
            _check_range(np.asarray(axes, np.int32), 0, len(step.position), "position axis", device)
        if node.op == "embed" and node.inputs[0] == "ids":
            _, table, embeds = node.inputs
            rows = graph.values[table].shape[0] if table else 1 << 31
            assert isinstance(rows, int)
            given = len(inputs[embeds]) if embeds and embeds in inputs else step.n_tokens if embeds else 0
            if int(node.attributes["blank"]) >= 0:  # type: ignore[arg-type]
                given = 1 << 31
            _check_range(step.ids, -given, rows, "token id", device)


def invalid(device: str, what: str, got: object, want: object) -> DeviceError:
    """The error for a caller that broke the contract."""
    return DeviceError(f"device {device!r}: {what}", got=got, want=want, device=device, status="invalid")


def _check_range(values: Ints, low: int, stop: int, what: str, device: str) -> None:
    wrong = values[(values < low) | (values >= stop)]
    if len(wrong):
        raise invalid(device, what, int(wrong[0]), f"{low} to {stop - 1}")
