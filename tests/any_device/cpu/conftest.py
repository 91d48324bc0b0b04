"""Devices of the `cpu` backend; tests skip where it is not built."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator

import pytest

from halflap.device.native import NativeBackend, NativeDevice

ARM = ("portable", "neon", "neondot", "i8mm")
X86 = ("portable", "avx2", "avx2vnni", "avx512", "avx512vnni", "amx")
ISAS = ARM if platform.machine() == "aarch64" else X86


@pytest.fixture(scope="session")
def open_cpu() -> Callable[..., NativeDevice]:
    module = pytest.importorskip("halflap_cpu", reason="halflap-cpu is not installed")

    def open_one(**options: object) -> NativeDevice:
        backend = NativeBackend("cpu", module.library(), {key: str(value) for key, value in options.items()})
        (device,) = backend.devices()
        return device

    return open_one


@pytest.fixture(scope="module")
def cpu(open_cpu: Callable[..., NativeDevice]) -> Iterator[NativeDevice]:
    device = open_cpu(threads=2)
    yield device
    assert device.probe().allocated == 0
    device.close()


@pytest.fixture(params=ISAS)
def cpu_isa(
    request: pytest.FixtureRequest, open_cpu: Callable[..., NativeDevice], monkeypatch: pytest.MonkeyPatch
) -> Iterator[NativeDevice]:
    """A device of each instruction set that this processor has."""
    monkeypatch.setenv("HALFLAP_CPU_ISA", request.param)
    from halflap.errors import UnsupportedOpError

    try:
        device = open_cpu(threads=2)
    except UnsupportedOpError as error:
        pytest.skip(str(error))
    yield device
    assert device.probe().allocated == 0
    device.close()
