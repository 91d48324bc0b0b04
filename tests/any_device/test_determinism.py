"""A request's answer is the same to the last bit: alone or in any mix, however cut, guessed at, or made to wait."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

import halflap
from halflap import placement
from halflap.engine.pace import Pace
from halflap.engine.speculation import StepCosts
from halflap.errors import PlanError
from tests.any_device.conftest import drained, usable_devices

CASES = (
    "qwen3-base",
    "gemma3-base",
    "qwen35-dense",
    "mamba2-base",
    "deepseek2-lite",
    "deepseek4-flash",
    "qwen3moe-base",
)
CTX = 256

Answer = list[tuple[int, float | None, tuple[tuple[int, float], ...]]]


@frozen
class Way:
    """One way to compute what must not change.

    Attributes:
        options: those of `load`.
        step_tokens: most tokens of a step.
        paced: most of them that are a prompt's, beside answers.
        room: tokens of the pool that all share; None: enough.
        states: as `placement.STATES`.
        devices: over how many the layers are spread.
    """

    options: dict[str, Any]
    step_tokens: int = placement.STEP_TOKENS
    paced: int | None = None
    room: int | None = None
    states: int = placement.STATES
    devices: int = 1


WAYS = (
    Way({"threads": 1}),
    Way({"threads": 2}),
    Way({"threads": 2}, step_tokens=7),
    Way({"threads": 1}, step_tokens=33),
    Way({"threads": 2}, paced=3),
    Way({"threads": 1, "policy": "fair"}, paced=19, states=1),
    Way({"threads": 2, "draft": "lookup"}),
    Way({"threads": 1, "draft": "lookup"}, step_tokens=45, room=290),
    Way({"threads": 2}, room=290),
    Way({"threads": 2}, devices=2),
)


def requests(seed: int) -> list[tuple[list[int], dict[str, Any]]]:
    """Prompts, of which some begin alike, and their options."""
    rng = random.Random(seed)
    stem = [rng.randrange(5, 295) for _ in range(110)]
    found = []
    for place in range(7):
        prompt = stem[: rng.randrange(len(stem))] * (place % 2) + [rng.randrange(5, 295) for _ in range(1 + 13 * place)]
        options: dict[str, Any] = {"max_tokens": rng.choice((20, 60, 90)), "seed": place, "ignore_eos": True}
        options |= {"temperature": (0.0, 0.8, 1.4)[place % 3], "logprobs": place % 4}
        found.append((prompt, options))
    return found


def bits(done: Any) -> Answer:
    return [(t.id, t.logprob, t.top) for t in done.tokens]


@contextmanager
def opened(path: Path, device: str, way: Way) -> Iterator[halflap.Model]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepCosts, "of", lambda self, tokens: 1.0)  # as if every guess were free
        patch.setattr(placement, "STATES", way.states)
        patch.setattr(placement, "STEP_TOKENS", way.step_tokens)
        if way.paced is not None:
            patch.setattr(Pace, "tokens", lambda self, reading, answering: way.paced)
            patch.setattr(Pace, "measured", lambda self, tokens, seconds: None)
        options: dict[str, Any] = {**way.options, "devices": [device] * way.devices, "ctx": CTX}
        if way.devices > 1:
            options["split"] = [1] * way.devices
        if way.room is not None:
            whole = halflap.plan(path, devices=options["devices"], ctx=CTX)
            options["kv_bytes"] = max(whole.kv_bytes * way.room // whole.kv_tokens, 1)
        with halflap.load(path, deterministic=True, **options) as model:
            yield model


@pytest.mark.parametrize("case", CASES)
def test_an_answer_depends_on_nothing_but_its_request(case: str, shared: Path, row_invariant_device: str) -> None:
    path, asked = shared / "oracle" / "families" / f"{case}.gguf", requests(1)
    with opened(path, row_invariant_device, WAYS[0]) as model:
        wanted = [bits(model.generate(prompt, cache=False, **options)) for prompt, options in asked]
    rng, preemptions = random.Random(2), 0
    for way in WAYS:
        with opened(path, row_invariant_device, way) as model:
            for _ in range(2):  # the second time much is found
                order = rng.sample(range(len(asked)), len(asked))
                streams = {i: model.stream(asked[i][0], priority=rng.randint(0, 1), **asked[i][1]) for i in order}
                found = [bits(streams[i].result(60)) for i in range(len(asked))]
                assert found == wanted, way
            assert drained(model)
            preemptions += model.metrics.preemptions
            assert "draft" not in way.options or model.metrics.drafted_tokens, way
    assert preemptions or case in ("mamba2-base", "deepseek4-flash")  # without blocks, or with ever so large ones


def test_a_device_that_promises_nothing_is_refused(shared: Path) -> None:
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    assert {"reference", "example"} <= set(usable_devices())
    for devices in (["reference"], ["example"], ["cpu", "reference"]):
        with pytest.raises(PlanError, match=r"no feature 'row_invariant'.*deterministic") as raised:
            halflap.load(path, devices=devices, deterministic=True)
        assert raised.value.device is not None
