"""Every device that opens here, over shapes that hypothesis draws; a failing seed is one `--seed` for the command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflap.device.opening import open_devices
from halflap.testing import cases, run
from halflap.testing.families.drawn_cases import EACH

OPS = ("linear", "rms_norm", "rope", "attention", "route", "moe")


@pytest.fixture
def device(device_name: str) -> Iterator[Any]:
    (opened,) = open_devices([device_name])
    yield opened
    opened.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 100_000), op=st.sampled_from(OPS), place=st.integers(0, EACH - 1))
def test_an_op_over_a_drawn_shape(device: Any, seed: int, op: str, place: int) -> None:
    (case,) = cases(device.info, f"op/{op}/drawn-{seed}.{place}-*", seed)
    result = run(case, device)
    assert result.ok, f"{case.name}: {result.detail}"
