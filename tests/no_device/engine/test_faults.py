"""A device that fails, late or for good: its requests get a typed error, the host and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import halflap
from halflap.errors import DeviceError, DeviceLostError, DeviceMemoryError, PlanError
from halflap.testing import FakeBackend, Fault


@pytest.fixture
def fake() -> Iterator[Any]:
    made: list[str] = []

    def make(**options: Any) -> FakeBackend:
        backend = FakeBackend(**options)
        halflap.plugins.register(backend, name="fake")
        made.append("fake")
        return backend

    yield make
    for name in made:
        halflap.plugins.unregister(name)


@pytest.fixture
def file(shared: Path) -> Path:
    return shared / "oracle" / "families" / "qwen3-base.gguf"


def test_a_run_that_fails_fails_its_requests_only(file: Path, fake: Any) -> None:
    fake(faults=[Fault("run", at=3, status="internal")])
    with halflap.load(file, devices=["fake"], ctx=128) as model:
        with pytest.raises(DeviceError, match="injected") as raised:
            model.generate([5, 6], max_tokens=20, ignore_eos=True)
        assert raised.value.partial.usage.completion_tokens == 2
        assert model.generate([5, 6], max_tokens=4, ignore_eos=True).usage.completion_tokens == 4
        assert not any(model.metrics.blocks_used.values())


def test_requests_that_fail_in_one_step_keep_their_own_words(file: Path, fake: Any) -> None:
    backend = fake(faults=[Fault("run", at=12, status="internal")], delay=0.0)
    with halflap.load(file, devices=["fake"], ctx=128) as model:
        backend.opened[-1].hold()  # both requests meet in the steps that follow
        streams = [model.stream([5, i], max_tokens=60, seed=i, ignore_eos=True) for i in (6, 7)]
        backend.opened[-1].release()
        errors = []
        for stream in streams:
            with pytest.raises(DeviceError) as raised:
                stream.result()
            errors.append(raised.value)
    assert errors[0] is not errors[1]
    assert all(error.partial.tokens for error in errors)
    assert [t.id for t in errors[0].partial.tokens] != [t.id for t in errors[1].partial.tokens]


def test_a_lost_device_stays_lost_and_the_model_still_closes(file: Path, fake: Any) -> None:
    backend = fake(faults=[Fault("run", at=2, status="device_lost")])
    model = halflap.load(file, devices=["reference", "fake"], split=[1, 1], ctx=128)
    for _ in range(3):
        with pytest.raises(DeviceLostError):
            model.generate([5, 6], max_tokens=9, ignore_eos=True)
    model.close()
    assert all(device.allocated == 0 for device in backend.opened)


@pytest.mark.parametrize("call", ["pack", "state", "compile"])
def test_memory_that_runs_out_while_loading_leaves_nothing_behind(file: Path, fake: Any, call: str) -> None:
    backend = fake(faults=[Fault(call, at=1, status="out_of_memory")])
    with pytest.raises(DeviceMemoryError):
        halflap.load(file, devices=["fake"], ctx=128)
    assert all(device.allocated == 0 for device in backend.opened)


def test_too_little_memory_is_found_before_anything_is_allocated(file: Path, fake: Any) -> None:
    backend = fake(memory=100_000)
    with pytest.raises(PlanError, match="lacks") as raised:
        halflap.load(file, devices=["fake"], ctx=128)
    assert raised.value.device == "fake"
    assert all(not device.calls["pack"] for device in backend.opened)


def test_answers_do_not_depend_on_a_device_being_late(file: Path, fake: Any) -> None:
    with halflap.load(file, devices=["reference"], ctx=128) as model:
        wanted = model.generate([5, 6, 7], max_tokens=12, temperature=0, ignore_eos=True).text
    fake(seed=4)
    for devices in (["fake"], ["fake", "reference"], ["reference", "fake"], ["fake", "fake"]):
        with halflap.load(file, devices=devices, split=[1] * len(devices), ctx=128) as model:
            assert model.generate([5, 6, 7], max_tokens=12, temperature=0, ignore_eos=True).text == wanted


def test_no_slot_is_lost_with_the_requests_of_steps_that_fail(shared: Path, fake: Any) -> None:
    """More requests than slots, some in steps that fail: those after them start from nothing and answer as ever."""
    hybrid = shared / "oracle" / "families" / "qwen35-dense.gguf"
    options: dict[str, Any] = {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
    with halflap.load(hybrid, devices=["reference"], ctx=128) as model:
        wanted = model.generate([5, 6, 7], **options).text
    fake(faults=[Fault("run", at=at, status="internal") for at in (3, 12)], delay=0.0)
    with halflap.load(hybrid, devices=["fake"], ctx=128) as model:
        assert model.metrics.slots_total == {"recurrent": 48}
        streams = [model.stream([5, 6, 7], **options) for _ in range(40)]
        failed = 0
        for stream in streams:
            try:
                assert stream.result().text == wanted
            except DeviceError:
                failed += 1
        assert 16 <= failed < 40
        assert model.generate([5, 6, 7], **options).text == wanted
        assert not any(model.metrics.slots_used.values())
