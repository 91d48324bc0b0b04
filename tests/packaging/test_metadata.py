"""What the installed distributions say of themselves."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

import halflap


@pytest.mark.parametrize(
    ("name", "group", "point", "value"),
    [
        ("halflap", "console_scripts", "halflap", "halflap.cli:main"),
        ("halflap-cpu", "halflap", "cpu", "halflap_cpu"),
        ("halflap-starter", "halflap", "starter", "halflap_starter"),
    ],
)
def test_each_distribution_has_its_entry_point_licence_and_version(
    name: str, group: str, point: str, value: str
) -> None:
    distribution = metadata.distribution(name)
    found = {(e.group, e.name): e.value for e in distribution.entry_points}
    assert found[group, point] == value
    assert distribution.metadata["License-Expression"] == "MIT"
    assert distribution.version == halflap.__version__


def test_plugins_require_halflap_and_core_requires_no_plugin() -> None:
    for name in ("halflap-cpu", "halflap-starter"):
        assert any(r.startswith("halflap") for r in metadata.requires(name) or ())
    needed = [r for r in metadata.requires("halflap") or () if "extra ==" not in r]
    assert needed
    assert not any(r.startswith("halflap") for r in needed)


def test_the_header_lies_where_get_include_says() -> None:
    assert "halflap_backend" in Path(halflap.get_include(), "halflap", "abi.h").read_text()
