"""Family "order": a device is an in-order queue that has read the host's arrays when `run` returns."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from halflap.device.interface import Device, DeviceInfo
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.step import Step
from halflap.testing.cases import MODEL_TOLERANCE, Case, Failed, require_support, within
from halflap.testing.drawing import Rng
from halflap.testing.expected import Expected, difference
from halflap.testing.rig import Rig, Tables, limits_for
from halflap.testing.tiny import VOCAB, tiny_model

TOLERANCE = MODEL_TOLERANCE["none"]


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for what in ("queued-steps", "copies-first", "copies-in-order", "freed-blocks", "host-arrays", "export-import",
                 "wait-twice", "any-thread"):  # fmt: skip
        yield Case(f"order/{what}", "order", 13, {"check": what})


def check(case: Case, device: Device) -> float:
    checks = {
        "queued-steps": _queued, "copies-first": _copies_first, "copies-in-order": _copies_in_order,
        "freed-blocks": _freed_blocks, "host-arrays": _host_arrays, "export-import": _export_import,
        "wait-twice": _wait_twice, "any-thread": _any_thread,
    }  # fmt: skip
    return checks[case.facts["check"]](Bench(device, case.seed))


class Bench:
    """A tiny model beside its expectation, both fed the same steps."""

    def __init__(self, device: Device, seed: int) -> None:
        self.device, self.rng = device, np.random.default_rng(seed)
        self.model = tiny_model("llama", seed=seed)
        require_support(device, self.model.graph)
        self.limits = limits_for(self.model.graph)
        self.expected = Expected(self.model.graph, self.model.weights, self.limits, device.info.rounding)
        self.tables = Tables(self.model.graph, self.limits, self.rng)

    def rig(self) -> Rig:
        return Rig(self.device, self.model.graph, self.model.weights, self.limits)

    def draw(self, count: int) -> list[int]:
        """Random token ids."""
        return [int(token) for token in self.rng.integers(0, VOCAB, count)]

    def wanted(self, step: Step) -> Any:
        return self.expected.run(step, {})["logits"]


def _same(what: str, found: Any, wanted: Any) -> float:
    return within(what, difference(np.asarray(found), wanted), TOLERANCE)


def _queued(b: Bench) -> float:
    """Two steps under way, the second on the first one's state, waited for in the wrong order."""
    with b.rig() as rig:
        steps = [b.tables.step({0: b.draw(33)}), b.tables.step({0: b.draw(2)})]
        wanted = [b.wanted(step) for step in steps]
        fences = [rig.start(step, fetch=["logits"]) for step in steps]
        second = _same("second step", fences[1].wait()["logits"], wanted[1])
        if not fences[0].done:
            raise Failed("first step's fence: got not done after the second's, want done")
        return max(second, _same("first step", fences[0].wait()["logits"], wanted[0]))


def _copies_first(b: Bench) -> float:
    """A fork: the copy is taken before the same step writes on in the source block."""
    with b.rig() as rig:
        first = b.tables.step({0: b.draw(40)})
        b.wanted(first)
        rig.run(first)
        copies = b.tables.fork(0, 1)
        step = b.tables.step({0: b.draw(3), 1: b.draw(5)}, copies=copies)
        wanted = b.wanted(step)
        return _same("forked sequences", rig.run(step)["logits"], wanted)


def _copies_in_order(b: Bench) -> float:
    """A chain of copies in one step: a to b to c."""
    from halflap.graph.step import Copy

    with b.rig() as rig:
        first = b.tables.step({0: b.draw(32)})
        b.wanted(first)
        rig.run(first)
        source, (middle, last) = b.tables.blocks["kv", 0][0], b.tables.free["kv"][:2]
        step = b.tables.step({0: b.draw(1)}, copies=[Copy("kv", source, middle), Copy("kv", middle, last)])
        b.wanted(step)
        rig.run(step)
        b.tables.blocks["kv", 0][0] = last
        after = b.tables.step({0: b.draw(1)})
        return _same("after the copies", rig.run(after)["logits"], b.wanted(after))


def _freed_blocks(b: Bench) -> float:
    """Blocks of a finished sequence go to another while the first one's step is still under way."""
    with b.rig() as rig:
        first = b.tables.step({0: b.draw(64)})
        wanted = [b.wanted(first)]
        fences = [rig.start(first, fetch=["logits"])]
        held = list(b.tables.blocks["kv", 0])
        b.tables.release(0)
        second = b.tables.step({1: b.draw(50)})
        if b.tables.blocks["kv", 1] != held[:2]:
            raise AssertionError("the tables did not reuse the blocks")
        wanted.append(b.wanted(second))
        fences.append(rig.start(second, fetch=["logits"]))
        worst = _same("second sequence", fences[1].wait()["logits"], wanted[1])
        worst = max(worst, _same("first sequence", fences[0].wait()["logits"], wanted[0]))
        third = b.tables.step({1: b.draw(1)})  # sees rows of the second owner, whoever was waited for first
        return max(worst, _same("second sequence's next step", rig.run(third)["logits"], b.wanted(third)))


def _host_arrays(b: Bench) -> float:
    """Step arrays and inputs are overwritten as soon as `run` returns."""
    graph = _two_inputs(b.rng)
    require_support(b.device, graph)
    limits = limits_for(graph)
    inputs: dict[str, Any] = {name: b.rng.standard_normal((17, 32)).astype(np.float32) for name in ("a", "b")}
    wanted = (inputs["a"] + inputs["b"])[[3, 1]]
    step = Tables(graph, limits, b.rng).step({0: [0] * 17}, [3, 1])
    with Rig(b.device, graph, {}, limits) as rig:
        fence = rig.start(step, inputs)
        inputs["a"].fill(np.nan)
        inputs["b"].fill(np.nan)
        step.rows.fill(16)
        error = _same("inputs", fence.wait()["out"], wanted)
    with b.rig() as rig:
        step = b.tables.step({0: b.draw(20)})
        logits = b.wanted(step)
        fence = rig.start(step, fetch=["logits"])
        table = step.groups["kv"]
        for array in (step.ids, step.index, step.position, step.seq_start, step.rows, table.blocks, table.length):
            array.fill(0)
        return max(error, _same("the step's arrays", fence.wait()["logits"], logits))


def _two_inputs(rng: Rng) -> Graph:
    g = GraphBuilder("two inputs", {})
    rows, a, b = g.input("rows", "i32", "R"), g.input("a", "f32", "T", 32), g.input("b", "f32", "T", 32)
    g.segment("layer.0")
    g.output(g.take(g.add(a, b), rows), "out")
    return g.finish()


def _export_import(b: Bench) -> float:
    """A block exported right after a queued step holds its rows; imported elsewhere it serves as well."""
    with b.rig() as rig:
        step = b.tables.step({0: b.draw(32)})
        b.wanted(step)
        fence = rig.start(step)
        (block,) = b.tables.blocks["kv", 0]
        target = b.tables.free["kv"].pop()
        worst = 0.0
        for layer in range(len(b.model.graph.groups[0].layers)):
            rows = rig.state.export_block("kv", layer, block)
            worst = max(worst, _same("exported rows", rows, b.expected.export_block("kv", layer, block)))
            rig.state.import_block("kv", layer, target, rows)
        fence.wait()
        after = b.tables.step({0: b.draw(2)})
        wanted = b.wanted(after)
        after.groups["kv"].blocks[0] = target
        return max(worst, _same("from the imported block", rig.run(after)["logits"], wanted))


def _wait_twice(b: Bench) -> float:
    """A fence answers again, and cancelling what is done changes nothing."""
    with b.rig() as rig:
        step = b.tables.step({0: b.draw(3)})
        wanted = b.wanted(step)
        fence = rig.start(step, fetch=["logits"])
        worst = _same("first wait", fence.wait(60.0)["logits"], wanted)
        fence.cancel()
        return max(worst, _same("second wait", fence.wait()["logits"], wanted)) if fence.done else float("inf")


def _any_thread(b: Bench) -> float:
    """Fences and `info` answer on a thread that did not start the run."""
    with b.rig() as rig, ThreadPoolExecutor(1) as other:
        step = b.tables.step({0: b.draw(17)})
        wanted = b.wanted(step)
        fence = rig.start(step, fetch=["logits"])
        if other.submit(lambda: b.device.info.id).result() != b.device.info.id:
            raise Failed("info on another thread: got another id, want the same")
        return _same("waited for on another thread", other.submit(fence.wait).result()["logits"], wanted)
