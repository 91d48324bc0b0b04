"""Work for the engine: token ids to compute, rows that are wanted, and what to do with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from halflap.engine.blocks import SequenceBlocks
from halflap.engine.given import NO_IMAGES, Images
from halflap.errors import HalflapError, RequestTimeoutError
from halflap.events import Event, Finish, FinishReason, Prefill, Timings, Token, Usage
from halflap.sampling.chain import SamplerChain, log_probabilities

F32 = npt.NDArray[np.float32]


class Work(Protocol):
    """What scheduler and engine know of any work."""

    ids: list[int]
    n_prompt: int
    computed: int
    limit: int
    outputs: tuple[str, ...]
    images: Images
    blocks: SequenceBlocks | None
    finished: bool
    cancelled: bool

    def start(self, blocks: SequenceBlocks) -> None: ...
    def wanted(self, start: int, stop: int) -> Sequence[int]: ...
    def advance(self, stop: int, rows: Mapping[str, F32]) -> None: ...
    def fail(self, error: BaseException) -> None: ...
    def end(self, reason: FinishReason) -> None: ...
    def late(self, now: float) -> bool: ...
    def timed_out(self) -> HalflapError: ...


class Words(Protocol):
    """Tokens in, events out: see `halflap.text.output.Output`."""

    def push(self, token: Token) -> list[Event]: ...
    def finish(self) -> list[Event]: ...

    called: bool

    @property
    def stopped(self) -> str | None: ...


class Generation:
    """One request's sequence: prompt, then tokens chosen one by one.

    Args:
        ids: the prompt; generated tokens are appended.
        limit: tokens the sequence may grow to.
        ends: tokens that end the answer; empty with ignore_eos.
        emit: called on the engine thread with events in order, or with the error that ends them.
        images: what stands in for some of the prompt's ids.
    """

    outputs: tuple[str, ...] = ("logits",)

    def __init__(
        self,
        ids: Sequence[int],
        limit: int,
        chain: SamplerChain,
        words: Words,
        ends: Mapping[int, str],
        token_bytes: Callable[[int], bytes],
        emit: Callable[[Sequence[Event] | BaseException], None],
        max_tokens: int | None = None,
        logprobs: int | None = None,
        timeout: float | None = None,
        images: Images = NO_IMAGES,
    ) -> None:
        self.images = images
        self.ids, self.n_prompt, self.limit = list(ids), len(ids), limit
        self.computed = 0
        self.blocks: SequenceBlocks | None = None
        self.finished = self.cancelled = False
        self._chain, self._words, self._ends, self._token_bytes, self._emit = chain, words, ends, token_bytes, emit
        self._max_tokens, self._logprobs, self._timeout = max_tokens, logprobs, timeout
        self._submitted = self._started = self._first = time.monotonic()
        for place, token in enumerate(self.ids):
            if not images.covers(place):
                chain.accept(token)

    def late(self, now: float) -> bool:
        return self._timeout is not None and now - self._submitted > self._timeout

    def timed_out(self) -> HalflapError:
        return RequestTimeoutError(
            "request",
            got=f"over {self._timeout:g} s",
            want="an answer by then",
            fix="Raise `timeout` or lower `max_tokens`.",
        )

    def start(self, blocks: SequenceBlocks) -> None:
        """Admitted: the next step may compute it."""
        self.blocks, self._started = blocks, time.monotonic()

    def wanted(self, start: int, stop: int) -> range:
        """Only the newest token's row, once all before it are computed."""
        return range(stop - 1, stop) if stop == len(self.ids) else range(0)

    def advance(self, stop: int, rows: Mapping[str, F32]) -> None:
        first = self.computed < self.n_prompt
        self.computed = stop
        if first:
            self._emit([Prefill(min(stop, self.n_prompt), self.n_prompt)])
        if stop < len(self.ids):
            return
        if first:
            self._first = time.monotonic()
        if self._max_tokens == 0:
            self.end("length")
            return
        self._choose(rows["logits"][0])

    def _choose(self, row: F32) -> None:
        scores = log_probabilities(row) if self._logprobs is not None else None
        token = self._chain.choose(row)
        self._chain.accept(token)
        if token in self._ends:
            self.end("stop", self._ends[token])
            return
        self.ids.append(token)
        self._emit(self._words.push(self._described(token, scores)))
        if self._words.stopped is not None:
            self.end("stop", self._words.stopped)
        elif len(self.ids) - self.n_prompt == self._max_tokens or len(self.ids) >= self.limit:
            self.end("length")

    def _described(self, token: int, scores: F32 | None) -> Token:
        if scores is None:
            return Token(token, self._token_bytes(token))
        best = np.argsort(-scores, kind="stable")[: self._logprobs].tolist() if self._logprobs else []
        top = tuple((i, float(scores[i])) for i in best)
        return Token(token, self._token_bytes(token), float(scores[token]), top)

    def end(self, reason: FinishReason, stop: str | None = None) -> None:
        if self.finished:
            return
        self.finished = True
        self._emit(self._words.finish())
        if reason == "stop" and self._words.called:
            reason = "tool_calls"
        now, generated = time.monotonic(), len(self.ids) - self.n_prompt
        timings = Timings(
            cache_n=0,
            prompt_n=self.n_prompt,
            prompt_ms=1e3 * (self._first - self._started),
            predicted_n=generated,
            predicted_ms=1e3 * (now - self._first),
        )
        self._emit([Finish(reason, stop, Usage(self.n_prompt, generated), timings)])

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.finished = True
            self._emit(self._words.finish())  # what is held back belongs to the error's `partial`
            self._emit(error)


class Scoring:
    """Computes given ids once and collects one output's rows.

    Args:
        output: "logits" or "hidden".
        rows: which positions are wanted, ascending.
        done: called on the engine thread with (rows, width) or the error.
        images: what stands in for some of the ids.
    """

    def __init__(
        self,
        ids: Sequence[int],
        output: str,
        rows: Sequence[int],
        done: Callable[[F32 | BaseException], None],
        images: Images = NO_IMAGES,
    ) -> None:
        self.images = images
        self.ids = list(ids)
        self.n_prompt = self.limit = len(ids)
        self.outputs: tuple[str, ...] = (output,)
        self.computed = 0
        self.blocks: SequenceBlocks | None = None
        self.finished = self.cancelled = False
        self._rows, self._done, self._parts = rows, done, []  # type: ignore[var-annotated]
        self._wanted = set(rows)

    def late(self, now: float) -> bool:
        return False

    def timed_out(self) -> HalflapError:
        raise AssertionError("scoring has no deadline")

    def start(self, blocks: SequenceBlocks) -> None:
        self.blocks = blocks

    def wanted(self, start: int, stop: int) -> list[int]:
        return [i for i in range(start, stop) if i in self._wanted]

    def advance(self, stop: int, rows: Mapping[str, F32]) -> None:
        self.computed = stop
        if self.outputs[0] in rows:
            self._parts.append(rows[self.outputs[0]])
        if stop == len(self.ids):
            self.finished = True
            self._done(np.concatenate(self._parts) if self._parts else np.zeros((0, 0), np.float32))

    def end(self, reason: FinishReason) -> None:
        self.finished = True

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.finished = True
            self._done(error)
