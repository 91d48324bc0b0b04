"""How much of prompts a step reads beside answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from halflap.engine.pace import LONGEST_STEP, MOST, TILE, Pace


def test_prompts_add_no_more_seconds_than_answers_may_wait() -> None:
    pace = Pace(2048)
    assert pace.tokens(1, 1) == 2048  # nothing is known yet
    pace.measured(256, 256 * LONGEST_STEP / 100)
    assert pace.tokens(1, 1) == 95  # with the answer a multiple of 16
    assert pace.tokens(1, 8) == 88
    pace.measured(1, 1e9)  # too few tokens to tell
    assert pace.tokens(1, 1) == 95
    for _ in range(50):
        pace.measured(256, 256.0)
    assert pace.tokens(1, 1) == TILE  # never none


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 64))
def test_many_that_wait_for_their_first_token_are_read_faster(fit: int, reading: int, answering: int) -> None:
    pace = Pace(512)
    pace.measured(256, 256 * LONGEST_STEP / (fit + 0.5))
    most = (fit + 0.5) * min(MOST, max(1, reading / answering))
    tokens = pace.tokens(reading, answering)
    assert tokens == min(512, max(TILE, tokens))
    assert tokens <= max(most, TILE) + 1e-6
    assert tokens >= min(512, most) - TILE - 1e-6
    assert tokens in (TILE, 512) or (tokens + answering) % TILE == 0
