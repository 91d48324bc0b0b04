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


def test_every_gap_says_what_and_what_it_costs() -> None:
    gaps = tomllib.loads((BACKEND / "gaps.toml").read_text())["gap"]
    assert all(set(gap) == {"what", "cost"} for gap in gaps)


def test_the_python_side_stays_small() -> None:
    assert len((BACKEND / "halflap_cpu" / "__init__.py").read_text().splitlines()) <= 60
