"""Family "slots": state of fixed size is read, moved, stored on the side and resumed as the step says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from attrs import evolve

from halflap.device.interface import Device, DeviceInfo
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.step import Copy, SlotStep, Step
from halflap.testing.cases import TOLERANCE, Case, require_support, within
from halflap.testing.drawing import draw_weight
from halflap.testing.expected import Expected, difference
from halflap.testing.families.errors import expect_error
from halflap.testing.rig import Rig, Tables, ints, limits_for

WIDTH, TAPS, SLOTS = 24, 4, 9

HOSTILE: Mapping[str, Callable[[SlotStep], SlotStep]] = {
    "in-beyond-pool": lambda s: evolve(s, source=ints([SLOTS, -1])),
    "in-below-minus-one": lambda s: evolve(s, source=ints([-2, -1])),
    "out-beyond-pool": lambda s: evolve(s, target=ints([0, SLOTS])),
    "out-negative": lambda s: evolve(s, target=ints([0, -1])),
    "out-twice": lambda s: evolve(s, target=ints([3, 3])),
    "read-of-a-neighbours-out": lambda s: evolve(s, source=ints([-1, 0]), target=ints([0, 1])),
    "emit-beyond-pool": lambda s: evolve(s, emit=ints([[0, SLOTS]])),
    "emit-after-no-token": lambda s: evolve(s, emit=ints([[5, 7]])),
    "emit-negative-token": lambda s: evolve(s, emit=ints([[-1, 7]])),
    "emit-to-an-out": lambda s: evolve(s, target=ints([0, 1]), emit=ints([[0, 1]])),
    "emit-descending": lambda s: evolve(s, target=ints([0, 1]), emit=ints([[3, 7], [0, 8]])),
}
"""Steps of two sequences of three and two tokens that no device may run."""


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for what in ("starts-at-zero", "stays-or-moves", "snapshot-is-kept", "two-from-one-snapshot", "export-import",
                 "copy-of-a-slot", *HOSTILE):  # fmt: skip
        yield Case(f"slots/{what}", "slots", 23, {"check": what})


def check(case: Case, device: Device) -> float | None:
    what, bench = case.facts["check"], Bench(device, case.seed)
    checks = {
        "starts-at-zero": _zero, "stays-or-moves": _moves, "snapshot-is-kept": _snapshot,
        "two-from-one-snapshot": _two, "export-import": _export_import,
    }  # fmt: skip
    with bench.rig:
        return checks[what](bench) if what in checks else _hostile(bench, what)


class Bench:
    """One conv_state on the device beside its expectation, fed the same steps."""

    def __init__(self, device: Device, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph, weights = _graph(self.rng)
        require_support(device, self.graph)
        self.limits = limits_for(self.graph)
        self.expected = Expected(self.graph, weights, self.limits, {})
        self.rig = Rig(device, self.graph, weights, self.limits)

    def run(self, counts: list[int], slots: SlotStep) -> float:
        """Feed so many tokens of each sequence; the difference of the results."""
        step = evolve(_step(self.graph, counts), slots={"slots": slots})
        x = {"x": self.rng.standard_normal((sum(counts), WIDTH)).astype(np.float32)}
        wanted = self.expected.run(step, x)["y"]
        return within("y", difference(np.asarray(self.rig.run(step, x)["y"]), wanted), TOLERANCE)


def _graph(rng: Any) -> tuple[Graph, dict[str, Any]]:
    weights = {"w": draw_weight("w", "F32", (WIDTH, TAPS), rng)}
    g = GraphBuilder("one convolution", {"w": ("F32", (WIDTH, TAPS))})
    x = g.input("x", "f32", "T", WIDTH)
    g.segment("layer.0")
    state = g.slot_layer("slots", WIDTH * (TAPS - 1))
    g.output(g.conv_state(x, g.weight("w"), **state), "y")
    return g.finish(), weights


def _step(graph: Graph, counts: list[int]) -> Step:
    tables = Tables(graph, limits_for(graph), np.random.default_rng(0))
    return tables.step({s: [0] * count for s, count in enumerate(counts)})


def slots(source: list[int], target: list[int], emit: list[list[int]] | None = None) -> SlotStep:
    return SlotStep(ints(source), ints(target), ints(emit or []).reshape(-1, 2))


def _zero(b: Bench) -> float:
    """A slot that another sequence left full reads as zero where the step says -1."""
    return max(b.run([5], slots([-1], [3])), b.run([4], slots([-1], [3])), b.run([1], slots([3], [3])))


def _moves(b: Bench) -> float:
    """In place, to another slot, and through a step that has no token of the sequence."""
    worst = b.run([3, 2], slots([-1, -1], [0, 1]))
    worst = max(worst, b.run([1, 1], slots([0, 1], [0, 5])), b.run([2, 0], slots([0, 5], [7, 8])))
    return max(worst, b.run([1, 1], slots([8, 7], [8, 7])))


def _snapshot(b: Bench) -> float:
    """What was stored after a token in the middle is there later, and the sequence itself went on."""
    worst = b.run([5, 4], slots([-1, -1], [0, 1], [[1, 6], [4, 2], [6, 4]]))
    worst = max(worst, b.run([2, 3], slots([0, 1], [0, 1])), b.run([2], slots([6], [5])))
    return max(worst, b.run([1, 1, 1], slots([5, 6, 4], [5, 6, 4])), b.run([1], slots([2], [2])))


def _two(b: Bench) -> float:
    """Two sequences of one step read the same slot, which nobody writes."""
    return max(b.run([4], slots([-1], [2])), b.run([2, 3], slots([2, 2], [0, 1])), b.run([1], slots([2], [2])))


def _export_import(b: Bench) -> float:
    """A slot's row leaves, and serves in another slot."""
    worst = b.run([6], slots([-1], [4]))
    row = np.asarray(b.rig.state.export_slot("slots", 0, 4))
    worst = max(worst, within("row", difference(row, b.expected.export_slot("slots", 0, 4)), TOLERANCE))
    b.rig.state.import_slot("slots", 0, 8, row)
    b.expected.import_slot("slots", 0, 8, row)
    return max(worst, b.run([3], slots([8], [8])))


def _hostile(b: Bench, what: str) -> float:
    """Refused, and the next step is right."""
    step = evolve(_step(b.graph, [3, 2]), slots={"slots": slots([-1, -1], [0, 1])})
    if what == "copy-of-a-slot":
        step = evolve(step, copies=(Copy("slots", 0, 1),))
    else:
        step = evolve(step, slots={"slots": HOSTILE[what](step.slots["slots"])})
    x = {"x": np.zeros((5, WIDTH), np.float32)}
    expect_error(what, lambda: b.rig.run(step, x))
    return b.run([3], slots([-1], [4]))
