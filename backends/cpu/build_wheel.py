"""The build backend: meson-python, its wheel retagged. The library links against no Python, so one wheel serves all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mesonpy
from mesonpy import build_editable, build_sdist

__all__ = ["build_editable", "build_sdist", "build_wheel"]


def build_wheel(folder: str, settings: dict[Any, Any] | None = None, metadata: str | None = None) -> str:
    """Make the wheel and give its name: halflap_cpu-VERSION-py3-none-PLATFORM.whl."""
    made = Path(folder, mesonpy.build_wheel(folder, settings, metadata))
    tags = [sys.executable, "-m", "wheel", "tags", "--remove", "--python-tag", "py3", "--abi-tag", "none", str(made)]
    return subprocess.run(tags, check=True, capture_output=True, text=True).stdout.split()[-1]
