"""`python -m build` of each distribution from a fresh checkout, and all of them in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "backends/cpu", "plugins/starter")
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**kept, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel of each."""
    folder = tmp_path_factory.mktemp("built")
    run("git", "clone", "-q", ROOT, folder / "tree", cwd=folder)
    run(sys.executable, "-m", "venv", folder / "tools", cwd=folder)
    python = folder / "tools" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "build", cwd=folder)
    for name in FOLDERS:
        dist = folder / "dist"
        run(python, "-m", "build", "-o", dist, name, cwd=folder / "tree", PIP_FIND_LINKS=str(dist))
    return folder / "dist"


def test_core_is_pure_and_the_cpu_wheel_serves_every_python(built: Path) -> None:
    assert sorted(p.name for p in built.glob("*.whl")) == [
        "halflap-0.1.0-py3-none-any.whl",
        f"halflap_cpu-0.1.0-py3-none-linux_{os.uname().machine}.whl",
        "halflap_starter-0.1.0-py3-none-any.whl",
    ]


def test_cores_source_archive_is_core_alone(built: Path) -> None:
    with tarfile.open(built / "halflap-0.1.0.tar.gz") as archive:
        tops = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert "core" in tops
    assert not tops & {"backends", "plugins", "tests", "docs"}


def test_the_core_wheel_carries_the_header_and_the_type_marker(built: Path) -> None:
    with zipfile.ZipFile(built / "halflap-0.1.0-py3-none-any.whl") as wheel:
        assert {"halflap/include/halflap/abi.h", "halflap/py.typed"} <= set(wheel.namelist())


def test_wheels_run_together_in_a_clean_environment(built: Path, shared: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path)
    run(tmp_path / "clean/bin/pip", "install", "-q", *sorted(built.glob("*.whl")), cwd=tmp_path)
    shell = tmp_path / "clean/bin/halflap"
    assert run(shell, "devices", cwd=tmp_path).startswith("cpu")
    file = shared / "oracle" / "families" / "qwen3-base.gguf"
    for device in ("cpu", "reference"):
        run(shell, "run", "hello", "-m", file, "--devices", device, "-n", "4", cwd=tmp_path)
    assert run(shell, "run", "What is 12 + 9?", "--temp", "0", cwd=tmp_path).strip()


def test_pip_install_of_each_folder_works(built: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "clean", cwd=tmp_path)
    run("git", "clone", "-q", ROOT, tmp_path / "tree", cwd=tmp_path)
    for name in FOLDERS:
        pip = tmp_path / "clean/bin/pip"
        run(pip, "install", "-q", ".", cwd=tmp_path / "tree" / name, PIP_FIND_LINKS=str(built))
    assert run(tmp_path / "clean/bin/halflap", "devices", cwd=tmp_path).startswith("cpu")
