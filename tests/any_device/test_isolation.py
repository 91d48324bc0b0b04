"""Devices in a process of their own: its death is an error, or not even that; never the host's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halflap
from halflap.engine.request import Request
from halflap.errors import DeviceLostError, InvalidRequestError, ModelClosedError, ModelNotFoundError, PlanError
from halflap.events import Finish, Prefill, Text
from halflap.isolation import IsolatedModel
from halflap.stream import Channel, Stream

LONG: dict[str, Any] = {"max_tokens": 120, "ignore_eos": True}


def isolated(path: Path | str, **options: Any) -> IsolatedModel:
    model = halflap.load(path, isolation="process", **{"ctx": 256, "devices": ["cpu"], **options})
    assert isinstance(model, IsolatedModel)
    return model


@pytest.fixture
def path(shared: Path) -> Path:
    return shared / "oracle" / "families" / "qwen3-base.gguf"


def test_the_same_answers_as_in_one_process(path: Path, tmp_path: Path) -> None:
    prompt = [(i * 7) % 300 + 5 for i in range(70)]
    with halflap.load(path, devices=["cpu"], ctx=256) as model, isolated(path) as child:
        assert child.info == model.info
        assert child.plan.limits == model.plan.limits
        for seed in range(3):
            options: dict[str, Any] = {**LONG, "seed": seed, "temperature": 1.1, "logprobs": 2}
            assert child.generate(prompt, **options).tokens == model.generate(prompt, **options).tokens
        np.testing.assert_array_equal(child.logits(prompt, rows=[3, 9]), model.logits(prompt, rows=[3, 9]))
        np.testing.assert_array_equal(child.embed(["a", "bc"]), model.embed(["a", "bc"]))
        assert child.logprobs(prompt, top=2) == model.logprobs(prompt, top=2)
        with pytest.raises(InvalidRequestError, match="scores"):
            child.rank("a", ["b"])
        assert child.save_prefix(prompt, tmp_path / "p") == 64 == child.load_prefix(tmp_path / "p")
        assert child.metrics.generated_tokens == 360
        events = list(child.stream(prompt, max_tokens=3, temperature=0))
        assert isinstance(events[0], Prefill)
        assert isinstance(events[-1], Finish)
        with pytest.raises(InvalidRequestError, match="temprature"):
            child.stream("x", temprature=1)  # type: ignore[call-arg]
        with pytest.raises(InvalidRequestError, match="token id"):
            child.stream([99999])
        stream = child.stream(prompt, **{**LONG, "max_tokens": 180})
        next(e for e in stream if isinstance(e, Text))
        stream.cancel()
        assert stream.result().finish_reason == "cancelled"
    with pytest.raises(ModelClosedError):
        child.generate("x")
    child.close()


def test_chats_with_thinking_and_tools_pass_through() -> None:
    messages = [{"role": "user", "content": "What is 12+30?"}]
    with halflap.load("starter") as model, isolated("starter", ctx=None) as child:
        options: dict[str, Any] = {"temperature": 0, "enable_thinking": True}
        wanted, found = model.chat(messages, **options), child.chat(messages, **options)
        assert (found.text, found.reasoning) == (wanted.text, wanted.reasoning)
        assert child.chat_format == model.chat_format
        assert child.apply_template(messages, reasoning="on") == model.apply_template(messages, reasoning="on")
        assert child.count(Request(messages=messages)) == model.count(Request(messages=messages))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_child_is_a_typed_error_with_what_there_was(path: Path, number: int) -> None:
    with isolated(path) as child:
        streams = [child.stream([5, i], **LONG) for i in range(3)]
        iterator = iter(streams[0])
        while not isinstance(next(iterator), Text):
            pass
        os.kill(child.child.pid, number)
        for stream in streams:
            with pytest.raises(DeviceLostError, match=signal.Signals(number).name) as raised:
                stream.result()
            assert raised.value.partial is not None
        with pytest.raises(DeviceLostError):
            child.generate("x")
        with pytest.raises(DeviceLostError):
            child.metrics  # noqa: B018
    assert child.child._process.returncode is not None


@pytest.mark.parametrize("case", ["qwen3-base", "qwen35-dense"])
def test_with_restart_every_request_goes_on_from_its_tokens(case: str, shared: Path) -> None:
    path = shared / "oracle" / "families" / f"{case}.gguf"
    asked: list[dict[str, Any]] = [
        {**LONG, "max_tokens": 200, "temperature": 0},
        {**LONG, "max_tokens": 200, "temperature": 1.0, "seed": 5, "repeat_penalty": 1.2, "logprobs": 1},
        {**LONG, "max_tokens": 200, "temperature": 0.8, "seed": 6, "xtc_probability": 0.5},
    ]
    with halflap.load(path, devices=["cpu"], ctx=256) as model:
        wanted = [model.generate([5, 6, i], **options) for i, options in enumerate(asked)]
    with isolated(path, restart=True) as child:
        streams = [child.stream([5, 6, i], **options) for i, options in enumerate(asked)]
        killed = 0
        for event in streams[0]:
            if isinstance(event, Text) and killed < 2:
                os.kill(child.child.pid, signal.SIGKILL)
                killed += 1
        found = [stream.result() for stream in streams]
        assert [done.text for done in found] == [done.text for done in wanted]
        assert [[t.id for t in done.tokens] for done in found] == [[t.id for t in done.tokens] for done in wanted]
        assert child.child.restarts >= 1
        assert [done.usage.completion_tokens for done in found] == [200] * 3


def test_a_child_that_cannot_be_started_again_fails_what_waits(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.gguf"
    copy.write_bytes(path.read_bytes())
    with isolated(copy, restart=True) as child:
        stream = child.stream([5, 6], **LONG)
        copy.unlink()
        os.kill(child.child.pid, signal.SIGKILL)
        with pytest.raises(ModelNotFoundError):
            stream.result()


def test_what_is_wrong_with_the_load_is_raised_here(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        isolated(tmp_path / "none.gguf")
    with pytest.raises(PlanError):
        isolated(path, split=[1, 2, 3])


def test_a_host_that_ends_takes_its_child_along(path: Path) -> None:
    code = (
        "import halflap, sys, time\n"
        f"m = halflap.load({str(path)!r}, isolation='process', devices=['cpu'], ctx=128)\n"
        "m.stream([5, 6], max_tokens=100, ignore_eos=True)\n"
        "print(m.child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        host.kill()
    ended = threading.Event()
    for _ in range(1000):
        if not _alive(pid):
            break
        ended.wait(0.02)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("stop", [None, "words"])
def test_an_answer_whose_last_token_was_out_ends_there_when_taken_up(path: Path, stop: str | None) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
    with halflap.load(path, devices=["cpu"], ctx=64) as model:
        whole = model.generate([5, 6], **options)
        said = [t.id for t in whole.tokens]
        if stop:
            options |= {"max_tokens": 40, "stop": whole.text[3:6]}
        channel = Channel()
        model.start(model.prepare(Request(prompt=[5, 6], options=options), channel.put, said))
        done = Stream(channel, lambda: None).result(60)
        assert done.finish_reason == ("stop" if stop else "length")
        assert done.usage.completion_tokens == 12


def test_an_answer_that_outgrew_the_context_is_taken_up_where_it_was(path: Path) -> None:
    options: dict[str, Any] = {"max_tokens": 90, "temperature": 0, "ignore_eos": True, "overflow": "drop_oldest"}
    with halflap.load(path, devices=["cpu"], ctx=64) as model:
        whole = [t.id for t in model.generate([5, 6], **options).tokens]
        channel = Channel()
        model.start(model.prepare(Request(prompt=[5, 6], options=options), channel.put, whole[:75]))
        assert [t.id for t in Stream(channel, lambda: None).result(60).tokens if t.id >= 0][-15:] == whole[75:]
