"""The reference device passes its own suite, and so does the fake one over it."""

from __future__ import annotations

import pytest

from halflap.device.reference import ReferenceDevice
from halflap.testing import FakeDevice, cases, run
from halflap.testing.conformance import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_device_passes(family: str) -> None:
    device = ReferenceDevice()
    found = [run(case, device) for case in cases(device.info, f"{family}/*")]
    assert found
    assert [r.to_dict() for r in found if not r.ok] == []


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "weight"])
def test_a_distant_device_passes_too(family: str) -> None:
    device = FakeDevice(seed=5, delay=0.0005)
    try:
        found = [run(case, device) for case in cases(device.info, f"{family}/*")]
        assert [r.to_dict() for r in found if not r.ok] == []
        assert device.allocated == 0
    finally:
        device.close()


def test_the_fake_device_lets_memory_be_counted() -> None:
    device = FakeDevice(delay=0)
    try:
        assert all(run(case, device).offered for case in cases(device.info, "memory/*"))
    finally:
        device.close()


def test_case_names_are_unique_and_say_their_family() -> None:
    names = [case.name for case in cases(ReferenceDevice().info)]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == set(FAMILIES)


def test_every_op_of_the_table_has_cases() -> None:
    from halflap.graph import compression, encoder, latent, ops, recurrent, streams

    found = {case.facts["op"] for case in cases(ReferenceDevice().info, "op/*")}
    tables = (ops, compression, encoder, latent, recurrent, streams)
    assert found == {op.name for module in tables for op in module.TABLE}
