"""A prefix that was saved resumes another process's model, and nothing but the right file is taken."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

import halflap
from halflap.errors import DeviceMemoryError, HalflapError, InvalidRequestError, ModelFormatError, ModelNotFoundError
from tests.any_device.conftest import drained, row_invariant_devices

GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 6, "ignore_eos": True, "logprobs": 0}
PROMPT = [(i * i * 7 + i * 13) % 290 + 5 for i in range(150)]


@pytest.mark.parametrize("case", ["qwen3-base", "gemma3-base", "qwen35-dense", "mamba2-base", "deepseek2-lite"])
def test_a_later_process_resumes_behind_it(case: str, shared: Path, device_name: str, tmp_path: Path) -> None:
    path, file = shared / "oracle" / "families" / f"{case}.gguf", tmp_path / "prefix"
    with halflap.load(path, devices=[device_name], ctx=256) as model:
        covered = model.save_prefix(PROMPT, file)
        assert len(PROMPT) - 64 <= covered <= len(PROMPT)
        wanted = model.generate(PROMPT, cache=False, **GREEDY)
    assert [each.name for each in tmp_path.iterdir()] == ["prefix"]
    for devices in ([device_name], ["reference", device_name]):
        with halflap.load(path, devices=devices, split=[1] * len(devices), ctx=256) as model:
            assert model.load_prefix(file) == covered
            assert model.load_prefix(file) == covered
            done = model.generate(PROMPT, **GREEDY)
            assert done.usage.cached_tokens == covered
            if devices == [device_name] and device_name in row_invariant_devices():
                assert done.tokens == wanted.tokens
            assert [t.id for t in done.tokens] == [t.id for t in wanted.tokens]
            assert drained(model)


def test_another_model_another_kv_type_and_too_small_a_pool_are_refused(shared: Path, tmp_path: Path) -> None:
    folder, file = shared / "oracle" / "families", tmp_path / "prefix"
    with halflap.load(folder / "qwen3-base.gguf", devices=["cpu"], ctx=256) as model:
        model.save_prefix(PROMPT, file)
        with pytest.raises(InvalidRequestError, match="want at least 32"):
            model.save_prefix([5] * 20, tmp_path / "short")
        with pytest.raises(InvalidRequestError, match="prefix file"):
            model.save_prefix(PROMPT, tmp_path / "no" / "folder")
        with pytest.raises(ModelNotFoundError):
            model.load_prefix(tmp_path / "absent")
    for other, options in (("qwen2-base", {}), ("qwen3-base", {"kv_type": "q8_0"})):
        with (
            halflap.load(folder / f"{other}.gguf", devices=["cpu"], ctx=256, **options) as model,  # type: ignore[arg-type]
            pytest.raises(InvalidRequestError, match="another model"),
        ):
            model.load_prefix(file)
    with halflap.load(folder / "qwen3-base.gguf", devices=["cpu"], ctx=96, kv_bytes=40_000) as model:
        with pytest.raises(DeviceMemoryError, match="no room"):
            model.load_prefix(file)
        assert drained(model)
        assert model.generate([5, 6], **GREEDY).usage.completion_tokens == 6


def test_damaged_files_are_refused_and_leave_nothing(shared: Path, tmp_path: Path) -> None:
    file, wrong = tmp_path / "prefix", tmp_path / "wrong"
    with halflap.load(shared / "oracle" / "families" / "qwen3-base.gguf", devices=["cpu"], ctx=256) as model:
        model.save_prefix(PROMPT, file)
        whole, rng = file.read_bytes(), random.Random(1)
        start = whole.index(b"{")
        for case in range(150):
            data = bytearray(whole)
            if case % 3 == 0:
                data = data[: rng.randrange(len(data))]
            else:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            if case % 3 == 2:  # a header that lies, with the right sum
                place = rng.randrange(start, start + 400)
                data = bytearray(whole)
                data[place] = rng.choice(b'0123456789[]{}",')
                data[-32:] = hashlib.blake2b(data[:-32], digest_size=32).digest()
            wrong.write_bytes(data)
            try:
                model.load_prefix(wrong)
            except (ModelFormatError, InvalidRequestError, DeviceMemoryError):
                pass
            except HalflapError as error:
                raise AssertionError(f"case {case}") from error
        assert drained(model)
        assert model.load_prefix(file) == 128
