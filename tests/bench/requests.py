"""The whole engine on a bench model: requests, and the seconds that its devices took of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import halflap
from halflap.engine.runner import Runner

PROMPT, ANSWER = 128, 128


class DeviceTime:
    """Seconds inside `Runner.run`, on every engine of the process."""

    def __init__(self) -> None:
        self.seconds, self.steps = 0.0, 0


@contextmanager
def device_time() -> Iterator[DeviceTime]:
    found, run = DeviceTime(), Runner.run

    def timed(self: Runner, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return run(self, *args, **kwargs)
        finally:
            found.seconds += time.perf_counter() - began
            found.steps += 1

    Runner.run = timed  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Runner.run = run  # type: ignore[method-assign]


def prompt(model: halflap.Model, number: int, length: int = PROMPT) -> list[int]:
    """Token ids that no other number shares."""
    return [(number * 7919 + i * 31) % (model.info.vocab - 10) + 5 for i in range(length)]


def answer(model: halflap.Model, numbers: Sequence[int], length: int = ANSWER, **options: Any) -> float:
    """Have these prompts answered at once; returns seconds."""
    began = time.perf_counter()
    streams = [model.stream(prompt(model, n), max_tokens=length, ignore_eos=True, seed=n, **options) for n in numbers]
    for stream in streams:
        assert len(stream.result().tokens) == length
    return time.perf_counter() - began
