"""Activation rounding and its bounds, over drawn numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflap.testing.rounding import ROUNDINGS, distance_to_tie, largest_change, rounded, settled


@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.sampled_from(sorted(ROUNDINGS)), st.integers(-10, 10))
def test_no_element_moves_further_than_the_bound(seed: int, width: int, kind: str, power: int) -> None:
    x = (np.random.default_rng(seed).standard_normal((2, width)) * 2.0**power).astype(np.float32)
    moved = np.abs(rounded(x, kind).astype(np.float64) - x)
    assert np.all(moved <= largest_change(x, kind) * (1 + 1e-6))


@given(st.integers(0, 2**32 - 1), st.integers(1, 600))
def test_settled_numbers_lie_off_every_tie_and_keep_their_peak(seed: int, width: int) -> None:
    x = np.random.default_rng(seed).standard_normal((3, width)).astype(np.float32)
    assert distance_to_tie(settled(x, "i8x256")) > 0.04
    np.testing.assert_array_equal(np.abs(settled(x, "i8x256")).max(axis=1), np.abs(x).max(axis=1))
    np.testing.assert_array_equal(settled(x, "f16"), x)


def test_i8x256_has_a_scale_per_256_and_rounds_halves_to_even() -> None:
    x = np.zeros((1, 300), np.float32)
    x[0, :4], x[0, 256:258] = [127, 0.5, 1.5, -2.5], [254, 3]
    found = rounded(x, "i8x256")[0]
    np.testing.assert_array_equal(found[:4], [127, 0, 2, -2])
    np.testing.assert_array_equal(found[256:258], [254, 4])
    assert not found[4:256].any()


def test_bf16_rounds_to_even() -> None:
    x = np.float32([[1 + 2**-8, 1 + 3 * 2**-8, -1.00390625, 3.0e38]])
    np.testing.assert_array_equal(rounded(x, "bf16")[0, :3], np.float32([1, 1 + 2**-6, -1]))


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'i4'"):
        rounded(np.zeros((1, 1), np.float32), "i4")
