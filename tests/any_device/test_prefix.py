"""What was computed once is found again, on every kind of state, and the answers stay the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import halflap
from halflap.errors import ContextOverflowError
from halflap.events import Prefill
from tests.any_device.conftest import drained, row_invariant_devices
from tests.models.oracle import RECURRENT_CASES

WINDOWED_CASES = (
    "gemma2-base",
    "gemma3-base",
    "gemma4-ple",
    "gptoss-base",
    "cohere2-base",
    "llama4-base",
    "olmo3-base",
)
"""Of the oracle's families, those whose graph has a group with a window."""


AGAIN = 64
"""Tokens that may be computed twice: two blocks."""
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "logprobs": 0}


@pytest.fixture(params=["qwen3-base", "deepseek2-lite", "deepseek4-flash", *WINDOWED_CASES, *RECURRENT_CASES])
def model(request: pytest.FixtureRequest, shared: Path, device_name: str) -> Iterator[halflap.Model]:
    path = shared / "oracle" / "families" / f"{request.param}.gguf"
    with halflap.load(path, devices=[device_name], ctx=512, kv_bytes=1 << 26) as loaded:
        yield loaded


def text(seed: int, length: int) -> list[int]:
    return [(i * i * 7 + seed * 131 + i * 13) % 290 + 5 for i in range(length)]


def ask(model: halflap.Model, ids: list[int], **options: Any) -> tuple[list[tuple[int, float | None]], int]:
    """The answer's tokens and their logprobs, and how many tokens of the prompt were found."""
    done = model.generate(ids, **{**GREEDY, **options})
    assert done.timings.cache_n == done.usage.cached_tokens
    assert done.timings.cache_n + done.timings.prompt_n == len(ids)
    return [(t.id, t.logprob) for t in done.tokens], done.usage.cached_tokens


def test_a_second_turn_computes_what_is_new_and_at_most_two_blocks_more(model: halflap.Model) -> None:
    first = text(1, 150)
    answer, cached = ask(model, first, max_tokens=70)
    assert cached == 0
    turn = [*first, *(token for token, _ in answer), *text(2, 40)]
    _, cached = ask(model, turn, max_tokens=4)
    assert cached >= len(first) + len(answer) - AGAIN
    fresh, none = ask(model, turn, max_tokens=4, cache=False)
    assert none == 0
    found, cached = ask(model, turn, max_tokens=4)
    assert cached >= len(turn) - AGAIN
    if set(model.plan.devices) <= set(row_invariant_devices()):
        assert found == fresh


def test_a_turn_that_drops_the_thinking_of_the_last_resumes_before_it(model: halflap.Model) -> None:
    first = text(3, 170)
    answer, _ = ask(model, first, max_tokens=90)
    thought = 60
    turn = [*first, *(token for token, _ in answer[thought:]), *text(4, 30)]
    computed = model.metrics.prompt_tokens
    _, cached = ask(model, turn, max_tokens=2)
    assert cached >= len(first) - AGAIN
    assert model.metrics.prompt_tokens - computed == len(turn) - cached


def test_prompts_that_begin_alike_are_read_once(model: halflap.Model) -> None:
    shared_part = text(5, 192)
    streams = [model.stream([*shared_part, *text(10 + i, 9)], max_tokens=3, **GREEDY) for i in range(5)]
    found = [[(t.id, t.logprob) for t in s.result().tokens] for s in streams]
    alone = [ask(model, [*shared_part, *text(10 + i, 9)], max_tokens=3, cache=False)[0] for i in range(5)]
    assert [[t for t, _ in each] for each in found] == [[t for t, _ in each] for each in alone]
    assert model.metrics.cached_tokens >= 3 * 128


def test_the_first_event_tells_what_was_found(model: halflap.Model) -> None:
    ids = text(6, 130)
    ask(model, ids, max_tokens=1)
    events = list(model.stream(ids, max_tokens=1, **GREEDY))
    assert isinstance(events[0], Prefill)
    assert events[0].cached >= 130 - AGAIN


def test_nothing_is_held_when_all_is_done_but_kept(model: halflap.Model) -> None:
    ask(model, text(7, 140), max_tokens=8)
    assert drained(model)
    metrics = model.metrics
    assert any(metrics.blocks_cached.values()) or any(metrics.slots_cached.values())


def test_several_answers_to_one_prompt_read_it_once(model: halflap.Model) -> None:
    prompt = text(8, 200)
    options: dict[str, Any] = {"max_tokens": 5, "temperature": 1.5, "ignore_eos": True}
    before = model.metrics.prompt_tokens
    found = [s.result() for s in model.streams(prompt, 4, seed=3, **options)]
    assert model.metrics.prompt_tokens - before <= len(prompt) + 3 * AGAIN
    alone = [model.generate(prompt, seed=3 + i, cache=False, **options) for i in range(4)]
    if set(model.plan.devices) <= set(row_invariant_devices()):
        assert [done.tokens for done in found] == [done.tokens for done in alone]


def test_many_long_prompts_in_a_small_pool_make_room_and_answer_as_if_alone(
    shared: Path, row_invariant_device: str
) -> None:
    device_name = row_invariant_device
    for case in ("qwen3-base", "gemma3-base", "qwen35-dense"):
        path = shared / "oracle" / "families" / f"{case}.gguf"
        prompts = [text(20 + i, 40 + 17 * i) for i in range(8)]
        options: dict[str, Any] = {"max_tokens": 60, "temperature": 0.8, "ignore_eos": True}
        whole = halflap.plan(path, devices=[device_name], ctx=256)
        room = whole.kv_bytes * 300 // whole.kv_tokens
        with halflap.load(path, devices=[device_name], ctx=256, kv_bytes=room) as small:
            streams = [small.stream(p, seed=i, **options) for i, p in enumerate(prompts)]
            found = [[t.id for t in s.result().tokens] for s in streams]
            preempted = small.metrics.preemptions
        with halflap.load(path, devices=[device_name], ctx=256) as model:
            alone = [[t.id for t in model.generate(p, seed=i, **options).tokens] for i, p in enumerate(prompts)]
        assert found == alone
        assert preempted, case


def test_a_system_message_is_resumed_behind_by_another_chat(shared: Path) -> None:
    system = {"role": "system", "content": "You are a careful clerk who answers in few words. " * 4}
    with halflap.load("starter") as model:
        first = model.chat([system, {"role": "user", "content": "What is 2+3?"}], max_tokens=4)
        done = model.chat(
            [system, {"role": "user", "content": "Name a colour, and say why you like it."}], max_tokens=4
        )
        assert done.usage.cached_tokens >= first.usage.prompt_tokens - 64 - 16


@pytest.mark.parametrize("how", ["drop_oldest", "drop_middle"])
def test_an_answer_goes_on_beyond_the_context_where_the_request_says_so(
    shared: Path, device_name: str, how: Any
) -> None:
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with halflap.load(path, devices=[device_name], ctx=64) as model:
        prompt = text(9, 50)
        done = model.generate(prompt, max_tokens=60, overflow=how, **GREEDY)
        assert done.usage.completion_tokens == 60
        assert done.usage.prompt_tokens == 50
        ids = list(prompt)
        for token in done.tokens:  # the same by hand, without anything kept
            if len(ids) >= 64:
                ids = ids[:1] + ids[-31:] if how == "drop_oldest" else ids[:16] + ids[-16:]
            row = model.logits(ids, rows=[-1 % len(ids)])[0]
            assert row[token.id] >= row.max() - 1e-3
            ids.append(token.id)
        long = model.generate(text(10, 200), max_tokens=3, overflow=how, **GREEDY)
        assert long.usage.completion_tokens == 3
        with pytest.raises(ContextOverflowError):
            model.generate(text(10, 200), max_tokens=3)
