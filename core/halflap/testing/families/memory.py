"""Family "memory": what `estimate` says is what is taken, and what cannot fit is a typed error."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from halflap.device.interface import Device, DeviceInfo
from halflap.errors import DeviceMemoryError, UnsupportedOpError
from halflap.graph.ir import LayerWidth, StateGroup
from halflap.graph.step import Limits
from halflap.testing.cases import Case, Failed, NotOffered, require_support
from halflap.testing.rig import Rig, Tables, allocated, limits_for
from halflap.testing.tiny import tiny_model

SLACK = 64 * 1024
"""Bytes by which a count may differ from the estimate beyond 2 %: tables, alignment, the graph itself."""


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for what in ("estimate-agrees", "estimate-allocates-nothing", "estimate-grows", "too-much-state", "probed"):
        yield Case(f"memory/{what}", "memory", 7, {"check": what})


def check(case: Case, device: Device) -> float | None:
    checks = {
        "estimate-agrees": _agrees, "estimate-allocates-nothing": _allocates_nothing, "estimate-grows": _grows,
        "too-much-state": _too_much, "probed": _probed,
    }  # fmt: skip
    return checks[case.facts["check"]](device)


def _agrees(device: Device) -> float:
    import numpy as np

    before = _count(device)
    model = tiny_model("llama")
    require_support(device, model.graph)
    limits = limits_for(model.graph, blocks=300)
    report = device.estimate(model.graph, limits)
    expected = report.total - report.weights.get("in place", 0)
    with Rig(device, model.graph, model.weights, limits) as rig:
        rig.run(Tables(model.graph, limits, np.random.default_rng(0)).step({0: [1] * limits.tokens}))
        taken = _count(device) - before
    if abs(taken - expected) > 0.02 * expected + SLACK:
        raise Failed(f"bytes taken: got {taken:,}, want the estimated {expected:,}")
    return abs(taken - expected) / max(expected, 1)


def _allocates_nothing(device: Device) -> None:
    before = _count(device)
    model = tiny_model("llama")
    require_support(device, model.graph)
    device.estimate(model.graph, limits_for(model.graph, blocks=300))
    if _count(device) != before:
        raise Failed(f"bytes held after estimate: got {_count(device):,}, want {before:,}")


def _grows(device: Device) -> None:
    """Twice the blocks are twice the state; weights and scratch do not depend on them."""
    graph = tiny_model("llama").graph
    require_support(device, graph)
    small = device.estimate(graph, limits_for(graph, blocks=64))
    large = device.estimate(graph, limits_for(graph, blocks=128))
    least = sum(64 * 32 * 2 * (w.k + w.v) for group in graph.groups for w in group.layers)
    if not least <= small.state <= 2 * least + SLACK:
        raise Failed(f"state of 64 blocks: got {small.state:,} bytes, want {least:,} and little more")
    if not 1.9 * small.state <= large.state <= 2.1 * small.state:
        raise Failed(f"state of 128 blocks: got {large.state:,} bytes, want twice {small.state:,}")
    alone = device.estimate(evolve(graph, values={}, segments=(), outputs=()), limits_for(graph, blocks=64))
    if alone.state != small.state or any(alone.weights.values()):
        raise Failed(f"state without ops: got {alone.state:,} bytes and {alone.weights}, want {small.state:,} and none")
    if dict(small.weights) != dict(large.weights) or min(small.weights.values(), default=0) < 0 or small.scratch < 0:
        raise Failed(f"weights: got {dict(small.weights)} and {dict(large.weights)}, want the same")


def _too_much(device: Device) -> None:
    """A pool larger than any machine: refused with the sizes, and the device works on."""
    group = StateGroup("kv", (LayerWidth(1 << 16, 1 << 16),) * 4)
    limits = Limits(8, 2, 8, 512, {"kv": (1 << 31) - 1})
    try:
        device.state([group], limits).close()
    except DeviceMemoryError as error:
        if not error.wanted or error.wanted < 1 << 50:
            raise Failed(f"DeviceMemoryError.wanted: got {error.wanted}, want the bytes of the pool") from None
    except UnsupportedOpError as error:
        raise NotOffered(f"state: {error}") from None
    else:
        raise Failed("a pool of 2^56 bytes: got it, want DeviceMemoryError")
    small = evolve(limits, blocks={"kv": 1})
    device.state([StateGroup("kv", (LayerWidth(16, 16),))], small).close()


def _probed(device: Device) -> None:
    info = device.info
    if not 0 < info.memory_free <= info.memory_total or not 0 < info.largest_allocation <= info.memory_total:
        raise Failed(f"memory: got {info.memory_free:,} free and {info.largest_allocation:,} in one piece of "
                     f"{info.memory_total:,}, want 0 < each <= total")  # fmt: skip


def _count(device: Device) -> int:
    count = allocated(device)
    if count is None:
        raise NotOffered("a count of allocated bytes")
    return count
