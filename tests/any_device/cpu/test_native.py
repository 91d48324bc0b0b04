"""The C++ tests, plain and under sanitizers. They need meson, ninja and a compiler, and take minutes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

BACKEND = Path(__file__).resolve().parents[3] / "backends" / "cpu"


def meson() -> list[str]:
    if shutil.which("meson"):
        return ["meson"]
    pytest.importorskip("mesonbuild", reason="meson is not installed")
    return [sys.executable, "-m", "mesonbuild.mesonmain"]


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["none", "address,undefined", "thread"])
def test_kernels_and_pool_in_cpp(tmp_path: Path, sanitizer: str) -> None:
    build = [*meson(), "setup", str(tmp_path / "build"), str(BACKEND), f"-Db_sanitize={sanitizer}", "-Db_lundef=false"]
    if sanitizer != "none":
        build += ["-Dbuildtype=debugoptimized"]
    for command in (build, [*meson(), "test", "-C", str(tmp_path / "build"), "--print-errorlogs", "-t", "4"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


ARM_SETS = {"max": ["portable", "neon", "neondot", "i8mm"], "cortex-a72": ["portable", "neon"]}


def built(folder: Path, *options: str) -> Path:
    """A build folder with the tests whose outputs are compared between machines."""
    for command in (
        [*meson(), "setup", str(folder), str(BACKEND), *options],
        [*meson(), "compile", "-C", str(folder), "matmul_test", "row_ops_test"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return folder


def outputs(command: list[str]) -> tuple[list[str], list[str]]:
    """The sets that a test ran, and the checksums of their outputs, the same for all of them."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return tuple([value for key, _, value in lines if key == wanted] for wanted in ("set", "checksum"))


@pytest.mark.slow
def test_arm_sets_give_the_bits_of_this_machines(tmp_path: Path) -> None:
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool}: docs/cpu-instruction-sets.md says what to install")
    here = built(tmp_path / "here")
    arm = built(tmp_path / "arm", "--cross-file", str(BACKEND / "cross" / "aarch64-linux-gnu.ini"))
    for name in ("matmul_test", "row_ops_test"):
        _, wanted = outputs([str(here / name)])
        for processor, sets in ARM_SETS.items():
            emulator = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", processor]
            assert outputs([*emulator, str(arm / name)]) == (sets, wanted)


def test_every_gap_says_what_and_what_it_costs() -> None:
    gaps = tomllib.loads((BACKEND / "gaps.toml").read_text())["gap"]
    assert all(set(gap) == {"what", "cost"} for gap in gaps)


def test_the_python_side_stays_small() -> None:
    assert len((BACKEND / "halflap_cpu" / "__init__.py").read_text().splitlines()) <= 60
