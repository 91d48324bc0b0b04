"""The docs are true: every block runs or says why not, every quote equals its file, nothing public goes unnamed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from halflap import errors, hookspecs

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"])
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
QUOTE = re.compile(r"quote=(\S+)")
DATA = {"toml", "text", "json", "c", "cpp"}
"""Languages that are shown, not run."""


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_run(page: Path, tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "docs"}
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        for language, info, source in blocks(page):
            if language in DATA or "quote=" in info:
                continue
            assert language in ("python", "sh"), f"{page.name}: a block in {language}"
            if "not-run=" in info:
                assert re.search(r'not-run="[^"]+"', info), f"{page.name}: not-run without a reason"
                if language == "python":
                    compile(source, page.name, "exec")
            elif language == "python":
                exec(compile(source, str(page), "exec"), names)
            else:
                environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", source],
                    capture_output=True,
                    text=True,
                    env=environment,
                    check=False,
                )
                assert done.returncode == 0, f"{source}\n{done.stdout}\n{done.stderr}"
    finally:
        os.chdir(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_quotes_are_verbatim(page: Path) -> None:
    for _, info, source in blocks(page):
        if quoted := QUOTE.search(info):
            assert (ROOT / quoted[1]).read_text() == source, f"{page.name} quotes an old {quoted[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_error_is_documented() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    for name in errors.__all__:
        error = getattr(errors, name)
        assert f'<a id="{error.code}"></a>`{error.code}` | `{name}`' in text


def test_every_hook_is_documented() -> None:
    text = (ROOT / "docs" / "write-a-plugin.md").read_text()
    for name in vars(hookspecs):
        if name.startswith("register_"):
            assert f"`{name}`" in text


def test_every_environment_variable_is_documented() -> None:
    text = "".join(page.read_text() for page in PAGES) + (ROOT / "backends" / "cpu" / "README.md").read_text()
    found = set()
    for path in [*(ROOT / "core").rglob("*.py"), *(ROOT / "backends").rglob("*.cpp")]:
        found |= set(re.findall(r'"(HALFLAP_[A-Z_]+)"', path.read_text()))
    assert "HALFLAP_PLUGINS" in found
    for name in found:
        assert name in text, name


def test_every_command_is_in_the_readme() -> None:
    from halflap import plugins

    text = (ROOT / "README.md").read_text()
    for name in plugins.names("commands"):
        assert f"halflap {name}" in text


def test_adrs_are_numbered_short_and_few() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    assert len(records) <= 15
    for path in records:
        assert len(path.read_text().splitlines()) <= 30, path.name
