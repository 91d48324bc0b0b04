"""The few highest of rows of logits: each instruction set against the definition, and hostile asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflap.device._abi import ffi
from halflap.device.native import NativeDevice, check
from halflap.errors import DeviceError
from halflap.graph.candidates import Ask, highest
from halflap.testing.families.candidates import ROWS, compare, draw_ask, draw_rows


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**32 - 1), vocab=st.integers(1, 2200), kind=st.sampled_from(ROWS), asks=st.integers(1, 6))
def test_every_set_finds_what_the_definition_finds(
    cpu_isa: NativeDevice, seed: int, vocab: int, kind: str, asks: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = draw_rows(rng, 2, vocab, kind)
    asked = [(int(rng.integers(2)), draw_ask(rng, vocab)) for _ in range(asks)]
    assert cpu_isa.candidates is not None
    for (row, ask), found in zip(asked, cpu_isa.candidates(rows, asked), strict=True):
        with np.errstate(invalid="ignore"):
            compare(found, highest(rows[row], ask), f"{kind}, {vocab}, {ask}")


@pytest.mark.parametrize("order", ["ascending", "descending", "equal"])
def test_rows_in_any_order(cpu: NativeDevice, order: str) -> None:
    row = {"ascending": np.arange(20_001), "descending": -np.arange(20_001), "equal": np.zeros(20_001)}[order]
    rows, ask = row.astype(np.float32)[None], Ask(300, (), None, 1.0)
    assert cpu.candidates is not None
    compare(cpu.candidates(rows, [(0, ask)])[0], highest(rows[0], ask), order)


def test_many_rows_shared_by_threads_are_each_their_own(cpu: NativeDevice) -> None:
    rng = np.random.default_rng(3)
    rows = draw_rows(rng, 40, 9_001, "ties")
    asked = [(row, draw_ask(rng, 9_001)) for row in range(40)]
    assert cpu.candidates is not None
    for (row, ask), found in zip(asked, cpu.candidates(rows, asked), strict=True):
        compare(found, highest(rows[row], ask), f"row {row}")


HOSTILE: dict[str, dict[str, Any]] = {
    "logits": {"logits": ffi.NULL},
    "row": {"row": [2]},
    "row below": {"row": [-1]},
    "count": {"count": [0]},
    "count above width": {"count": [9]},
    "vocab": {"vocab": 0},
    "huge vocab": {"vocab": 1 << 40},
    "n_asks": {"n_asks": -1},
    "temperature": {"temperature": [-1.0]},
    "NaN temperature": {"temperature": [float("nan")]},
    "edit_start": {"edit_start": [0, -1]},
    "edit_start from 1": {"edit_start": [1, 1]},
    "edit_id": {"edit_id": [7]},
    "no edits": {"edit_id": ffi.NULL},
    "ids": {"ids": ffi.NULL},
    "struct_size": {"struct_size": 16},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_ask_is_an_error(cpu: NativeDevice, what: str) -> None:
    arrays = {
        "logits": ("float", [0.0] * 14), "row": ("int32_t", [0]), "count": ("int32_t", [2]),
        "temperature": ("float", [0.0]), "edit_start": ("int32_t", [0, 1]), "edit_id": ("int32_t", [3]),
        "edit_bias": ("float", [1.0]), "edit_repeat": ("float", [1.0]), "edit_offset": ("float", [1.0]),
        "ids": ("int32_t", [0] * 7), "values": ("float", [0.0] * 7), "found": ("int32_t", [0]),
        "log_sums": ("double", [0.0] * 2), "nans": ("int64_t", [0]),
    }  # fmt: skip
    table = cpu.backend.extension("candidates", "hl_candidates_api")
    asks, keep = ffi.new("hl_candidates *"), []

    def fill(values: dict[str, Any]) -> None:
        for field, value in values.items():
            if isinstance(value, list):
                keep.append(value := ffi.new(f"{arrays[field][0]}[]", value))
            setattr(asks, field, value)

    fill({"struct_size": ffi.sizeof("hl_candidates"), "n_rows": 2, "vocab": 7, "n_asks": 1, "width": 7})
    fill({field: values for field, (_, values) in arrays.items()})
    check("cpu", table.candidates, cpu.handle, asks)
    assert (asks.ids[0], asks.values[0], asks.found[0]) == (3, 2.0, 2)
    fill(HOSTILE[what])
    with pytest.raises(DeviceError, match="want"):
        check("cpu", table.candidates, cpu.handle, asks)
