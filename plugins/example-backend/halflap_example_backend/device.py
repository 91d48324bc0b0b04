"""A backend that keeps weights as they lie in the file and decodes them a few rows at a time."""

import numpy as np

from halflap import plugins
from halflap.device.checks import check_graph, check_inputs, check_step, check_weight, refusal
from halflap.device.interface import DeviceInfo, MemoryReport
from halflap.device.sizes import check_room, elements, host_memory, state_bytes, weight_bytes
from halflap.device.slots import SlotAccess, slot_layers
from halflap.graph import ops

NAME = "example"
ROWS = 64  # decoded at once
BYTES = {"f32": 4, "f16": 2}  # storage of K and V rows


class Device:
    """The only one of its kind, and so its own backend."""

    def devices(self):
        return [self]

    @property
    def info(self):
        free, total = host_memory()
        rounding = dict.fromkeys(plugins.names("weight_types"), "none")
        return DeviceInfo(NAME, NAME, "numpy, decoding as it goes", free, total, free, frozenset(), rounding)

    def supports(self, node, graph):
        return refusal(node, graph, plugins.names("weight_types"))

    def estimate(self, graph, limits):
        values = graph.values.values()
        weights = sum(weight_bytes(v.dtype, v.shape, NAME) for v in values if v.kind == "weight")
        widest = [ROWS * v.shape[-1] if v.kind == "weight" else elements(v.shape, limits) for v in values]
        state = state_bytes(graph.groups, limits, BYTES, NAME)
        return MemoryReport({"in place": weights}, state, 4 * 4 * max(widest, default=0))

    def pack(self, weights, graph):
        return Weights({name: Packed(weights[name]) for name in graph.weights()})

    def state(self, groups, limits):
        check_room(state_bytes(groups, limits, BYTES, NAME), NAME)
        return State({g.name: slot_layers(g, limits) or [Rows(g, w, limits) for w in g.layers] for g in groups})

    def compile(self, graph, weights, state, limits):
        check_graph(graph, plugins.names("weight_types"), NAME)
        return Executable(graph, weights, state, limits)

    def begin(self, step):
        return step

    def close(self):
        pass


class Packed:
    """One tensor as it lies in the file; an index of its first axis decodes those rows to f32."""

    def __init__(self, weight):
        check_weight(weight, NAME)
        self.shape, self.kind = weight.shape, plugins.get("weight_types", weight.dtype)
        self.data = weight.data.reshape(self.shape[0], -1)

    def __getitem__(self, which):
        chosen = np.ascontiguousarray(self.data[which])
        values = self.kind.dequantize(chosen.reshape(-1, self.kind.nbytes))
        return values.reshape(*chosen.shape[:-1], *self.shape[1:])


class Weights(dict):  # name -> Packed
    close = dict.clear


class Rows:
    """K and V of one layer of a state group: two arrays (blocks, rows of a block, width)."""

    def __init__(self, group, width, limits):
        blocks = limits.blocks[group.name]
        widths = zip((width.k, width.v), limits.kv_types, strict=True)
        self.parts = [np.zeros((blocks, group.block_rows, n), f"f{BYTES[kind]}") for n, kind in widths]

    def write(self, blocks, places, *values):  # attention's definition calls this and `read`
        for part, rows in zip(self.parts, values, strict=True):
            part[blocks, places] = rows

    def read(self, blocks):
        return [p[blocks].reshape(len(blocks) * p.shape[1], p.shape[2]).astype("f4") for p in self.parts]


class State(SlotAccess):  # group -> Rows of each layer; of a slots group SlotRows
    close = dict.clear

    def export_block(self, group, layer, block):
        return np.concatenate([part[block].astype("f4") for part in self[group][layer].parts], axis=1)

    def import_block(self, group, layer, block, rows):
        k, v = self[group][layer].parts
        k[block], v[block] = np.split(rows, [k.shape[-1]], axis=1)


class Executable:
    """Walks the graph; every op but `linear` is called by its definition, with self as its context."""

    def __init__(self, graph, weights, state, limits):
        self.graph, self.weights, self.state, self.limits = graph, weights, state, limits

    def layer(self, group, layer):
        return self.state[group][layer]

    def run(self, begun, inputs, fetch):
        check_step(begun, self.graph, self.limits, NAME)
        check_inputs(self.graph, begun, inputs, NAME)
        self.step = begun
        for copy in begun.copies:  # before anything else, in order
            for part in (part for rows in self.state[copy.group] for part in rows.parts):
                part[copy.target] = part[copy.source]
        values = {"": None, "ids": begun.ids, "rows": begun.rows, **inputs, **self.weights}
        for node in self.graph.nodes():
            given, op = [values[name] for name in node.inputs], ops.find(node.op)
            if node.op == "linear":
                result = linear(*given)
            else:
                if node.op != "embed":  # which asks its table for few rows
                    given = [value[:] if isinstance(value, Packed) else value for value in given]
                result = op.meaning()(*([self] if op.context else []), *given, **node.attributes)
            values.update(zip(node.outputs, result if len(node.outputs) > 1 else [result], strict=True))
        return Fence({name: values[name] for name in fetch})

    def close(self):
        pass


def linear(x, weight, bias):
    y = np.empty((*x.shape[:-1], weight.shape[0]), np.float32)
    for first in range(0, weight.shape[0], ROWS):
        y[..., first : first + ROWS] = x @ weight[first : first + ROWS].T
    return y if bias is None else y + bias[:]


class Fence(dict):  # the fetched values; done from the start, for `run` computes
    done, cancel = True, lambda self: None

    def wait(self, timeout=None):
        return self
