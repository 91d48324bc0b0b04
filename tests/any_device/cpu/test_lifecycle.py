"""Exact memory, threads that end, the caller's floating-point modes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halflap.graph.step import Limits
from tests.any_device.cpu.kit import Machine, simple_step
from tests.any_device.cpu.test_row_invariance import IDS, fed, small_model


def thread_count() -> int:
    """The pool's own threads: others come and go in a test process."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return names.count("halflap-cpu")


@pytest.mark.parametrize("kind", ["F32", "Q4_K", "Q8_0"])
@pytest.mark.parametrize("tokens", [1, 7, 64])
@pytest.mark.parametrize("kv_type", ["f32", "f16"])
def test_the_estimate_is_what_is_allocated(cpu_isa: Any, kind: str, tokens: int, kv_type: str) -> None:
    graph, weights = small_model(kind)
    limits = Limits(tokens, 3, 2, 256, {"kv": 9}, (kv_type, kv_type))
    promised = cpu_isa.estimate(graph, limits)
    held = [cpu_isa.probe().allocated]

    def grown() -> int:
        held.append(cpu_isa.probe().allocated)
        return held[-1] - held[-2]

    packed = cpu_isa.pack({w.name: w for w in weights}, graph)
    assert grown() == promised.weights.get("packed", 0)
    assert promised.weights["in place"] == sum(w.data.nbytes for w in weights)
    state = cpu_isa.state(graph.groups, limits)
    assert grown() == promised.state
    executable = cpu_isa.compile(graph, packed, state, limits)
    assert grown() == promised.scratch
    executable.close()
    state.close()
    packed.close()
    assert cpu_isa.probe().allocated == 0


def test_no_thread_outlives_the_last_device(open_cpu: Any) -> None:
    before = thread_count()
    for _ in range(20):
        first, second = open_cpu(threads=3), open_cpu(threads=2)
        assert thread_count() == before + 2
        assert first.probe().threads == 2
        first.close()
        assert thread_count() > before
        second.close()
        assert thread_count() == before


def test_a_device_may_be_closed_before_what_it_made(open_cpu: Any) -> None:
    graph, weights = small_model("F32")
    device = open_cpu(threads=2)
    machine = Machine(device, graph, weights)
    device.api.device_close(device._handle)
    assert np.isfinite(fed(machine, [5])).all()
    machine.close()
    device._handle = None


def test_two_devices_work_at_once(open_cpu: Any) -> None:
    graph, weights = small_model("Q4_K")
    want: list[Any] = []
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        device = open_cpu(threads=2)
        for _ in range(5):
            with Machine(device, graph, weights) as machine:
                found[number] = fed(machine, [100, 1, 1])
        device.close()

    work(-1)
    want = found.pop(-1)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[n], want) for n in range(3))


def test_the_callers_rounding_mode_neither_matters_nor_changes(cpu: Any) -> None:
    import ctypes

    fenv = ctypes.CDLL("libm.so.6")
    graph, weights = small_model("F32")
    upward, nearest = 0x800, 0
    with Machine(cpu, graph, weights) as machine:
        want = fed(machine, [9])
        step = machine.device.begin(simple_step(9, ids=IDS[:9], groups=["kv"]))
        assert fenv.fesetround(upward) == 0
        try:
            got = machine.executable.run(step, {}, ["y"]).wait()["y"]
            after = fenv.fegetround()
        finally:
            fenv.fesetround(nearest)
    assert after == upward
    assert np.array_equal(got, want)


def test_a_step_of_no_tokens_and_no_rows_is_legal(cpu: Any) -> None:
    graph, weights = small_model("Q8_0")
    with Machine(cpu, graph, weights) as machine:
        assert machine.run(simple_step(0, groups=["kv"]))["y"].shape == (0, 256)
