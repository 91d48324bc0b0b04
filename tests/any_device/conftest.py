"""Every registered device that opens here takes part in these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import halflap
from halflap import plugins
from halflap.device.opening import open_devices
from halflap.errors import HalflapError


def usable_devices() -> list[str]:
    found = []
    for name in plugins.names("backends"):
        try:
            for device in open_devices([name]):
                device.close()
        except HalflapError:
            continue
        found.append(name)
    return found


@pytest.fixture(params=usable_devices())
def device_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def row_invariant_devices() -> list[str]:
    found = []
    for name in usable_devices():
        (device,) = open_devices([name])
        if "row_invariant" in device.info.features:
            found.append(name)
        device.close()
    return found


@pytest.fixture(params=row_invariant_devices())
def row_invariant_device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def model(shared: Path, device_name: str) -> Iterator[halflap.Model]:
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with halflap.load(path, devices=[device_name], kv_type="f32", ctx=256) as loaded:
        yield loaded


def drained(model: halflap.Model) -> bool:
    """Wait until no sequence holds anything: an answer is out before its last step has ended."""
    for _ in range(1000):
        m = model.metrics
        if not (m.running or m.waiting or any(m.blocks_used.values()) or any(m.slots_used.values())):
            return True
        model.logits([1])
    return False
