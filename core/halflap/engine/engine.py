"""The engine: one thread that owns the devices and turns requests into steps."""

from __future__ import annotations

import copy
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import accumulate
from typing import Any

from halflap.device.interface import Array
from halflap.engine.blocks import BlockManager
from halflap.engine.metrics import Metrics, Recorder
from halflap.engine.policy import FirstCome, Policy
from halflap.engine.runner import Runner
from halflap.engine.scheduler import Chunk, Scheduler
from halflap.engine.speculation import Drafter, Speculator
from halflap.engine.steps import build_source_step, build_step
from halflap.engine.work import Work
from halflap.errors import BusyError, ContextOverflowError, HalflapError, ModelClosedError
from halflap.graph.candidates import Ask, Highest
from halflap.graph.ir import StateGroup
from halflap.graph.step import Limits
from halflap.log import log

QUEUE = 256
SWITCH_INTERVAL = 1e-4
"""Seconds: with Python's 5 ms a busy host thread would hold up every step by that much."""


class _SwitchInterval:
    """Shortened while any engine lives, restored after the last."""

    _lock = threading.Lock()
    _users = 0
    _before = 0.0

    @classmethod
    def enter(cls) -> None:
        with cls._lock:
            if cls._users == 0:
                cls._before = sys.getswitchinterval()
                sys.setswitchinterval(min(SWITCH_INTERVAL, cls._before))
            cls._users += 1

    @classmethod
    def leave(cls) -> None:
        with cls._lock:
            cls._users -= 1
            if cls._users == 0:
                sys.setswitchinterval(cls._before)


class Engine:
    """Takes work from any thread, computes on its own.

    Args:
        make_runner: called on the engine's thread, which then owns the devices.
        whole: the graph takes whole sequences only (Graph.whole).
        source_groups: groups that an encoder fills for each sequence before its first step (Graph.source_groups).
    """

    def __init__(
        self,
        make_runner: Callable[[], Runner],
        groups: tuple[StateGroup, ...],
        limits: Limits,
        whole: bool = False,
        policy: Policy | None = None,
        make_drafter: Callable[[], Drafter] | None = None,
        source_groups: frozenset[str] = frozenset(),
    ) -> None:
        self._blocks = BlockManager(groups, limits, source_groups)
        self._scheduler = Scheduler(limits, self._blocks, policy or FirstCome(), whole)
        self._longest = min(limits.tokens, limits.rows) if whole else None
        self._wake = threading.Condition()
        self._arrived: list[Work] = []
        self._calls: list[tuple[Callable[[Runner, BlockManager], Any], Future[Any]]] = []
        self._closing = self._left = False
        self._steps = self._prompt_tokens = self._generated = 0
        self._limits, self._make_drafter = limits, make_drafter
        self._recorder = Recorder()
        self._speculator: Speculator | None = None
        self._failure: list[BaseException] = []
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._main, args=(make_runner, started), name="halflap-engine", daemon=True
        )
        _SwitchInterval.enter()
        self._thread.start()
        started.wait()
        if self._failure:
            _SwitchInterval.leave()
            raise self._failure[0]

    @property
    def forgetful(self) -> bool:
        """Some state is kept at marked places only: windows, recurrent state."""
        return bool(self._blocks.slot_groups) or any(group.window for group in self._blocks.groups)

    def submit(self, work: Work) -> None:
        """Queue work; returns at once.

        Raises:
            ContextOverflowError: the graph takes whole sequences only, and this one is longer than a step may be.
            BusyError: the queue is full.
            ModelClosedError: the engine is closed.
        """
        most = min(self._limits.tokens, self._limits.context) if self._longest is None else self._longest
        asked = len(work.source) if self._longest is None else work.n_prompt
        if asked > most:
            raise ContextOverflowError(
                "prompt",
                got=f"{asked} tokens",
                want=f"at most the {most} of one step, which an encoder needs to see a text whole",
                n_prompt=asked,
                n_ctx=most,
            )
        with self._wake:
            if self._closing:
                raise closed()
            queued = len(self._arrived) + len(self._scheduler.waiting)
            if queued >= QUEUE:
                raise BusyError(
                    "request queue",
                    got=f"{queued} waiting",
                    want=f"fewer than {QUEUE}",
                    retry_after=1.0,
                    fix="Try again in a second.",
                )
            work.recorder = self._recorder
            self._arrived.append(work)
            self._wake.notify()

    def call(self, do: Callable[[Runner, BlockManager], Any]) -> Future[Any]:
        """Have something done on the engine's thread between two steps.

        Raises:
            ModelClosedError: the engine is closed.
        """
        future: Future[Any] = Future()
        with self._wake:
            if self._closing:
                raise closed()
            self._calls.append((do, future))
            self._wake.notify()
        return future

    def cancel(self, work: Work) -> None:
        """Stop work before its next step and free its blocks."""
        with self._wake:
            work.cancelled = True
            self._wake.notify()

    def metrics(self) -> Metrics:
        pools, slots = dict(self._blocks.pools), self._blocks.slot_groups
        slot_pools = {name: pools.pop(name) for name in slots}
        return Metrics(
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting) + len(self._arrived),
            steps=self._steps,
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated,
            cached_tokens=self._scheduler.cached_tokens,
            drafts=self._recorder.drafts,
            drafted_tokens=self._recorder.drafted,
            accepted_tokens=self._recorder.accepted,
            accepted_at=tuple(self._recorder.accepted_at),
            longest=self._recorder.longest,
            preemptions=self._scheduler.preemptions,
            missing=dict(self._scheduler.missing),
            finished=dict(self._recorder.finished),
            **self._recorder.histograms(),
            blocks_used={name: pool.used for name, pool in pools.items()},
            blocks_cached={name: pool.cached for name, pool in pools.items()},
            blocks_total={name: pool.count for name, pool in pools.items()},
            slots_used={name: pool.used for name, pool in slot_pools.items()},
            slots_cached={name: pool.cached for name, pool in slot_pools.items()},
            slots_total={name: pool.count for name, pool in slot_pools.items()},
        )

    def close(self) -> None:
        """Fail what is open with ModelClosedError, free the devices, end the thread. Idempotent."""
        with self._wake:
            self._closing = True
            left, self._left = self._left, True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if not left:
            _SwitchInterval.leave()

    def _main(self, make_runner: Callable[[], Runner], started: threading.Event) -> None:
        runner: Runner | None = None
        try:
            runner = make_runner()
            if self._make_drafter is not None:
                self._speculator = Speculator(self._make_drafter())
        except BaseException as error:
            if runner is not None:
                runner.close()
            self._failure.append(error)
            started.set()
            return
        started.set()
        end: BaseException = closed()
        try:
            while self._next(runner):
                self._speculate()
                chunks = self._scheduler.schedule()
                self._encode(runner, [c.sequence for c in chunks if c.sequence.source and not c.sequence.encoded])
                if chunks := [chunk for chunk in chunks if not chunk.sequence.finished]:
                    self._step(runner, chunks)
                self._scheduler.retire()
        except BaseException as error:
            log.exception("engine_died")
            end = error
        with self._wake:
            self._closing = True  # nobody may wait for an engine that is gone
        for work in self._all_work():
            work.fail(copy.copy(end))
        for _, future in self._calls:
            future.set_exception(copy.copy(end))
        self._scheduler.waiting.clear()
        self._scheduler.retire()
        if self._speculator is not None:
            self._speculator.close()
        runner.close()

    def _next(self, runner: Runner) -> bool:
        """Wait for work; False when closing. Takes what arrived and drops what was cancelled or is late."""
        with self._wake:
            while not (
                self._closing or self._arrived or self._calls or self._scheduler.waiting or self._scheduler.running
            ):
                self._wake.wait()
            if self._closing:
                return False
            for work in self._arrived:
                self._scheduler.add(work)
            self._arrived = []
            calls, self._calls = self._calls, []
        for do, future in calls:
            try:
                future.set_result(do(runner, self._blocks))
            except BaseException as error:
                future.set_exception(error)
        now = time.monotonic()
        for work in self._scheduler.everyone():
            if work.cancelled:
                try:
                    work.end("cancelled")
                except Exception as error:
                    log.exception("request_failed")
                    work.fail(error)
            elif work.late(now):
                work.fail(work.timed_out())
        for work in [w for w in self._scheduler.waiting if w.finished]:
            self._scheduler.waiting.remove(work)
        self._scheduler.retire()
        return True

    def _speculate(self) -> None:
        """Drafts for the sequences that decode; a drafter that fails is left out from then on."""
        if self._speculator is None:
            return
        works = [w for w in self._scheduler.running if w.speculate and len(w.ids) - w.computed == 1]
        works = works[: self._limits.sequences]
        if not works:
            return
        spare = min(self._limits.tokens, self._limits.rows) - len(self._scheduler.running)
        try:
            self._speculator.propose(works, [work.room - 1 for work in works], spare)
        except Exception:
            log.exception("drafter_failed")
            self._speculator.close()
            self._speculator = None

    def _encode(self, runner: Runner, works: list[Work]) -> None:
        """Have an encoder read source texts, as many in a step as fit."""
        while works:
            tokens = list(accumulate(len(work.source) for work in works))
            batch = works[: max(1, bisect_right(tokens, self._limits.tokens))]
            works = works[len(batch) :]
            try:
                runner.run(build_source_step(batch), (), source=True)
            except Exception as error:
                log.error("step_failed", error=str(error))
                for work in batch:
                    work.fail(copy.copy(error))
                continue
            self._steps += 1
            for work in batch:
                work.encoded = True

    def _step(self, runner: Runner, chunks: list[Chunk]) -> None:
        outputs = dict.fromkeys(name for chunk in chunks if chunk.wanted for name in chunk.sequence.outputs)
        began = time.perf_counter()
        try:
            step, embeds = build_step(chunks)
            fetched = runner.run(step, list(outputs), embeds, [chunk.sequence.scales for chunk in chunks])
        except Exception as error:
            log.error("step_failed", error=str(error))
            for chunk in chunks:
                chunk.sequence.fail(copy.copy(error))  # each carries its own request's `partial`
            return
        self._steps += 1
        spent = time.perf_counter() - began
        self._scheduler.pace.measured(sum(c.stop - c.start for c in chunks if c.stop - c.start > 1), spent)
        if self._speculator is not None and all(chunk.stop - chunk.start == 1 for chunk in chunks):
            self._speculator.measured(step.n_tokens, spent)
        ends = list(accumulate(len(chunk.wanted) for chunk in chunks))
        places = [slice(end - len(chunk.wanted), end) for chunk, end in zip(chunks, ends, strict=True)]
        rows = [
            {name: fetched[name][place] for name in chunk.sequence.outputs} if chunk.wanted else {}
            for chunk, place in zip(chunks, places, strict=True)
        ]
        found = self._candidates(runner, chunks, rows, fetched.get("logits"))
        advanced = []
        for chunk, mine, place in zip(chunks, rows, places, strict=True):
            work = chunk.sequence
            before, prompt = len(work.ids), work.n_prompt
            if _tried(work, partial(work.advance, chunk.stop, mine, found[place])):
                advanced.append(chunk)
            if chunk.draft:
                accepted = max(work.computed - chunk.stop, 0)
                self._recorder.checked(len(chunk.draft), accepted)
                if self._speculator is not None:
                    self._speculator.checked(work, len(chunk.draft), accepted)
            self._generated += max(len(work.ids) - before, 0)
            self._prompt_tokens += min(chunk.stop, prompt) - min(chunk.start, prompt)
        self._scheduler.stepped(advanced)

    def _candidates(
        self, runner: Runner, chunks: list[Chunk], rows: list[dict[str, Array]], logits: Array | None
    ) -> Sequence[Highest | None]:
        """What the device finds of this step's rows of logits, for those who ask."""
        asks: list[Ask | None] = []
        for chunk, mine in zip(chunks, rows, strict=True):
            asks += _asked(chunk, mine)
        if logits is None or not any(asks):
            return [None] * len(asks)
        try:
            return runner.candidates(logits, asks)
        except Exception:  # each has its row
            log.exception("candidates_failed")
            return [None] * len(asks)

    def _all_work(self) -> list[Any]:
        with self._wake:
            arrived, self._arrived = self._arrived, []
        return [*self._scheduler.everyone(), *arrived]


def _asked(chunk: Chunk, rows: Mapping[str, Array]) -> list[Ask | None]:
    """What a chunk's work asks of each of its rows."""
    asks: list[Ask | None] = []
    if rows:
        _tried(chunk.sequence, lambda: asks.extend(chunk.sequence.asks(rows)))
    return asks + [None] * (len(chunk.wanted) - len(asks))


def _tried(work: Work, do: Callable[[], object]) -> bool:
    """Do something for a piece of work that is not finished; it alone fails where that does. False: it did not work."""
    if work.finished:
        return False
    try:
        do()
        return True
    except HalflapError as error:
        work.fail(error)
    except Exception as error:
        log.exception("request_failed")
        work.fail(error)
    return False


def closed() -> ModelClosedError:
    return ModelClosedError("model", got="a closed model", want="an open one", fix="Load it again.")
