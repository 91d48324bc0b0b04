"""What the backend's sources say of the weight types is what core says."""

from __future__ import annotations

import runpy
from pathlib import Path

FORMATS = Path(__file__).resolve().parents[3] / "backends" / "cpu" / "src" / "formats"


def test_the_generated_codebooks_are_cores() -> None:
    made = runpy.run_path(str(FORMATS / "generate_grids.py"))
    assert made["generate"]() == made["TARGET"].read_text(), "run backends/cpu/src/formats/generate_grids.py"
