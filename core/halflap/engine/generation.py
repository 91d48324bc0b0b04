"""Work that answers: a prompt, then tokens chosen one by one, or several at once when a draft of them was right."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from halflap.constraints.contract import Bits, Constraint
from halflap.engine.forcing import ThoughtBudget
from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.overflow import Overflow, shortened
from halflap.engine.tracing import Trace
from halflap.engine.work import F32, Work
from halflap.errors import ConstraintError, HalflapError, RequestTimeoutError
from halflap.events import Event, Finish, FinishReason, Prefill, Timings, Token, Usage
from halflap.graph.candidates import Ask, Highest
from halflap.log import log
from halflap.sampling.candidates import Candidates
from halflap.sampling.chain import SamplerChain, likeliest, log_probabilities

T = TypeVar("T")
NO_TOKEN = -1


class Words(Protocol):
    """Tokens in, events out: see `halflap.text.output.Output`."""

    def push(self, token: Token) -> list[Event]: ...
    def finish(self) -> list[Event]: ...

    called: bool
    lines: bool

    @property
    def outdented(self) -> bool: ...
    @property
    def stopped(self) -> str | None: ...


class Generation(Work):
    """One request's answer.

    Args:
        limit: tokens the sequence may grow to.
        ends: tokens that end the answer; empty with ignore_eos.
        emit: called on the engine thread with events in order, or with the error that ends them.
        forcing: what ends thoughts that have become too long.
        overflow: what to drop when the sequence reaches `limit` before the answer's end; None: the answer ends there.
        n_keep: tokens of its beginning that are not dropped.
        t_max_predict_ms: milliseconds from the first token after which an answer with a line break ends; 0: it goes on.
        after_samplers: `logprobs` are told of what the samplers left.
        model: its name, for traces.
        said: tokens of this very answer that an engine before this one chose and gave out.
        sharing: what `Work` takes beside these.

    Attributes:
        chosen: the answer's tokens so far.
    """

    speculate = True

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
        *,
        constraint: Constraint | None = None,
        forcing: ThoughtBudget | None = None,
        overflow: Overflow | None = None,
        n_keep: int = 0,
        t_max_predict_ms: int = 0,
        after_samplers: bool = False,
        model: str = "",
        said: Sequence[int] = (),
        **sharing: object,
    ) -> None:
        super().__init__(ids, limit, ("logits",), images, **sharing)  # type: ignore[arg-type]
        self.generated = self.drafted = self.accepted = 0
        self._asked = len(ids) + len(self.source)
        self._chain, self._words, self._ends, self._token_bytes, self._emit = chain, words, ends, token_bytes, emit
        self._max_tokens, self._logprobs, self._timeout = max_tokens, logprobs, timeout
        self._constraint, self._forcing, self._overflow = constraint, forcing, overflow
        self._n_keep, self._t_max_predict_ms, self._after_samplers = n_keep, t_max_predict_ms, after_samplers
        self.submitted = self.started = self.first = time.monotonic()
        self._latest = self.submitted
        self._answering = False
        self._ruled: tuple[Bits | None, bool] | None = None
        self._trace = Trace(model)
        for place, token in enumerate(self.ids):
            if not images.covers(place):
                chain.accept(token)
        self.chosen = list(said)
        chain.skip(len(said))
        for token in said:
            chain.accept(token)
            if constraint is not None:
                constraint.accept(token)
            if forcing is not None:
                forcing.accept(token)
            self.ids.append(token)
            words.push(self._described(token, None))
            if overflow is not None and len(self.ids) >= limit:
                self._overflowed()
        self.generated, self.moved = len(said), False

    @property
    def latest_start(self) -> int:
        return len(self.ids) - 1

    @property
    def room(self) -> int:
        """Tokens that may still be generated."""
        left = self.limit - len(self.ids)
        return left if self._max_tokens is None else min(left, self._max_tokens - self.generated)

    def late(self, now: float) -> bool:
        return self._timeout is not None and now - self.submitted > self._timeout

    def timed_out(self) -> HalflapError:
        return RequestTimeoutError(
            "request",
            got=f"over {self._timeout:g} s",
            want="an answer by then",
            fix="Raise `timeout` or lower `max_tokens`.",
        )

    def start(self, blocks: object, computed: int) -> None:
        if not self.admitted:
            self.started = time.monotonic()
            self.recorder.observe("queue", self.started - self.submitted)
            self._trace.event("admitted")
        super().start(blocks, computed)  # type: ignore[arg-type]

    def propose(self, draft: Sequence[int]) -> None:
        """A guess at the tokens that come next, for the next step to check."""
        if self._constraint is not None:
            try:
                draft = self._constraint.drafted(draft)
            except Exception:  # its request alone fails, when it is asked what may stand next; the drafter did no wrong
                draft = ()
        self.draft = list(draft)

    def wanted(self, start: int, stop: int) -> range:
        """Only the newest token's row, once all before it are computed."""
        return range(stop - 1, stop) if stop == len(self.ids) else range(0)

    def asks(self, rows: Mapping[str, F32]) -> Sequence[Ask | None]:
        """Of each row on the way of its draft; under a constraint of the first only, for a mask holds for one place."""
        n, vocab = rows["logits"].shape
        if self._words.stopped is not None or self.generated == self._max_tokens:
            return ()
        if self._constraint is not None:
            mask, complete = self._ruled = self._rules()
            return () if complete else (self._chain.ask(vocab, mask),)
        return [self._chain.ask(vocab, ahead=self.draft[:place]) for place in range(n)]

    def advance(self, stop: int, rows: Mapping[str, F32], found: Sequence[Highest | None] = ()) -> None:
        self.computed = stop
        if not self._answering and not self.chosen:
            done = min(stop + len(self.source), self._asked)
            self._emit([Prefill(done, self._asked, self.cached)])
        if stop < len(self.ids):
            return
        if not self._answering:
            self._answering = True
            self.first = self._latest = time.monotonic()
            self.recorder.observe("first_token", self.first - self.submitted)
            self._trace.event("first_token")
        if self._over():  # before its first token: none was wanted, or an engine before this one chose the last
            return
        draft, self.draft = self.draft[: len(rows["logits"]) - 1], []
        self.drafted += len(draft)
        for place, row in enumerate(rows["logits"]):
            token = self._choose(row, found[place] if place < len(found) else None)
            if self.finished or self.moved or place == len(draft) or token != draft[place]:
                break
            self.accepted += 1
            self.computed += 1
        if self._constraint is not None and not self.finished:
            _asked(self._constraint.ahead)

    def _rules(self) -> tuple[Bits | None, bool]:
        """The mask for the next token; whether the constraint lets nothing follow."""
        rules = self._constraint
        return (None, False) if rules is None else _asked(lambda: (rules.mask(), rules.complete))

    def _choose(self, row: F32, found: Highest | None) -> int:
        scores = log_probabilities(row) if self._logprobs is not None else None
        rules = self._constraint
        (mask, complete), self._ruled = self._ruled or self._rules(), None
        if complete:
            self.end("stop")
            return NO_TOKEN
        token = self._chain.choose(row, mask, found)
        if self._forcing is not None:  # chosen all the same, so that what comes later draws the same numbers
            token = self._forcing.choose(token, mask)
        self._chain.accept(token)
        if token in self._ends:
            self.end("stop", self._ends[token])
            return token
        if rules is not None:
            _asked(lambda: rules.accept(token))
            complete = _asked(lambda: rules.complete)
        if self._forcing is not None:
            self._forcing.accept(token)
        self.ids.append(token)
        self.chosen.append(token)
        self.generated += 1
        if self.generated > 1:
            now = time.monotonic()
            self.recorder.observe("between_tokens", now - self._latest)
            self._latest = now
        self._emit(self._words.push(self._described(token, scores)))
        if self._over():
            pass
        elif complete:
            self.end("stop")
        elif len(self.ids) >= self.limit:
            self._overflowed()
        return token

    def _over(self) -> bool:
        """Ends the answer where its words or their number say so."""
        if self._words.stopped is not None:
            self.end("stop", self._words.stopped)
        elif self.generated == self._max_tokens or self._words.outdented or self._late_line():
            self.end("length")
        return self.finished

    def _late_line(self) -> bool:
        """Whether the answer's own time is over, and it holds a whole line."""
        most = self._t_max_predict_ms
        return most > 0 and self._words.lines and 1e3 * (time.monotonic() - self.first) > most

    def _overflowed(self) -> None:
        if self._overflow is None:
            self.end("length")
            return
        self.ids = shortened(self.ids, self.limit, self._overflow, self._n_keep)
        self.n_prompt, self.moved = len(self.ids), True
        self.forget_keys()

    def _described(self, token: int, scores: F32 | None) -> Token:
        if scores is None:
            return Token(token, self._token_bytes(token))
        if self._after_samplers:
            return self._described_by(token, self._chain.left)
        best = likeliest(scores, self._logprobs).tolist() if self._logprobs else []
        top = tuple((i, float(scores[i])) for i in best)
        return Token(token, self._token_bytes(token), float(scores[token]), top)

    def _described_by(self, token: int, left: Candidates | None) -> Token:
        """A token with its chance among those that the samplers left."""
        chances = (
            {token: 1.0} if left is None else dict(zip(left.ids.tolist(), left.probabilities().tolist(), strict=True))
        )
        logs = {i: math.log(p) if p > 0 else -math.inf for i, p in chances.items()}
        best = sorted(logs, key=lambda i: (-logs[i], i))[: self._logprobs]
        top = tuple((i, logs[i]) for i in best)
        return Token(token, self._token_bytes(token), logs.get(token, -math.inf), top)

    def end(self, reason: FinishReason, stop: str | None = None) -> None:
        if self.finished:
            return
        words = self._words.finish()  # a plugin's parser may raise here, which fails a request that is not yet over
        self.finished = True
        self._emit(words)
        if reason == "stop" and self._words.called:
            reason = "tool_calls"
        now = time.monotonic()
        timings = Timings(
            cache_n=self.cached,
            prompt_n=self._asked - self.cached,
            prompt_ms=1e3 * (self.first - self.started),
            predicted_n=self.generated,
            predicted_ms=1e3 * (now - self.first),
            draft_n=self.drafted,
            draft_n_accepted=self.accepted,
        )
        self._ended(reason)
        self._emit([Finish(reason, stop, Usage(self._asked, self.generated, self.cached), timings)])

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.finished = True
            self._ended("error")
            with suppress(Exception):
                self._emit(self._words.finish())  # what is held back belongs to the error's `partial`
            self._emit(error)

    def _ended(self, reason: str) -> None:
        seconds = time.monotonic() - self.submitted
        self.recorder.ended(reason, seconds, len(self.ids))
        self._trace.end(reason, input_tokens=self._asked, output_tokens=self.generated)
        log.debug(
            "request_ended",
            request=self.arrival,
            reason=reason,
            prompt=self._asked,
            cached=self.cached,
            generated=self.generated,
            preempted=self.preempted,
            seconds=round(seconds, 4),
        )


def _asked(ask: Callable[[], T]) -> T:
    """What a constraint says; its own failure is a ConstraintError."""
    try:
        return ask()
    except HalflapError:
        raise
    except Exception as cause:
        got, want = f"{type(cause).__name__}: {cause}", "an answer to how the text may go on"
        raise ConstraintError("constraint", got=got, want=want, field="constraint") from cause
