from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def file(shared: Path) -> Path:
    """A model of half a megabyte, quick even on the reference device."""
    return shared / "oracle" / "families" / "qwen3-base.gguf"
