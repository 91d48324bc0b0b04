"""A loaded model on fake devices: the same tokens, and typed errors when they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halflap
from halflap import plugins
from halflap.errors import DeviceError, DeviceLostError, DeviceMemoryError, PlanError
from halflap.testing import FakeBackend, Fault, check_greedy

Register = Callable[..., FakeBackend]


@pytest.fixture
def fake() -> Iterator[Register]:
    """Registers backend "fake" with the given options."""

    def register(**options: Any) -> FakeBackend:
        backend = FakeBackend(delay=0.0005, **options)
        plugins.register(backend, "fake")
        return backend

    yield register
    plugins.unregister("fake")


@pytest.fixture
def path(shared: Path) -> Path:
    return shared / "oracle" / "families" / "qwen3-base.gguf"


@pytest.fixture
def answers(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "oracle" / "families" / "qwen3-base.npz"))


@pytest.mark.parametrize("devices", [("fake",), ("reference", "fake"), ("fake", "fake")], ids="+".join)
def test_a_model_on_fake_devices_says_the_same(
    devices: tuple[str, ...], fake: Register, path: Path, answers: dict[str, np.ndarray]
) -> None:
    backend = fake()
    prompt = answers["tokens"].tolist()
    with halflap.load(path, devices=devices, split=(1,) * len(devices), kv_type="f32", ctx=256) as model:
        done = model.generate(prompt, max_tokens=8, temperature=0)
        output = [token.id for token in done.tokens]
        assert check_greedy(model, prompt, output)
    assert output == answers["greedy"].tolist()
    assert all(device.allocated == 0 for device in backend.opened)
    assert sum(device.calls["run"] for device in backend.opened) > 8


@pytest.mark.parametrize(
    ("status", "kind"),
    [("internal", DeviceError), ("device_lost", DeviceLostError), ("out_of_memory", DeviceMemoryError)],
)
def test_a_device_that_fails_in_the_middle_fails_the_request_with_its_error(
    status: str, kind: type[DeviceError], fake: Register, path: Path
) -> None:
    fake(faults=[Fault("run", 4, status)])
    with halflap.load(path, devices=["fake"], ctx=256) as model, pytest.raises(kind) as caught:
        model.generate([1, 2, 3], max_tokens=20, temperature=0, ignore_eos=True)
    assert caught.value.status == status


@pytest.mark.parametrize("call", ["estimate", "state", "pack", "compile"])
def test_a_device_that_fails_while_loading_fails_the_load_and_leaves_nothing(
    call: str, fake: Register, path: Path
) -> None:
    backend = fake(faults=[Fault(call, 1, "internal")])
    with pytest.raises(DeviceError):
        halflap.load(path, devices=["fake"], ctx=256)
    assert all(device.allocated == 0 for device in backend.opened)


def test_a_device_that_is_too_small_is_named_before_anything_is_taken(fake: Register, path: Path) -> None:
    backend = fake(memory=10_000)
    with pytest.raises(PlanError) as caught:
        halflap.load(path, devices=["fake"], ctx=256)
    assert caught.value.device == "fake"
    assert not any(device.calls["pack"] for device in backend.opened)
