"""Random requests of every kind at once: each ends as it would alone, and nothing is left behind."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import field, frozen

import halflap
from halflap import Use
from halflap.engine.speculation import StepCosts
from halflap.engine.work import Work
from halflap.errors import (
    ConstraintError,
    ContextOverflowError,
    InvalidRequestError,
    NotRegisteredError,
    RequestTimeoutError,
    SamplerError,
)
from halflap.stream import Stream
from tests.any_device.conftest import drained
from tests.any_device.leaks import resident

KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("qwen3-base", {"draft": "lookup"}),
    ("gemma3-base", {"policy": "fair"}),
    ("qwen35-dense", {"draft": "pairs"}),
)
"""Full attention, windows, recurrent state."""
CTX = 160
ROOM = 400
"""Tokens of the pool that all requests share: fewer than two that are as long as the context, and some more."""
THREADS = 4
PATIENCE = 120.0

WRONG: tuple[dict[str, Any], ...] = (
    {"temprature": 1.0},
    {"top_p": 2.0},
    {"max_tokens": -1},
    {"samplers": ["top_q"]},
    {"logit_bias": {10**6: 1.0}},
    {"overflow": "drop_newest"},
    {"adapters": {"absent": 1.0}},
    {"regex": "a("},
)
FORMS: tuple[dict[str, Any], ...] = (
    {"regex": "[a-z]{2,9}( [0-9]+)*"},
    {"choice": ["red", "red and blue", "blue"]},
    {"grammar": 'root ::= "(" root* ")"'},
    {"json_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "yes"]}}}},
)


class Fails:
    """A sampler that leaves everything as it is until its `after`-th token."""

    def __init__(self, after: int) -> None:
        self.left = after

    def apply(self, c: Any) -> Any:
        if self.left == 0:
            raise ZeroDivisionError("soak")
        self.left -= 1
        return c

    def accept(self, token: int) -> None: ...


class Pairs:
    """A drafter that expects of the last two tokens what followed them before, in whatever answer; else anything."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], int] = {}

    def draft(self, works: Sequence[Work], most: Sequence[int]) -> list[list[int]]:
        for work in works:
            self.known.update({(a, b): c for a, b, c in zip(work.ids[-9:], work.ids[-8:], work.ids[-7:], strict=False)})
        drafts = []
        for work, length in zip(works, most, strict=True):
            ids = work.ids[-2:]
            while len(ids) < length + 2:
                ids.append(self.known.get((ids[-2], ids[-1]), 7 * ids[-1] % 290) if len(ids) > 1 else 5)
            drafts.append(ids[2:])
        return drafts

    def close(self) -> None: ...


class Plugin:
    @staticmethod
    @halflap.hookimpl
    def register_samplers(register: Callable[..., None]) -> None:
        register("fails", Fails)

    @staticmethod
    @halflap.hookimpl
    def register_drafters(register: Callable[..., None]) -> None:
        register("pairs", Pairs)


@pytest.fixture(autouse=True)
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(StepCosts, "of", lambda self, tokens: 1.0)  # as if every guess were free
    halflap.plugins.register(Plugin, name="soak")
    yield
    halflap.plugins.unregister("soak")


@frozen
class Wish:
    """What one caller does.

    Attributes:
        how: "whole", "cancel", "drop", "several", "fail", "late", "wrong", "long", "logits", "logprobs" or "embed".
        options: those that the answer depends on.
        manner: those that it must not depend on.
        count: events until it cancels, tokens until its sampler fails, answers, or rows.
    """

    how: str
    prompt: list[int] = field(repr=False)
    options: dict[str, Any]
    manner: dict[str, Any]
    count: int


def wishes(seed: int, caller: int, count: int) -> Iterator[Wish]:
    """One caller's random wishes, whose prompts begin like those of the others."""
    rng = random.Random(seed)
    stems = [[rng.randrange(5, 295) for _ in range(rng.choice((40, 70, 110, 150)))] for _ in range(3)]
    rng = random.Random(seed * 100 + caller)
    kinds = {"whole": 40, "cancel": 12, "drop": 6, "several": 6, "fail": 8, "late": 6, "wrong": 6, "long": 4}
    kinds |= {"logits": 5, "logprobs": 4, "embed": 5}
    for _ in range(count):
        stem = rng.choice(stems)
        shared, new = rng.choice((len(stem), rng.randrange(len(stem)))), rng.randint(1, 8)
        prompt = [*stem[:shared], *(rng.randrange(5, 295) for _ in range(new))]
        if rng.random() < 0.05:
            prompt = [*prompt, *(rng.randrange(5, 295) for _ in range(CTX))][: CTX - rng.randint(1, 9)]
        how = rng.choices(list(kinds), list(kinds.values()))[0]
        options: dict[str, Any] = {"max_tokens": rng.choice((0, 1, 3, 8, 20, 50)), "seed": rng.randrange(1000)}
        options["temperature"] = rng.choice((0.0, 0.7, 1.5))
        options["ignore_eos"] = rng.random() < 0.9
        for name, value in (
            ("logprobs", rng.randrange(3)),
            ("overflow", rng.choice(("drop_oldest", "drop_middle"))),
            ("repeat_penalty", 1.3),
            ("min_p", 0.02),
            ("stop", [chr(97 + rng.randrange(26)) * 2]),
            ("logit_bias", {rng.randrange(295): 2.0}),
        ):
            if rng.random() < 0.2:
                options[name] = value
        if rng.random() < 0.15:
            options |= rng.choice(FORMS)
        manner: dict[str, Any] = {}
        if rng.random() < 0.2:
            manner["cache"] = False
        if rng.random() < 0.3:
            manner["priority"] = rng.randint(-2, 2)
        if rng.random() < 0.3:
            manner["user"] = rng.choice("ab")
        yield Wish(how, prompt, options, manner, rng.randint(1, 4))


def tokens_of(done: Any) -> list[tuple[Any, ...]]:
    return [(t.id, t.logprob, t.top) for t in done.tokens]


def failing(options: dict[str, Any], after: int) -> dict[str, Any]:
    return {**options, "samplers": ["top_k", Use("fails", after=after), "temperature"]}


def begin(model: halflap.Model, wish: Wish) -> Callable[[], Any]:
    """Do what the wish says; what is returned waits for its end, and tells what came of it."""
    options = {**wish.options, **wish.manner}
    if wish.how == "logits":
        return lambda: model.logits(wish.prompt, rows=sorted({i * 37 % len(wish.prompt) for i in range(wish.count)}))
    if wish.how == "logprobs":
        return lambda: model.logprobs(wish.prompt, top=wish.count - 1)
    if wish.how == "embed":
        return lambda: model.embed([wish.prompt, wish.prompt[:3]], pooling=("mean", "last")[wish.count % 2])
    if wish.how == "several":
        streams = model.streams(wish.prompt, wish.count, **options)
        return lambda: [tokens_of(stream.result(PATIENCE)) for stream in streams]
    if wish.how == "wrong":
        with pytest.raises((InvalidRequestError, NotRegisteredError, ConstraintError)):
            model.stream(wish.prompt, **{**options, **WRONG[wish.options["seed"] % len(WRONG)]})
        return list
    if wish.how == "long":
        with pytest.raises(ContextOverflowError):
            model.stream([5] * (CTX + wish.count - 1), **{**options, "overflow": "error"})
        return list
    if wish.how == "fail":
        options = failing(options, wish.count)
    elif wish.how == "late":
        options["timeout"] = (0.0, 0.002, 0.01, 0.05)[wish.count - 1]
    stream = model.stream(wish.prompt, **options)
    if wish.how == "drop":
        list(itertools.islice(stream, wish.count))
        return list
    return lambda: ended(stream, wish)


def ended(stream: Stream, wish: Wish) -> list[tuple[Any, ...]]:
    if wish.how == "cancel":
        list(itertools.islice(stream, wish.count))
        stream.cancel()
    try:
        return tokens_of(stream.result(PATIENCE))
    except (SamplerError, RequestTimeoutError) as error:
        if wish.how != ("fail" if isinstance(error, SamplerError) else "late"):
            raise
        return tokens_of(error.partial)


def alone(model: halflap.Model, wish: Wish) -> Any:
    """The same, but all by itself and with nothing found."""
    if wish.how in ("logits", "logprobs", "embed"):
        return begin(model, wish)()
    options = {**wish.options, "cache": False}
    if wish.how == "several":
        seeds = range(options["seed"], options["seed"] + wish.count)
        return [tokens_of(model.generate(wish.prompt, **{**options, "seed": seed})) for seed in seeds]
    if wish.how in ("drop", "wrong", "long"):
        return []
    return tokens_of(model.generate(wish.prompt, **(failing(options, 10**9) if wish.how == "fail" else options)))


def soak(model: halflap.Model, fresh: halflap.Model, seed: int, count: int) -> None:
    """A round: several threads with some wishes open each, then every outcome against that of the wish alone."""
    outcomes: list[tuple[Wish, Any]] = []
    failures: list[BaseException] = []

    def caller(number: int) -> None:
        rng = random.Random(seed * 31 + number)
        waiting: list[tuple[Wish, Callable[[], Any]]] = []
        try:
            for wish in wishes(seed, number, count // THREADS):
                waiting.append((wish, begin(model, wish)))
                while len(waiting) > 5 or (waiting and rng.random() < 0.3):
                    known, result = waiting.pop(rng.randrange(len(waiting)))
                    outcomes.append((known, result()))
            outcomes.extend((known, result()) for known, result in waiting)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    assert drained(model)
    for wish, found in outcomes:
        wanted = alone(fresh, wish)
        if wish.how in ("logits", "embed"):
            assert np.array_equal(found, wanted), wish
        elif wish.how in ("cancel", "fail", "late"):
            assert found == wanted[: len(found)], wish
            assert wish.how != "fail" or len(found) in (wish.count, len(wanted)), wish
        else:
            assert found == wanted, wish


def opened(kind: str, shared: Path, device: str, **options: Any) -> tuple[halflap.Model, halflap.Model]:
    """With a small pool, and as it is with nothing set."""
    path = shared / "oracle" / "families" / f"{kind}.gguf"
    whole = halflap.plan(path, devices=[device], ctx=CTX)
    room = whole.kv_bytes * ROOM // whole.kv_tokens
    small = halflap.load(path, devices=[device], ctx=CTX, kv_bytes=room, deterministic=True, **options)
    return small, halflap.load(path, devices=[device], ctx=CTX, deterministic=True)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_random_requests_end_as_they_would_alone(
    kind: str, options: dict[str, Any], shared: Path, row_invariant_device: str
) -> None:
    small, fresh = opened(kind, shared, row_invariant_device, **options)
    with small, fresh:
        soak(small, fresh, 1, 60)
        metrics = small.metrics
        assert metrics.preemptions
        assert metrics.cached_tokens


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_ten_thousand_requests_leave_nothing_behind(
    kind: str, options: dict[str, Any], shared: Path, row_invariant_device: str
) -> None:
    small, fresh = opened(kind, shared, row_invariant_device, **options)
    with small, fresh:
        held = []
        for half in range(2):
            for part in range(14):
                soak(small, fresh, 1000 + half * 14 + part, 120)
            held.append(resident())
        assert held[1] <= held[0] + (6 << 20), held
