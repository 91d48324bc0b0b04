from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import halflap
from halflap import plugins
from halflap.errors import IncompatiblePluginError, NotRegisteredError, PluginError
from halflap.plugins import Registry


class GoodPlugin:
    @halflap.hookimpl
    def register_samplers(self, register) -> None:  # type: ignore[no-untyped-def]
        register("top_h", "math:sqrt", about="an entropy cut")
        register("top_k", "math:floor")


def make_distribution(folder: Path, name: str, source: str, requires: str = "halflap") -> None:
    """An installed distribution with one plugin module."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nRequires-Dist: {requires}\n")
    (info / "entry_points.txt").write_text(f"[halflap]\n{name} = {name}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("HALFLAP_PLUGINS", raising=False)
    return tmp_path


GOOD = """
import halflap
@halflap.hookimpl
def register_samplers(register):
    register("mine", "math:sqrt")
"""


def test_a_registered_plugin_is_found_and_a_built_in_is_not_replaced() -> None:
    registry = Registry()
    registry.register(GoodPlugin(), name="good")
    assert registry.get("samplers", "top_h").__name__ == "sqrt"
    assert registry.find("samplers", "top_k").owner == "halflap"
    assert registry.get("samplers", "good:top_k").__name__ == "floor"


def test_the_same_name_twice_is_refused_until_asked_with_its_owner() -> None:
    registry = Registry()
    registry.register(GoodPlugin(), name="one")
    registry.register(GoodPlugin(), name="two")
    with pytest.raises(NotRegisteredError, match=r"'one:top_h', 'two:top_h'"):
        registry.find("samplers", "top_h")
    assert registry.find("samplers", "two:top_h").owner == "two"


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotRegisteredError, match=r"Did you mean 'top_k'\?") as raised:
        plugins.get("samplers", "topk")
    assert (raised.value.kind, raised.value.did_you_mean) == ("sampler", "top_k")


def test_a_broken_plugin_harms_nobody_and_is_shown(site: Path) -> None:
    make_distribution(site, "broken_one", "raise RuntimeError('no luck')")
    make_distribution(site, "fine_one", GOOD)
    registry = Registry()
    assert registry.get("samplers", "mine").__name__ == "sqrt"
    broken = next(p for p in registry.plugins() if p.name == "broken_one")
    assert broken.error == "RuntimeError: no luck"
    assert "Traceback" in broken.traceback
    assert broken.version == "1.2"
    with pytest.raises(NotRegisteredError, match="'broken_one' failed to load") as raised:
        registry.get("samplers", "nowhere to be found")
    assert raised.value.failed == "broken_one"


def test_a_plugin_for_another_version_is_not_loaded(site: Path) -> None:
    make_distribution(site, "old_one", GOOD, requires="halflap>=0.0.1,<0.1")
    plugin = next(p for p in Registry().plugins() if p.name == "old_one")
    assert plugin.error.startswith("IncompatiblePluginError")
    assert not plugin.entries
    assert issubclass(IncompatiblePluginError, PluginError)


@pytest.mark.parametrize(("allowed", "loaded"), [(None, True), ("", False), ("fine_one,other", True), ("other", False)])
def test_the_environment_restricts_what_loads(
    site: Path, monkeypatch: pytest.MonkeyPatch, allowed: str | None, loaded: bool
) -> None:
    make_distribution(site, "fine_one", GOOD)
    if allowed is not None:
        monkeypatch.setenv("HALFLAP_PLUGINS", allowed)
    names = [p.name for p in Registry().plugins()]
    assert ("fine_one" in names) is loaded
    assert "halflap" in names


@pytest.mark.parametrize(
    ("name", "factory"), [("", "math:sqrt"), (7, "math:sqrt"), ("x", 7)], ids=["empty", "number", "no factory"]
)
def test_a_registration_that_makes_no_sense_is_an_error(name: object, factory: object) -> None:
    class Bad:
        @halflap.hookimpl
        def register_samplers(self, register) -> None:  # type: ignore[no-untyped-def]
            register(name, factory)

    with pytest.raises(PluginError):
        Registry().register(Bad(), name="bad")


def test_a_module_without_hooks_is_an_error() -> None:
    with pytest.raises(PluginError, match="without hooks"):
        Registry().register(SimpleNamespace(), name="empty")


def test_a_factory_that_does_not_import_names_its_plugin() -> None:
    class Bad:
        @halflap.hookimpl
        def register_samplers(self, register) -> None:  # type: ignore[no-untyped-def]
            register("x", "no_such_module_here:thing")

    registry = Registry()
    registry.register(Bad(), name="bad")
    with pytest.raises(PluginError, match="no_such_module_here") as raised:
        registry.get("samplers", "x")
    assert raised.value.plugin == "bad"


def test_built_in_tokenizer_kinds_are_those_the_vocabulary_knows() -> None:
    from halflap.builtin import TOKENIZER_MODELS
    from halflap.text.vocabulary import MODELS

    assert set(TOKENIZER_MODELS) == set(MODELS)


def test_discovery_opens_nothing_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from halflap import plugins; plugins.plugins();"
        "print([m for m in ('numpy','tokenizers','jinja2','cffi','torch') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
