"""The public API on every device: right tokens, many callers at once, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import halflap
from halflap.errors import (
    ContextOverflowError,
    InvalidRequestError,
    ModelClosedError,
    NotRegisteredError,
    RequestTimeoutError,
    SamplerError,
)
from halflap.events import Finish, Prefill, Text
from halflap.text.chat.contract import PlainParser
from tests.any_device.conftest import drained, row_invariant_devices


@pytest.fixture
def answers(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "oracle" / "families" / "qwen3-base.npz"))


def test_logits_and_greedy_tokens_equal_the_oracle(model: halflap.Model, answers: dict[str, np.ndarray]) -> None:
    ids = answers["tokens"].tolist()
    found = model.logits(ids)
    assert found.dtype == np.float32
    assert np.abs(found - answers["logits_hf"]).max() < 2e-3 * np.abs(answers["logits_hf"]).max()
    np.testing.assert_allclose(model.logits(ids, rows=[3, 7]), found[[3, 7]], atol=1e-4)
    np.testing.assert_allclose(model.logits(ids, rows=slice(-2, None)), found[-2:], atol=1e-4)
    done = model.generate(ids, max_tokens=8, temperature=0)
    assert [t.id for t in done.tokens] == answers["greedy"].tolist()
    assert done.finish_reason == "length"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (len(ids), 8)


def test_a_prompt_longer_than_a_step_is_read_in_chunks(model: halflap.Model) -> None:
    ids = [(7 * i) % 300 + 5 for i in range(200)]
    events = list(model.stream(ids, max_tokens=1, temperature=0))
    assert [e for e in events if isinstance(e, Prefill)][-1] == Prefill(200, 200)
    assert isinstance(events[-1], Finish)


def test_many_threads_get_what_each_would_get_alone(model: halflap.Model) -> None:
    prompts = [[(i * 13 + j * 7) % 300 + 5 for j in range(3 + 11 * i)] for i in range(12)]
    alone = [model.generate(p, max_tokens=6, temperature=0).text for p in prompts]
    found: list[str] = [""] * len(prompts)

    def ask(i: int) -> None:
        found[i] = model.generate(prompts[i], max_tokens=6, temperature=0).text

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
    assert drained(model)


def test_async_callers_share_the_engine(model: halflap.Model) -> None:
    async def main() -> list[str]:
        streams = [model.stream([5 + i, 9], max_tokens=4, temperature=0, ignore_eos=True) for i in range(4)]
        done = await asyncio.gather(*[_collect(s) for s in streams])
        again = await model.stream([5, 9], max_tokens=4, temperature=0, ignore_eos=True)
        assert again.text == done[0]
        return done

    async def _collect(stream: halflap.Stream) -> str:
        return "".join([e.text async for e in stream if isinstance(e, Text)])

    assert len(asyncio.run(main())) == 4


def test_cancel_ends_the_stream_and_frees_its_blocks(model: halflap.Model) -> None:
    stream = model.stream([5, 6, 7], max_tokens=200, ignore_eos=True)
    iterator = iter(stream)
    next(iterator)
    stream.cancel()
    events = list(iterator)
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "cancelled"
    assert stream.result().finish_reason == "cancelled"
    assert drained(model)


def test_dropping_a_stream_cancels_it(model: halflap.Model) -> None:
    for _ in range(5):
        model.stream([5, 6], max_tokens=250, ignore_eos=True)
    gc.collect()
    assert drained(model)


def test_sampling_is_reproducible_by_seed(model: halflap.Model) -> None:
    def draw(seed: int) -> str:
        return model.generate([5, 6], max_tokens=12, seed=seed, temperature=2.0, ignore_eos=True).text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(6)}) > 1


def test_stop_strings_end_the_answer_before_them(model: halflap.Model) -> None:
    options = {"max_tokens": 30, "temperature": 0.0, "ignore_eos": True}
    whole = model.generate([5, 6], **options).text  # type: ignore[arg-type]
    stop = whole[6:9]
    done = model.generate([5, 6], stop=stop, **options)  # type: ignore[arg-type]
    assert done.text == whole[: whole.index(stop)]
    assert done.finish_reason == "stop"


def test_logprobs_are_of_the_chosen_and_the_likeliest(model: halflap.Model) -> None:
    token = model.generate([5, 6], max_tokens=1, temperature=0, logprobs=3).tokens[0]
    assert token.top[0] == (token.id, token.logprob)
    assert len(token.top) == 3
    row = model.logits([5, 6], rows=[1])[0].astype(np.float64)
    assert token.logprob == pytest.approx(row[token.id] - np.log(np.exp(row).sum()), abs=1e-4)


def test_logprobs_of_a_prompt_are_those_of_its_logits(model: halflap.Model, answers: dict[str, np.ndarray]) -> None:
    ids = [*answers["tokens"].tolist(), *((7 * i) % 300 + 5 for i in range(70))]
    rows = model.logits(ids).astype(np.float64)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    tokens = model.logprobs(ids, top=3)
    assert [t.id for t in tokens] == ids[1:]
    for token, row in zip(tokens, rows, strict=False):
        assert token.logprob == pytest.approx(row[token.id], abs=1e-4)
        best = sorted(range(len(row)), key=lambda i: -row[i])[:3]
        np.testing.assert_allclose([chance for _, chance in token.top], row[best], atol=1e-4)
        np.testing.assert_allclose(row[[i for i, _ in token.top]], row[best], atol=1e-4)
    assert [t.top for t in model.logprobs(ids[:9])] == [()] * 8
    assert len(model.logprobs([5] * 256)) == 255
    assert model.logprobs([5]) == ()
    assert "".join(t.bytes.decode() for t in model.logprobs("abc")).endswith("c")
    with pytest.raises(ContextOverflowError):
        model.logprobs([5] * 257)
    with pytest.raises(InvalidRequestError, match="top"):
        model.logprobs(ids, top=-1)
    with pytest.raises(InvalidRequestError, match="no tokens"):
        model.logprobs([])
    assert drained(model)


def test_embeddings_have_length_one_and_tell_texts_apart(model: halflap.Model, device_name: str) -> None:
    rows = model.embed(["abc", "xyz", "abc"])
    assert rows.shape == (3, model.info.width)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows[0], rows[2], atol=0 if device_name in row_invariant_devices() else 1e-6, rtol=0)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    assert np.abs(model.embed("abc", pooling="last") - model.embed("abc", pooling="cls")).max() > 1e-3


def test_loading_tells_its_stages_in_order(shared: Path, device_name: str) -> None:
    seen: list[halflap.Progress] = []
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    halflap.load(path, devices=[device_name], progress=seen.append).close()
    assert [p.stage for p in seen] == ["file", "tokenizer", "plan", "weights", "ready"]
    assert [(p.done, p.total) for p in seen] == [(i, 4) for i in range(5)]


def test_what_is_wrong_raises_before_anything_runs(model: halflap.Model) -> None:
    steps = model.metrics.steps
    with pytest.raises(InvalidRequestError, match="temprature"):
        model.stream("x", temprature=1)  # type: ignore[call-arg]
    with pytest.raises(ContextOverflowError) as raised:
        model.stream([5] * 400)
    assert (raised.value.n_prompt, raised.value.n_ctx) == (400, 256)
    with pytest.raises(InvalidRequestError, match="token id"):
        model.stream([99999])
    with pytest.raises(InvalidRequestError, match="no tokens"):
        model.stream([])
    with pytest.raises(NotRegisteredError, match="top_q"):
        model.stream("x", samplers=["top_q"])
    with pytest.raises(InvalidRequestError, match="logit_bias"):
        model.stream("x", logit_bias={10**6: 1.0})
    assert model.metrics.steps == steps


def test_the_answer_ends_at_the_context(model: halflap.Model) -> None:
    done = model.generate([5] * 250, ignore_eos=True)
    assert done.finish_reason == "length"
    assert done.usage.completion_tokens == 6


def test_a_deadline_fails_the_request_with_what_there_was(model: halflap.Model) -> None:
    with pytest.raises(RequestTimeoutError) as raised:
        model.generate([5, 6], timeout=0.0, ignore_eos=True)
    assert raised.value.partial is not None
    assert drained(model)


class Explodes:
    def apply(self, c: object) -> object:
        raise ZeroDivisionError("boom")

    def accept(self, token: int) -> None: ...


class ExplodingPlugin:
    @halflap.hookimpl
    def register_samplers(self, register) -> None:  # type: ignore[no-untyped-def]
        register("explodes", Explodes)


def test_a_sampler_that_raises_fails_its_request_only(model: halflap.Model) -> None:
    halflap.plugins.register(ExplodingPlugin(), name="exploding")
    try:
        good = model.stream([5, 6], max_tokens=20, ignore_eos=True)
        with pytest.raises(SamplerError, match="boom"):
            model.generate([5, 6], samplers=["top_k", "explodes"])
        assert good.result().usage.completion_tokens == 20
    finally:
        halflap.plugins.unregister("exploding")


def test_a_parser_that_raises_at_the_end_fails_its_request_only(
    model: halflap.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(self: object) -> list[object]:
        raise ZeroDivisionError("boom")

    with monkeypatch.context() as patch:
        patch.setattr(PlainParser, "finish", boom)
        for options in ({"max_tokens": 3}, {"max_tokens": 0}, {"stop": "a", "max_tokens": 99}):
            with pytest.raises(ZeroDivisionError, match="boom"):
                model.stream([5, 6], ignore_eos=True, **options).result(30)  # type: ignore[arg-type]
        stream = model.stream([5, 6], max_tokens=250, ignore_eos=True)
        next(iter(stream))
        stream.cancel()
        with pytest.raises(ZeroDivisionError, match="boom"):
            stream.result(30)
        with pytest.raises(RequestTimeoutError):
            model.stream([5, 6], timeout=0.0, ignore_eos=True).result(30)
    assert model.generate([5, 6], max_tokens=2, ignore_eos=True).usage.completion_tokens == 2
    assert drained(model)


def test_closing_ends_open_streams_and_may_be_repeated(model: halflap.Model) -> None:
    stream = model.stream([5, 6], max_tokens=250, ignore_eos=True)
    model.close()
    with pytest.raises(ModelClosedError):
        for _ in stream:
            pass
    model.close()
    with pytest.raises(ModelClosedError):
        model.generate("x")


def test_after_a_fork_the_child_gets_an_error_and_the_parent_goes_on(model: halflap.Model) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            model.generate([5, 6], max_tokens=1)
            os.write(write, b"no error")
        except ModelClosedError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = os.read(read, 1000).decode()
    assert str(child) in said
    assert str(os.getpid()) in said
    assert model.generate([5, 6], max_tokens=1).tokens


def test_a_script_that_ends_in_mid_generation_exits_cleanly(shared: Path, device_name: str) -> None:
    code = (
        "import sys, halflap; m = halflap.load(sys.argv[1], devices=[sys.argv[2]]);"
        "s = m.stream([5, 6], max_tokens=400, ignore_eos=True); print(len(list(zip(s, range(2)))))"
    )
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), device_name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "2", "")


def test_one_model_over_two_devices_gives_the_same_logits(
    shared: Path, device_name: str, answers: dict[str, np.ndarray]
) -> None:
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    ids = answers["tokens"].tolist()
    for pair in ([device_name, device_name], [device_name, "reference"], ["reference", device_name]):
        with halflap.load(path, devices=pair, split=[1, 1], kv_type="f32") as model:
            assert len(model.plan.placed) == 2
            assert all(p.segments for p in model.plan.placed)
            error = np.abs(model.logits(ids) - answers["logits_hf"]).max()
            assert error < 2e-3 * np.abs(answers["logits_hf"]).max()
            done = model.generate(ids, max_tokens=8, temperature=0)
            assert [t.id for t in done.tokens] == answers["greedy"].tolist()


@pytest.mark.parametrize("case", ["gemma3-base", "gemma2-base"])
def test_windows_free_blocks_and_answers_stay_right(shared: Path, device_name: str, case: str) -> None:
    """The window is shorter than the prompt; small steps make blocks leave it on the way."""
    path = shared / "oracle" / "families" / f"{case}.gguf"
    stored = np.load(path.with_suffix(".npz"))
    ids = stored["tokens"].tolist()
    with halflap.load(path, devices=[device_name], kv_type="f32") as model:
        done = model.generate(ids, max_tokens=8, temperature=0)
        assert [t.id for t in done.tokens] == stored["greedy"].tolist()
        long = model.stream([(i * 7) % 300 + 5 for i in range(400)], max_tokens=60, ignore_eos=True)
        # Blocks leave with the step that no longer needs them, which may come after the first event is seen here.
        counts = (model.metrics.blocks_used for event in long if isinstance(event, Text))
        assert any(used["window"] < used["kv"] for used in counts)
        long.cancel()
        assert drained(model)


def test_row_invariant_devices_give_the_same_bits_in_any_mix(shared: Path, row_invariant_device: str) -> None:
    """Alone, among others, in one piece or in chunks: sampled tokens and their logprobs are equal to the last bit."""
    prompts = [[(i * 31 + j * 17) % 300 + 5 for j in range(1 + 19 * i)] for i in range(8)]
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with halflap.load(path, devices=[row_invariant_device], ctx=256) as model:

        def ask(i: int) -> halflap.Stream:
            return model.stream(prompts[i], max_tokens=10, seed=i, temperature=1.3, logprobs=0, ignore_eos=True)

        alone = [[(t.id, t.logprob) for t in ask(i).result().tokens] for i in range(len(prompts))]
        for order in (range(8), reversed(range(8)), [3, 1, 4, 0, 5, 2, 6, 7]):
            streams = {i: ask(i) for i in order}
            assert [[(t.id, t.logprob) for t in streams[i].result().tokens] for i in range(len(prompts))] == alone
        answer = [token for token, _ in alone[3]]
        judged = model.logprobs([*prompts[3], *answer])[-len(answer) :]
        assert [(t.id, t.logprob) for t in judged] == alone[3]
