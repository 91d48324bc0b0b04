"""Family "errors": what is wrong gives a typed error, and the device works on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from attrs import evolve

from halflap.device.interface import Device, DeviceInfo, Weight
from halflap.errors import DeviceLostError, HalflapError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Node, Segment
from halflap.graph.step import Limits, Step
from halflap.testing.cases import MODEL_TOLERANCE, Case, Failed, require_support, within
from halflap.testing.expected import Expected, difference
from halflap.testing.rig import Rig, Tables, ints, limits_for
from halflap.testing.tiny import VOCAB, tiny_model

NODES: Mapping[str, Callable[[Node], Node]] = {
    "unknown-op": lambda node: evolve(node, op="no_such_op"),
    "unknown-attribute": lambda node: evolve(node, attributes={**node.attributes, "colour": 1}),
    "unknown-version": lambda node: evolve(node, version=99),
}
STEPS: Mapping[str, Callable[[Step, Limits], Step]] = {
    "block-beyond-pool": lambda step, limits: _with_blocks(step, limits.blocks["kv"]),
    "block-negative": lambda step, limits: _with_blocks(step, -1),
    "row-beyond-step": lambda step, limits: evolve(step, rows=ints([step.n_tokens])),
    "token-beyond-vocabulary": lambda step, limits: evolve(step, ids=ints([VOCAB] * step.n_tokens)),
    "table-too-short": lambda step, limits: _with_length(step, 33),
    "copy-beyond-pool": lambda step, limits: _with_copy(step, limits.blocks["kv"]),
}


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for what in (*NODES, *STEPS, "unknown-weight-type", "weight-too-short", "weight-too-long", "unknown-kv-type",
                 "too-many-tokens", "too-many-rows", "too-many-sequences", "input-shape", "input-missing"):  # fmt: skip
        yield Case(f"errors/{what}", "errors", 17, {"check": what})


def check(case: Case, device: Device) -> float | None:
    what = case.facts["check"]
    if what in NODES:
        _refused(device, what)
    elif what.startswith(("weight-", "unknown-")):
        _before_running(device, what)
    elif what.startswith("input-"):
        _inputs(device, what)
    else:
        return _steps(device, what, case.seed)
    return None


def _refused(device: Device, what: str) -> None:
    """`supports` gives a reason and `compile` a typed error: neither ignores what it does not know."""
    g = GraphBuilder("scale", {})
    g.segment("layer.0")
    g.output(g.scale(g.input("x", "f32", "T", 32), factor=2.0), "out")
    graph = g.finish()
    require_support(device, graph)
    node = NODES[what](graph.segments[0].nodes[0])
    wrong = evolve(graph, segments=(Segment("layer.0", (node,)),))
    if device.supports(node, wrong) is None:
        raise Failed("supports: got None, want a reason")
    expect_error("compile", lambda: Rig(device, wrong, {}, limits_for(wrong)).close())


def _before_running(device: Device, what: str) -> None:
    model = tiny_model("llama")
    require_support(device, model.graph)
    weights, limits = dict(model.weights), limits_for(model.graph)
    name = "blk.0.attn_q.weight"
    if what == "unknown-kv-type":
        expect_error(what, lambda: device.state(model.graph.groups, evolve(limits, kv_types=("f16", "q77"))).close())
        return
    if what == "unknown-weight-type":
        values = {n: evolve(v, dtype="Q9_X") if n == name else v for n, v in model.graph.values.items()}
        graph = evolve(model.graph, values=values)
        node = next(n for n in graph.nodes() if name in n.inputs)
        if device.supports(node, graph) is None:
            raise Failed("supports: got None, want a reason")
        return
    data = weights[name].data
    wrong = data[:-1] if what == "weight-too-short" else np.concatenate([data, data[:32]])
    weights[name] = Weight(name, weights[name].dtype, weights[name].shape, wrong)
    expect_error(what, lambda: device.pack(weights, model.graph).close())


def _inputs(device: Device, what: str) -> None:
    g = GraphBuilder("scale", {})
    g.segment("layer.0")
    g.output(g.scale(g.input("x", "f32", "T", 32), factor=2.0), "out")
    graph = g.finish()
    require_support(device, graph)
    limits = limits_for(graph)
    step = Tables(graph, limits, np.random.default_rng(0)).step({0: [0, 0, 0]})
    inputs: dict[str, Any] = {"x": np.zeros((2, 32), np.float32)} if what == "input-shape" else {}
    with Rig(device, graph, {}, limits) as rig:
        expect_error(what, lambda: rig.run(step, inputs))


def _steps(device: Device, what: str, seed: int) -> float:
    """A step that breaks a bound fails, at `run` or at its fence; the next good one is right."""
    model = tiny_model("llama")
    require_support(device, model.graph)
    limits = evolve(limits_for(model.graph, tokens=16), sequences=2, rows=8)
    rng = np.random.default_rng(seed)
    with Rig(device, model.graph, model.weights, limits) as rig:
        expect_error(what, lambda: rig.run(_broken(what, model.graph, limits)))
        step = Tables(model.graph, limits, rng).step({0: rng.integers(0, VOCAB, 5).tolist()})
        wanted = Expected(model.graph, model.weights, limits, device.info.rounding).run(step, {})["logits"]
        found = np.asarray(rig.run(step)["logits"])
    return within("the next step", difference(found, wanted), MODEL_TOLERANCE["none"])


def _broken(what: str, graph: Graph, limits: Limits) -> Step:
    tables = Tables(graph, limits, np.random.default_rng(1))
    if what == "too-many-tokens":
        return tables.step({0: [1] * (limits.tokens + 1)}, [0])
    if what == "too-many-rows":
        return tables.step({0: [1] * (limits.rows + 1)})
    if what == "too-many-sequences":
        return tables.step({s: [1] for s in range(limits.sequences + 1)})
    return STEPS[what](tables.step({0: [1, 2, 3, 4]}), limits)


def expect_error(what: str, call: Callable[[], object]) -> None:
    """The call raises an error of halflap.errors that leaves the device alive.

    Raises:
        Failed: it returned, or raised something else.
    """
    try:
        call()
    except DeviceLostError as error:
        raise Failed(f"{what}: got DeviceLostError ({error}), want an error that leaves the device alive") from None
    except HalflapError:
        return
    except Exception as error:
        raise Failed(f"{what}: got untyped {type(error).__name__} ({error}), want a HalflapError") from None
    raise Failed(f"{what}: got no error, want a HalflapError")


def _with_blocks(step: Step, block: int) -> Step:
    table = step.groups["kv"]
    return evolve(step, groups={"kv": evolve(table, blocks=ints([block] * len(table.blocks)))})


def _with_length(step: Step, length: int) -> Step:
    return evolve(step, groups={"kv": evolve(step.groups["kv"], length=ints([length]))})


def _with_copy(step: Step, target: int) -> Step:
    from halflap.graph.step import Copy

    return evolve(step, copies=(Copy("kv", 0, target),))
