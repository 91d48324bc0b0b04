"""What several tests need: where the shared oracle is, and which files it holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path | None:
    """The shared reference data: HALFLAP_SHARED, or beside the repository."""
    for candidate in (os.environ.get("HALFLAP_SHARED"), ROOT.parent / "shared"):
        if candidate and (Path(candidate) / "oracle").is_dir():
            return Path(candidate)
    return None


@pytest.fixture(scope="session")
def shared() -> Path:
    found = shared_folder()
    if found is None:
        pytest.skip("no shared reference data: set HALFLAP_SHARED to its folder")
    return found
