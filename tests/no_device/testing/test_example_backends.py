"""The backends that docs/write-a-backend.md quotes: small, and as good as it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import halflap
from halflap import hookimpl, plugins
from halflap.device._abi import ffi
from halflap.device.native import check
from halflap.device.opening import open_devices
from halflap.errors import DeviceError, UnsupportedOpError
from halflap.testing import FakeDevice, cases, run, tiny_model
from halflap.testing.rig import limits_for

EXAMPLE = Path(__file__).resolve().parents[3] / "plugins" / "example-backend"
LINES = 150


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The numpy one; registered by hand where it is not installed."""
    by_hand = "example" not in plugins.names("backends")
    if by_hand:
        sys.path.insert(0, str(EXAMPLE))
        import halflap_example_backend  # type: ignore[import-not-found]

        plugins.register(halflap_example_backend)
    (device,) = open_devices(["example"])
    yield device
    device.close()
    if by_hand:
        plugins.unregister("halflap_example_backend")
        sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The C++ one, built here."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    library = tmp_path_factory.mktemp("native") / "libexample.so"
    source = EXAMPLE / "native" / "example.cpp"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([compiler, *flags, "-I", halflap.get_include(), str(source), "-o", str(library)], check=True)

    class Plugin:
        @hookimpl
        def register_backends(self, register: Any) -> None:
            register("example-native", lambda: library)

    plugins.register(Plugin(), "native-plugin")
    (device,) = open_devices(["example-native"])
    yield device
    device.close()
    plugins.unregister("native-plugin")


def test_the_numpy_backend_is_small_and_imports_no_definitions() -> None:
    source = (EXAMPLE / "halflap_example_backend" / "device.py").read_text()
    assert len(source.splitlines()) < LINES
    assert "device.reference" not in source


@pytest.mark.parametrize(
    "family", ["op", "weight", "model", "invariance", "memory", "order", "slots", "errors", "lifetime"]
)
def test_the_numpy_backend_passes(example: Any, family: str) -> None:
    found = [run(case, example) for case in cases(example.info, f"{family}/*")]
    assert found
    assert [result.to_dict() for result in found if not result.ok] == []


def test_the_numpy_backend_offers_every_op_and_type(example: Any) -> None:
    found = [run(case, example) for family in ("op", "model", "errors") for case in cases(example.info, f"{family}/*")]
    # It stores K and V as floats only.
    assert {r.case.name.split("/")[2].split("-")[1] for r in found if not r.offered} == {"bf16", "q8_0", "q4_0"}
    assert set(example.info.rounding) == set(plugins.names("weight_types"))


def test_weights_kept_in_place_are_copied_by_a_distant_device(example: Any) -> None:
    graph = tiny_model("llama", "Q8_0").graph
    assert set(example.estimate(graph, limits_for(graph)).weights) == {"in place"}
    device = FakeDevice(example, delay=0)
    found = [run(case, device) for family in ("memory", "order") for case in cases(device.info, f"{family}/*")]
    assert [result.to_dict() for result in found if not result.ok or not result.offered] == []
    assert set(device.estimate(graph, limits_for(graph)).weights) == {"copied"}
    device.close()


def test_the_native_backend_passes_what_it_offers(native: Any) -> None:
    found = [run(case, native) for case in cases(native.info)]
    assert [result.to_dict() for result in found if not result.ok] == []
    offered = Counter(result.case.family for result in found if result.offered)
    assert offered["op"] == 1
    assert offered["errors"] >= 5
    assert offered["lifetime"] >= 1


def test_the_native_backend_refuses_with_typed_errors(native: Any) -> None:
    model = tiny_model("llama")
    with pytest.raises(UnsupportedOpError):
        native.pack(model.weights, model.graph)
    with pytest.raises(UnsupportedOpError):
        native.state(model.graph.groups, limits_for(model.graph))
    assert native.probe().allocated == 0
    state = native.state((), limits_for(model.graph))
    with pytest.raises(DeviceError):
        check("example-native", native.api.state_export, state.handle, 0, 0, 0, ffi.NULL)
    state.close()
