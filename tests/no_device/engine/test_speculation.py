"""How much to guess: what pays by measured step times, and nothing where nothing does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from halflap.engine.speculation import FORGET, LONGEST, PROBE, PROBED, Speculator, StepCosts
from halflap.engine.work import Work


class Always:
    """Guesses zeros, and remembers how many it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def draft(self, works: Sequence[Work], most: Sequence[int]) -> list[list[int]]:
        self.asked.append(sum(most))
        return [[0] * n for n in most]

    def close(self) -> None:
        pass


def rounds(costs: dict[int, float], right: float, count: int = 400) -> list[int]:
    """Draft lengths over many steps of one sequence, of whose guesses this share is right."""
    drafter = Always()
    speculator = Speculator(drafter)
    work, lengths, luck = Work([1, 2], 10**6, ("logits",)), [], 0.0
    for _ in range(count):
        before = len(drafter.asked)
        speculator.propose([work], [100], 64)
        length = drafter.asked[-1] if len(drafter.asked) > before else 0
        lengths.append(length)
        speculator.measured(1 + length, costs.get(1 + length, max(costs.values())))
        accepted = 0
        while accepted < length and (luck := luck + right) >= 1:
            luck -= 1
            accepted += 1
        speculator.checked(work, length, accepted)
    return lengths


def test_free_guesses_are_many_and_dear_ones_are_tried_now_and_then() -> None:
    flat = dict.fromkeys(range(1, 64), 0.01)
    assert max(rounds(flat, 0.95)[-50:]) > LONGEST // 2
    dear = {n: 0.01 * n for n in range(1, 64)}
    lengths = rounds(dear, 0.3)[-200:]
    assert sum(1 for n in lengths if n) <= 200 // PROBE + 1
    assert max(lengths) <= PROBED


def test_a_sequence_whose_guesses_are_wrong_gets_none() -> None:
    cheap = {n: 0.01 * (1 + 0.1 * (n - 1)) for n in range(1, 64)}
    assert sum(rounds(cheap, 0.0)[-100:]) <= PROBED * (100 // PROBE + 1)
    assert sum(rounds(cheap, 0.9)[-100:]) > 200


def test_costs_between_and_beyond_what_was_measured() -> None:
    costs = StepCosts()
    for seconds in (1.0, 9.0, 1.0):
        costs.add(1, seconds)
    costs.add(5, 1.1)
    assert costs.of(1) == 1.0
    assert costs.of(3) == pytest.approx(1.05)  # on the line
    assert costs.of(7) == pytest.approx(1.21)
    costs.add(9, 9.0)
    assert costs.of(7) == pytest.approx(1.21)  # not measured: perhaps the line is too high
    costs.add(9, 1.0)
    costs.add(9, 1.0)  # noise: more tokens never count as cheaper
    assert costs.of(8) >= 1.1


def test_a_time_taken_in_a_bad_moment_is_forgotten() -> None:
    costs = StepCosts()
    costs.add(4, 9.0)
    for _ in range(FORGET):
        costs.add(1, 1.0)
    assert costs.of(4) == 9.0
    costs.add(1, 1.0)
    assert costs.of(4) == pytest.approx(1.15)  # as if it had not been tried


def test_a_good_length_behind_a_bad_one_is_found() -> None:
    cliff = {1: 25, 2: 27, 3: 39, 4: 39, 5: 40, 6: 41, 7: 42, 8: 43} | dict.fromkeys(range(9, 18), 105)
    lengths = rounds({n: ms / 1e3 for n, ms in cliff.items()}, 0.7)
    assert 4 <= sorted(lengths)[len(lengths) // 2] <= 7
