"""Models with recurrent state through the public API: right tokens, many callers, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import halflap
from halflap.events import Finish
from tests.any_device.conftest import drained
from tests.models.oracle import RECURRENT_CASES


@pytest.fixture(params=RECURRENT_CASES)
def path(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "oracle" / "families" / f"{request.param}.gguf"


def test_logits_and_greedy_tokens_equal_the_oracle(path: Path, device_name: str) -> None:
    answers = np.load(path.with_suffix(".npz"))
    ids, wanted = answers["tokens"].tolist(), answers["logits_hf"]
    with halflap.load(path, devices=[device_name], kv_type="f32", ctx=400) as model:
        assert np.abs(model.logits(ids) - wanted).max() < 2e-3 * np.abs(wanted).max()
        for _ in range(2):  # the second time in a slot that was used before
            done = model.generate(ids, max_tokens=8, temperature=0)
            assert [t.id for t in done.tokens] == answers["greedy"].tolist()
        assert drained(model)


def test_many_at_once_get_what_each_would_get_alone(path: Path, device_name: str) -> None:
    prompts = [[(i * 13 + j * 7) % 300 + 5 for j in range(1 + 5 * i)] for i in range(6)]
    with halflap.load(path, devices=[device_name], kv_type="f32", ctx=400) as model:
        alone = [model.generate(p, max_tokens=6, temperature=0).text for p in prompts]
        streams = [model.stream(p, max_tokens=6, temperature=0) for p in prompts]
        assert [stream.result().text for stream in streams] == alone
        assert drained(model)


def test_cancel_frees_the_slot(path: Path, device_name: str) -> None:
    with halflap.load(path, devices=[device_name], ctx=400) as model:
        stream = model.stream([5, 6, 7], max_tokens=100, ignore_eos=True)
        iterator = iter(stream)
        next(iterator)
        stream.cancel()
        (*_, last) = iterator
        assert isinstance(last, Finish)
        assert last.reason == "cancelled"
        assert drained(model)


def test_a_hybrid_over_two_devices_gives_the_same_logits(path: Path, device_name: str) -> None:
    answers = np.load(path.with_suffix(".npz"))
    ids, wanted = answers["tokens"].tolist(), answers["logits_hf"]
    for pair in ([device_name, device_name], ["reference", device_name]):
        with halflap.load(path, devices=pair, split=[1, 1], kv_type="f32", ctx=400) as model:
            assert len(model.plan.placed) == 2
            assert all(placed.slots for placed in model.plan.placed)
            assert np.abs(model.logits(ids) - wanted).max() < 2e-3 * np.abs(wanted).max()
            done = model.generate(ids, max_tokens=8, temperature=0)
            assert [t.id for t in done.tokens] == answers["greedy"].tolist()


def test_row_invariant_devices_give_the_same_bits_in_any_mix(path: Path, row_invariant_device: str) -> None:
    prompts = [[(i * 31 + j * 17) % 300 + 5 for j in range(1 + 9 * i)] for i in range(5)]
    with halflap.load(path, devices=[row_invariant_device], ctx=400) as model:

        def ask(i: int) -> halflap.Stream:
            return model.stream(prompts[i], max_tokens=6, seed=i, temperature=1.3, logprobs=0, ignore_eos=True)

        alone = [[(t.id, t.logprob) for t in ask(i).result().tokens] for i in range(len(prompts))]
        for order in (range(5), reversed(range(5))):
            streams = {i: ask(i) for i in order}
            assert [[(t.id, t.logprob) for t in streams[i].result().tokens] for i in range(5)] == alone
