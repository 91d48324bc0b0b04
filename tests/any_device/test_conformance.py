"""Every registered device that opens here, case by case. What a backend is known to lack stands in its gaps.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from halflap.device.opening import open_devices
from halflap.testing import Case, cases, run
from tests.any_device.conftest import usable_devices

ROOT = Path(__file__).resolve().parents[2]
_open: dict[str, Any] = {}


def opened(name: str) -> Any:
    """One open device per backend for the whole session."""
    if name not in _open:
        (_open[name],) = open_devices([name])
    return _open[name]


@pytest.fixture(scope="module", autouse=True)
def close_devices() -> Iterator[None]:
    yield
    close_all()


def close_all() -> None:
    while _open:
        _open.popitem()[1].close()


def gaps(name: str) -> dict[str, str]:
    """Pattern of case names -> reason, from backends/NAME/gaps.toml or plugins/NAME/gaps.toml."""
    for folder in (ROOT / "backends" / name, ROOT / "plugins" / f"{name}-backend"):
        if (folder / "gaps.toml").is_file():
            listed: dict[str, str] = tomllib.loads((folder / "gaps.toml").read_text()).get("gaps", {})
            return listed
    return {}


def parameters() -> Iterator[Any]:
    for name in usable_devices():
        known = gaps(name)
        for case in cases(opened(name).info):
            reason = next((reason for pattern, reason in known.items() if fnmatch(case.name, pattern)), None)
            marks = [pytest.mark.xfail(reason=reason)] if reason else []
            yield pytest.param(name, case, id=f"{name}-{case.name}", marks=marks)
    close_all()


@pytest.mark.parametrize(("name", "case"), list(parameters()))
def test_conformance(name: str, case: Case) -> None:
    result = run(case, opened(name))
    assert result.ok, result.detail
    if not result.offered:
        pytest.skip(result.detail)
