"""Small graphs on a device and on the reference, with weights of every storage type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from halflap import plugins
from halflap.device.interface import Device, Weight
from halflap.device.reference import ReferenceDevice
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import BLOCK_TOKENS, Graph
from halflap.graph.step import GroupStep, Limits, Step
from halflap.testing.drawing import INTEGERS, draw_weight
from halflap.weights.catalogue import WEIGHT_TYPES

F32 = npt.NDArray[np.float32]

FLOATS = ("F32", "F16", "BF16")
TYPES = tuple(name for name, _, _ in WEIGHT_TYPES if name not in (*INTEGERS, "F64"))


def random_weight(name: str, kind: str, shape: tuple[int, ...], seed: int = 0) -> Weight:
    return draw_weight(name, kind, shape, np.random.default_rng(seed))


def weight_type(kind: str) -> Any:
    return plugins.get("weight_types", kind)


def values_of(weight: Weight) -> F32:
    kind = weight_type(weight.dtype)
    return kind.dequantize(weight.data.reshape(-1, kind.nbytes)).reshape(weight.shape)


def f32_weight(name: str, values: F32) -> Weight:
    values = np.ascontiguousarray(values, np.float32)
    return Weight(name, "F32", values.shape, values.reshape(-1).view(np.uint8))


def rounded(x: F32) -> npt.NDArray[np.float64]:
    """Activations as a quantised weight meets them: i8x256."""
    out = np.zeros(x.shape, np.float64)
    for k in range(0, x.shape[-1], 256):
        part = x[..., k : k + 256]
        scale = np.abs(part).max(axis=-1, keepdims=True) / np.float32(127)
        with np.errstate(divide="ignore", invalid="ignore"):
            q = np.where(scale > 0, np.rint(part / scale), 0)
        out[..., k : k + 256] = q.astype(np.float64) * scale
    return out


def builder(weights: Sequence[Weight]) -> GraphBuilder:
    return GraphBuilder("test", {w.name: (w.dtype, w.shape) for w in weights})


class Machine:
    """A graph compiled on a device."""

    def __init__(
        self, device: Device, graph: Graph, weights: Sequence[Weight] = (), *, tokens: int = 160, sequences: int = 4,
        blocks: int = 16, kv_type: str = "f32", context: int = 1024,
    ) -> None:  # fmt: skip
        self.device, self.graph = device, graph
        self.limits = Limits(tokens, sequences, tokens, context, {g.name: blocks for g in graph.groups}, (kv_type,) * 2)
        self.weights = device.pack({w.name: w for w in weights}, graph)
        self.state = device.state(graph.groups, self.limits)
        self.executable = device.compile(graph, self.weights, self.state, self.limits)

    def run(self, step: Step, inputs: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        return self.executable.run(self.device.begin(step), inputs or {}, list(self.graph.outputs)).wait()

    def close(self) -> None:
        self.executable.close()
        self.state.close()
        self.weights.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def both(device: Device, graph: Graph, step: Step, inputs: Mapping[str, Any], weights: Sequence[Weight] = ()) -> Any:
    """The outputs of the device and of the reference."""
    found = []
    for one in (device, ReferenceDevice()):
        with Machine(one, graph, weights) as machine:
            found.append(machine.run(step, inputs))
    return found


def simple_step(
    tokens: int, rows: Sequence[int] = (), ids: Any = None, groups: Sequence[str] = (), start: int = 0, blocks: int = 16
) -> Step:
    """One sequence, `tokens` tokens from `start` on, in blocks listed backwards."""
    index = np.arange(start, start + tokens, dtype=np.int32)
    table = np.arange(blocks, dtype=np.int32)[::-1].copy()
    group = GroupStep(
        np.array([0, blocks], np.int32), table, np.array([0], np.int32), np.array([start + tokens], np.int32)
    )
    return Step(
        np.zeros(tokens, np.int32) if ids is None else np.asarray(ids, np.int32), index, index[None].copy(),
        np.array([0, tokens], np.int32), np.asarray(rows, np.int32), dict.fromkeys(groups, group),
    )  # fmt: skip


def mixed_step(runs: Sequence[tuple[int, int]], group: str) -> Step:
    """Sequences (start, count) side by side, each in four blocks of its own that no other sequence touches."""
    per = 4
    index = np.concatenate([np.arange(a, a + n, dtype=np.int32) for a, n in runs])
    bounds = np.cumsum([0, *[n for _, n in runs]]).astype(np.int32)
    s = len(runs)
    table = np.concatenate([(np.arange(per) * s + i) for i in range(s)]).astype(np.int32)
    step = GroupStep(
        np.arange(0, s * per + 1, per, dtype=np.int32), table, np.zeros(s, np.int32),
        np.array([a + n for a, n in runs], np.int32),
    )  # fmt: skip
    assert max(a + n for a, n in runs) <= per * BLOCK_TOKENS
    return Step(np.zeros(len(index), np.int32), index, index[None].copy(), bounds, np.zeros(0, np.int32), {group: step})


def relative(got: Any, want: Any) -> float:
    scale = float(np.abs(want).max())
    return float(np.abs(np.asarray(got, np.float64) - want).max() / (scale or 1.0))
