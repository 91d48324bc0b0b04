"""The engine by itself, over a runner that computes nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from halflap.engine.blocks import BlockManager
from halflap.engine.engine import Engine
from halflap.engine.metrics import Recorder
from halflap.engine.policy import Fair, FirstCome, Policy
from halflap.engine.scheduler import Scheduler
from halflap.engine.scoring import Scoring
from halflap.engine.work import Work
from halflap.errors import BusyError, ContextOverflowError, ModelClosedError
from halflap.graph.ir import LayerWidth, StateGroup
from halflap.graph.step import Limits, Step

GROUPS = (StateGroup("kv", (LayerWidth(4, 4),)),)
LIMITS = Limits(tokens=16, sequences=3, rows=4, context=64, blocks={"kv": 6})


class Runner:
    """Answers each wanted row with the token it belongs to; waits at the gate before every step."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.steps: list[Step] = []
        self.closed = False

    def run(self, step: Step, fetch: list[str], embeds: Any, scales: Any) -> dict[str, Any]:
        self.gate.wait(60)
        self.steps.append(step)
        return {name: step.ids[step.rows].astype(np.float32)[:, None] for name in fetch}

    def candidates(self, logits: Any, asks: Any) -> Any:
        raise AssertionError("nobody asked")

    def close(self) -> None:
        self.closed = True


def score(engine: Engine, ids: list[int]) -> Any:
    found: Any = {"event": threading.Event()}

    def done(rows: Any) -> None:
        found["rows"] = rows if isinstance(rows, BaseException) else rows["logits"]
        found["event"].set()

    engine.submit(Scoring(ids, ("logits",), range(len(ids)), done))
    return found


def test_steps_stay_within_the_limits_and_every_row_reaches_its_owner() -> None:
    runner = Runner()
    engine = Engine(lambda: runner, GROUPS, LIMITS)  # type: ignore[arg-type, return-value]
    lengths = [1, 5, 17, 40, 3, 60, 2, 33]
    asked = [score(engine, list(range(100 * i, 100 * i + n))) for i, n in enumerate(lengths)]
    for i, found in enumerate(asked):
        assert found["event"].wait(60)
        assert found["rows"][:, 0].tolist() == list(range(100 * i, 100 * i + lengths[i]))
    for step in runner.steps:
        assert 0 < step.n_tokens <= 16
        assert step.n_sequences <= 3
        assert step.n_rows <= 4
        assert set(step.groups["kv"].blocks.tolist()) <= set(range(6))
    assert engine.metrics().blocks_used == {"kv": 0}
    engine.close()
    assert runner.closed


def test_whole_sequences_share_steps_and_are_never_cut() -> None:
    runner = Runner()
    runner.gate.clear()
    limits = evolve(LIMITS, rows=16, blocks={})
    engine = Engine(lambda: runner, (), limits, whole=True)  # type: ignore[arg-type, return-value]
    lengths = [16, 9, 5, 8, 2, 16, 1, 7]
    asked = [score(engine, list(range(100 * i, 100 * i + n))) for i, n in enumerate(lengths)]
    with pytest.raises(ContextOverflowError, match="got 17 tokens, want at most the 16 of one step"):
        score(engine, list(range(17)))
    runner.gate.set()
    for i, found in enumerate(asked):
        assert found["event"].wait(60)
        assert found["rows"][:, 0].tolist() == list(range(100 * i, 100 * i + lengths[i]))
    assert len(runner.steps) < len(lengths)
    for step in runner.steps:
        assert step.n_tokens <= 16
        for start, stop in zip(step.seq_start[:-1], step.seq_start[1:], strict=True):
            assert step.index[start:stop].tolist() == list(range(lengths[step.ids[start] // 100]))
    engine.close()


def test_who_lacks_a_block_that_another_holds_makes_room_and_does_not_fail() -> None:
    """Steps of one token: an answer goes before the prompt that holds the blocks."""
    limits = Limits(tokens=1, sequences=2, rows=1, context=128, blocks={"kv": 4})
    manager = BlockManager(GROUPS, limits)
    scheduler = Scheduler(limits, manager, FirstCome())
    ended: list[Any] = []
    prompt = Scoring(list(range(96)), ("logits",), (), ended.append)
    answer = Scoring(list(range(200, 232)), ("logits",), (), ended.append)
    for work in (prompt, answer):
        scheduler.add(work)
    scheduler.schedule()
    assert scheduler.running == [prompt, answer]
    for work, computed in ((prompt, 90), (answer, 31)):
        assert work.blocks is not None
        assert manager.grow(work.blocks, work.computed, computed)
        work.computed = computed
    answer.ids += [232, 233]  # its last tokens, for which there is no block
    answer.computed = 33
    assert scheduler.schedule() == []
    assert (scheduler.running, scheduler.waiting, ended) == ([prompt], [answer], [])
    (chunk,) = scheduler.schedule()
    assert chunk.sequence is prompt


def test_a_full_queue_says_when_to_come_again() -> None:
    runner = Runner()
    runner.gate.clear()
    engine = Engine(lambda: runner, GROUPS, LIMITS)  # type: ignore[arg-type, return-value]

    def fill() -> None:
        for _ in range(400):
            score(engine, [1])

    with pytest.raises(BusyError) as raised:
        fill()
    assert raised.value.retry_after
    runner.gate.set()
    engine.close()


def test_an_engine_that_dies_fails_its_work_and_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Scheduler) -> None:
        raise ZeroDivisionError("scheduler")

    monkeypatch.setattr(Scheduler, "schedule", broken)
    engine = Engine(Runner, GROUPS, LIMITS)  # type: ignore[arg-type]
    found = score(engine, [1])
    assert found["event"].wait(60)
    assert isinstance(found["rows"], ZeroDivisionError)
    engine.close()
    with pytest.raises(ModelClosedError):
        score(engine, [1])


def test_a_runner_that_cannot_be_made_fails_the_load() -> None:
    def fails() -> Any:
        raise MemoryError("no room")

    before = sys.getswitchinterval()
    with pytest.raises(MemoryError, match="no room"):
        Engine(fails, GROUPS, LIMITS)
    assert sys.getswitchinterval() == before


def test_the_switch_interval_is_short_while_an_engine_lives() -> None:
    before = sys.getswitchinterval()
    engines = [Engine(Runner, GROUPS, LIMITS) for _ in range(2)]  # type: ignore[arg-type]
    assert sys.getswitchinterval() < before
    engines[0].close()
    engines[0].close()
    assert sys.getswitchinterval() < before
    engines[1].close()
    assert sys.getswitchinterval() == before


def test_a_sequence_finds_no_state_in_its_first_step_and_its_own_in_the_next() -> None:
    runner = Runner()
    groups = (*GROUPS, StateGroup("recurrent", (LayerWidth(4, 0),), kind="slots"))
    engine = Engine(lambda: runner, groups, evolve(LIMITS, slots={"recurrent": 2}))  # type: ignore[arg-type, return-value]
    found = [score(engine, list(range(100 * i, 100 * i + 20))) for i in range(5)]
    assert all(one["event"].wait(60) for one in found)
    slots: dict[int, int] = {}
    for step in runner.steps:
        kept = step.slots["recurrent"]
        assert step.n_sequences <= 2
        assert len(set(kept.target.tolist())) == step.n_sequences
        for s, (source, target) in enumerate(zip(kept.source.tolist(), kept.target.tolist(), strict=True)):
            first, sequence = step.index[step.seq_start[s]] == 0, int(step.ids[step.seq_start[s]]) // 100
            assert source == (-1 if first else slots[sequence])
            slots[sequence] = target
    assert engine.metrics().slots_used == {"recurrent": 0}
    engine.close()


def test_histograms_count_by_powers_of_two() -> None:
    recorder = Recorder()
    for seconds in (0.0005, 0.001, 0.003, 0.003, 600.0):
        recorder.observe("queue", seconds)
    queue = recorder.histograms()["queue"]
    assert (queue.counts[0], queue.counts[2], queue.counts[-1], queue.count) == (2, 2, 1, 5)
    assert (queue.quantile(0.4), queue.quantile(0.8), queue.quantile(1.0)) == (0.001, 0.004, float("inf"))
    assert recorder.histograms()["whole"].quantile(0.5) == 0


class Counting(Work):
    """Three tokens after its prompt, then it is done and says so."""

    def __init__(self, order: list[str], user: str, priority: int = 0) -> None:
        super().__init__([1, 2, 3], 60, ("logits",), user=user, priority=priority)
        self._order = order

    @property
    def latest_start(self) -> int:
        return len(self.ids) - 1

    def wanted(self, start: int, stop: int) -> Sequence[int]:
        return range(stop - 1, stop)

    def advance(self, stop: int, rows: Any, found: Any = ()) -> None:
        self.computed = stop
        self.ids.append(7)
        if len(self.ids) == 6:
            self.finished = True
            self._order.append(self.user + str(self.priority))


@pytest.mark.parametrize("policy", [FirstCome(), Fair()])
def test_policies_decide_who_goes_first(policy: Policy) -> None:
    runner, order = Runner(), []  # type: ignore[var-annotated]
    runner.gate.clear()
    engine = Engine(lambda: runner, GROUPS, evolve(LIMITS, sequences=1), policy=policy)  # type: ignore[arg-type, return-value]
    works = [Counting(order, "a") for _ in range(3)] + [Counting(order, "b"), Counting(order, "a", 2)]
    for work in works:
        engine.submit(work)
    runner.gate.set()
    while not all(work.finished for work in works):
        assert score(engine, [9])["event"].wait(60)
    engine.close()
    assert sorted(order) == ["a0", "a0", "a0", "a2", "b0"]
    assert order.index("a2") <= 1  # one may have been admitted before it came
    assert order.index("b0") == (4 if isinstance(policy, FirstCome) else order.index("a2") + 1)
