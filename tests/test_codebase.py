"""The code as a whole: layers, lint, types, names under test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "core" / "halflap"

# Who may import whom: a module may import its own layer's base and every layer below; no neighbour in a set.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "events", "hookspecs", "log"}),
    frozenset({"plugins"}),
    frozenset({"graph"}),
    frozenset({"architectures", "weights", "device", "sampling", "text"}),
    frozenset({"constraints"}),  # over the tokens of a vocabulary
    frozenset({"projectors", "adapters"}),  # weights of their own beside a model's
    frozenset({"placement"}),
    frozenset({"engine"}),
    frozenset({"stream", "loading", "images"}),
    frozenset({"chats", "scores"}),
    frozenset({"model"}),
    frozenset({"remote"}),
    frozenset({"isolation"}),
    frozenset({"assembly"}),
    frozenset({"isolated"}),
    frozenset({"testing"}),
    frozenset({"cli"}),  # `halflap devices --check` runs the kit
)
ANYWHERE = {"", "builtin"}
"""The package itself (lazy names) and the table of core's own registrations, which names things of every layer."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer(part: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if part in names)


def imported(path: Path) -> set[str]:
    """First parts below `halflap` that a file imports when it is imported."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "halflap" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("halflap.")}
    return {name for name in found if any(name in names for names in LAYERS)}


def test_every_module_has_a_layer() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()} - {"__init__", "builtin"}
    assert parts == frozenset().union(*LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("__init__", "builtin"):
        return
    for other in imported(path) - {part}:
        assert layer(other) < layer(part), f"{part} imports {other}: not below it"


def test_import_halflap_loads_nothing_heavy() -> None:
    heavy = ["numpy", "tokenizers", "jinja2", "rich", "click", "cffi", "structlog"]
    code = f"import sys, halflap; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_exported_names_are_sorted_and_exist() -> None:
    import halflap

    assert sorted(halflap.__all__) == halflap.__all__
    for name in halflap.__all__:
        assert getattr(halflap, name) is not None


def test_request_options_are_the_documented_ones() -> None:
    from halflap.engine.request import CHECKS, Options

    assert list(Options.__annotations__) == list(CHECKS)


def test_no_placeholder_is_left() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    for path in [*modules(), *(ROOT / "plugins").rglob("*.py"), *(ROOT / "backends").rglob("*.[ch]*")]:
        if path.is_file():
            assert not marks.search(path.read_text(errors="replace")), path


@pytest.mark.parametrize("arguments", [("check", "."), ("format", "--check", ".")], ids=" ".join)
def test_ruff(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
