"""The fake device: its own memory, late answers, limits, faults, and a model that spans it and another device."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from halflap import plugins
from halflap.device.opening import open_devices
from halflap.device.reference import ReferenceDevice
from halflap.engine.runner import Runner
from halflap.errors import DeviceError, DeviceLostError, DeviceMemoryError, ModelClosedError, PlanError
from halflap.graph.ir import LayerWidth, StateGroup
from halflap.graph.step import Limits
from halflap.placement import Plan, Wishes, make_plan
from halflap.testing import FakeBackend, FakeDevice, Fault, TinyModel, cases, run, tiny_model
from halflap.testing.rig import Rig, Tables, limits_for

SHAPES = ("llama", "gemma3", "qwen3moe")


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    made = FakeBackend(seed=1, delay=0.0005)
    plugins.register(made, "fake")
    yield made
    plugins.unregister("fake")
    for device in made.opened:
        device.close()


def rig_on(device: FakeDevice, model: TinyModel | None = None) -> tuple[Rig, Tables]:
    model = model or tiny_model("llama")
    limits = limits_for(model.graph)
    return Rig(device, model.graph, model.weights, limits), Tables(model.graph, limits, np.random.default_rng(0))


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    made = FakeDevice(seed=2, delay=0.0005)
    yield made
    made.release()
    made.close()


def test_a_run_is_done_only_when_the_device_says_so(device: FakeDevice) -> None:
    rig, tables = rig_on(device)
    device.hold()
    fences = [rig.start(tables.step({0: [1, 2, 3]})), rig.start(tables.step({0: [4]}))]
    assert not any(fence.done for fence in fences)
    with pytest.raises(TimeoutError):
        fences[0].wait(timeout=0)
    device.release()
    assert fences[1].wait()["logits"].shape == (1, 97)
    assert fences[0].done  # in order


def test_a_cancelled_run_raises_and_the_next_one_works(device: FakeDevice) -> None:
    rig, tables = rig_on(device)
    device.hold()
    fence = rig.start(tables.step({0: [1, 2, 3]}))
    fence.cancel()
    assert not fence.done
    device.release()
    with pytest.raises(DeviceError) as caught:
        fence.wait()
    assert caught.value.status == "cancelled"
    assert np.isfinite(rig.run(tables.step({1: [1, 2]}))["logits"]).all()


def test_waiting_from_many_threads_gives_each_the_values(device: FakeDevice) -> None:
    rig, tables = rig_on(device)
    device.hold()
    fence, found = rig.start(tables.step({0: [1, 2, 3]})), []
    threads = [threading.Thread(target=lambda: found.append(fence.wait()["logits"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    device.release()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(found[0], other) for other in found)


def test_nothing_of_the_hosts_memory_is_looked_at_after_run(device: FakeDevice) -> None:
    model = tiny_model("llama")
    weights = {n: w.__class__(w.name, w.dtype, w.shape, w.data.copy()) for n, w in model.weights.items()}
    limits = limits_for(model.graph)
    tables, again = (Tables(model.graph, limits, np.random.default_rng(0)) for _ in range(2))
    with Rig(ReferenceDevice(), model.graph, model.weights, limits) as rig:
        wanted = rig.run(tables.step({0: [1, 2, 3]}))["logits"]
    with Rig(device, model.graph, weights, limits) as rig:
        for weight in weights.values():
            weight.data.fill(255)
        device.hold()
        step = again.step({0: [1, 2, 3]})
        fence = rig.start(step)
        step.ids.fill(0)
        step.groups["kv"].blocks.fill(0)
        device.release()
        np.testing.assert_array_equal(fence.wait()["logits"], wanted)
        fence.wait()["logits"].fill(0)  # the host's copy, not the device's


def test_fresh_state_and_reused_blocks_hold_no_usable_numbers(device: FakeDevice) -> None:
    rig, tables = rig_on(device)
    assert np.isnan(rig.state.export_block("kv", 0, 3)).all()
    rig.run(tables.step({0: list(range(32))}))
    (block,) = tables.blocks["kv", 0]
    assert np.isfinite(rig.state.export_block("kv", 0, block)).all()
    tables.release(0)
    rig.run(tables.step({1: [5]}))
    assert tables.blocks["kv", 1] == [block]
    rows = rig.state.export_block("kv", 1, block)
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1:]).all()  # what the first owner left is gone


def test_fresh_slots_hold_no_usable_numbers(device: FakeDevice) -> None:
    for case in cases(device.info, "slots/*"):
        result = run(case, device)
        assert result.ok, (case.name, result.detail)
    group = StateGroup("recurrent", (LayerWidth(5, 0),), kind="slots")
    state = device.state([group], Limits(1, 1, 1, 1, {}, slots={"recurrent": 2}))
    assert np.isnan(state.export_slot("recurrent", 0, 1)).all()
    state.import_slot("recurrent", 0, 1, np.arange(5, dtype=np.float32))
    assert state.export_slot("recurrent", 0, 1).tolist() == [0, 1, 2, 3, 4]
    state.close()


def test_memory_is_counted_limited_and_given_back() -> None:
    model = tiny_model("llama")
    limits = limits_for(model.graph)
    total = ReferenceDevice().estimate(model.graph, limits).total
    with_room, too_small = FakeDevice(memory=total, delay=0), FakeDevice(memory=total - 1, delay=0)
    with Rig(with_room, model.graph, model.weights, limits):
        assert with_room.allocated == total
        assert with_room.info.memory_free == 0
    assert with_room.allocated == 0
    with pytest.raises(DeviceMemoryError) as caught:
        Rig(too_small, model.graph, model.weights, limits)
    assert caught.value.wanted is not None
    assert caught.value.free == caught.value.wanted - 1
    assert too_small.allocated == 0


@pytest.mark.parametrize("call", ["supports", "estimate", "pack", "state", "compile", "begin", "run"])
@pytest.mark.parametrize("status", ["internal", "out_of_memory", "device_lost"])
def test_each_call_can_fail(call: str, status: str) -> None:
    device = FakeDevice(faults=[Fault(call, 1, status, late=False)], delay=0)
    model = tiny_model("llama")

    def use() -> None:
        device.supports(next(model.graph.nodes()), model.graph)
        device.estimate(model.graph, limits_for(model.graph))
        rig, tables = rig_on(device, model)
        rig.run(tables.step({0: [1]}))

    kind = {"internal": DeviceError, "out_of_memory": DeviceMemoryError, "device_lost": DeviceLostError}[status]
    with pytest.raises(kind) as caught:
        use()
    assert caught.value.status == status
    if status == "device_lost":  # sticky
        with pytest.raises(DeviceLostError):
            use()
        with pytest.raises(DeviceLostError):
            _ = device.info
    else:
        use()
    device.close()


def test_a_late_fault_shows_at_its_fence_and_takes_the_queue_with_it_if_the_device_is_lost() -> None:
    device = FakeDevice(faults=[Fault("run", 2, "device_lost")], delay=0)
    rig, tables = rig_on(device)
    device.hold()
    fences = [rig.start(tables.step({0: [1]})) for _ in range(3)]
    device.release()
    assert np.isfinite(fences[0].wait()["logits"]).all()
    for fence in fences[1:]:
        with pytest.raises(DeviceLostError):
            fence.wait()
    with pytest.raises(DeviceLostError):
        rig.start(tables.step({0: [1]}))
    rig.close()  # closing what is lost still works
    device.close()


def test_calls_are_counted_and_faults_are_checked() -> None:
    device = FakeDevice(delay=0)
    rig, tables = rig_on(device)
    for _ in range(3):
        rig.run(tables.step({0: [1]}))
    assert device.calls["run"] == 3
    assert device.calls["pack"] == device.calls["compile"] == 1
    device.close()
    with pytest.raises(ValueError, match="call of a fault: got 'jump'"):
        Fault("jump")
    with pytest.raises(ValueError, match="status of a fault: got 'sad'"):
        Fault("run", 1, "sad")


def test_closing_finishes_what_is_queued_and_ends_the_thread() -> None:
    before = threading.active_count()
    device = FakeDevice(seed=3)
    rig, tables = rig_on(device)
    device.hold()
    fence = rig.start(tables.step({0: [1, 2]}))
    device.close()
    device.close()
    assert fence.done
    assert threading.active_count() == before
    with pytest.raises(ModelClosedError):
        device.begin(tables.step({0: [3]}))


def test_a_forked_child_is_refused(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(ModelClosedError, match=str(pid)):
        _ = device.info
    monkeypatch.undo()


def run_plan(plan: Plan, model: TinyModel, devices: list[Any]) -> list[Any]:
    """Logits of three steps of two sequences."""
    tables = Tables(model.graph, plan.limits, np.random.default_rng(3))
    runner = Runner(plan, model.graph, model.weights, devices)
    try:
        chunks = ({0: list(range(40))}, {0: [7], 1: [1, 2, 3]}, {1: [5], 0: [6]})
        steps = [tables.step(chunk, rows) for chunk, rows in zip(chunks, ([], [0, 3], [0, 1]), strict=True)]
        return [runner.run(step, ["logits"])["logits"] for step in steps]
    finally:
        runner.close()


@pytest.mark.parametrize("architecture", SHAPES)
def test_a_model_over_the_reference_and_a_fake_device_gives_equal_logits(
    architecture: str, backend: FakeBackend
) -> None:
    model = tiny_model(architecture)
    found = {}
    for names in (("reference",), ("reference", "fake"), ("fake", "fake"), ("fake", "reference")):
        devices = open_devices(names)
        split = (1.0,) * len(names)
        plan = make_plan("tiny", model.graph, 512, Wishes(devices=names, split=split, ctx=128), devices)
        assert len(plan.stages(model.graph)) == len(names)
        found[names] = run_plan(plan, model, devices)
    whole = found.pop(("reference",))
    for names, parts in found.items():
        for wanted, logits in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(logits, wanted, err_msg=str(names))
    assert all(device.allocated == 0 for device in backend.opened)


def test_a_plan_that_does_not_fit_a_small_device_names_it() -> None:
    small = FakeDevice(memory=50_000, delay=0)
    model = tiny_model("llama")
    with pytest.raises(PlanError) as caught:
        make_plan("tiny", model.graph, 512, Wishes(devices=("fake",), ctx=128), [small])
    assert caught.value.device == "fake"
    assert caught.value.missing


def test_a_backend_of_several_devices_names_them() -> None:
    several = FakeBackend("pair", 2, delay=0)
    plugins.register(several, "pair")
    try:
        (second,) = open_devices(["pair:1"])
        assert second.info.id == "pair:1"
        assert second.info.backend == "pair"
        second.close()
    finally:
        plugins.unregister("pair")
