"""Loading and closing again and again leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import halflap
from halflap.errors import HalflapError
from tests.any_device.leaks import Held, allocated, one_round


@pytest.fixture
def file(shared: Path) -> Path:
    return shared / "oracle" / "families" / "qwen3-base.gguf"


def test_rounds_of_load_and_close_leave_no_file_map_thread_or_byte(file: Path, device_name: str) -> None:
    for _ in range(5):
        one_round(file, device_name)
    before, bytes_before = Held.now(), allocated(device_name)
    for _ in range(20):
        one_round(file, device_name)
    assert Held.now() == before
    assert before.maps == 0
    assert allocated(device_name) == bytes_before
    assert bytes_before in (0, None)


def test_a_load_that_fails_leaves_nothing(file: Path, device_name: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:200_000])

    def fail(path: Path, **options: object) -> None:
        with pytest.raises(HalflapError):
            halflap.load(path, devices=[device_name], **options)  # type: ignore[arg-type]

    def round_() -> None:
        fail(cut)
        fail(file, kv_bytes=1)
        fail(file, ctx=1 << 24, kv_type="f32", kv_bytes=1 << 60)
        fail(file, kv_type="q7_0")
        fail(file, split=[1, 2])

    round_()
    before = Held.now()
    for _ in range(10):
        round_()
    assert Held.now() == before
    assert allocated(device_name) in (0, None)


def test_a_model_that_is_dropped_is_closed(file: Path, device_name: str) -> None:
    halflap.load(file, devices=[device_name], ctx=64).close()
    before = Held.now()
    for _ in range(5):
        model = halflap.load(file, devices=[device_name], ctx=64)
        model.generate([5], max_tokens=2)
        del model
    assert Held.now() == before


def test_a_script_that_ends_in_mid_answer_ends_well(file: Path, device_name: str) -> None:
    script = (
        "import halflap, sys\n"
        "model = halflap.load(sys.argv[1], devices=[sys.argv[2]])\n"
        "stream = model.stream([5, 6, 7], ignore_eos=True)\n"
        "next(iter(stream))\n"
        "print('leaving')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file), device_name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n", "")


@pytest.mark.slow
def test_from_round_20_to_200_the_process_grows_by_at_most_2_megabytes(file: Path, device_name: str) -> None:
    script = Path(__file__).resolve().parent.parent / "bench" / "bars" / "leaks"
    done = subprocess.run([sys.executable, script, str(file), device_name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
