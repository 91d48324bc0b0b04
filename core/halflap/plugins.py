"""Finding plugins: each entry point loads alone, so a broken one harms nobody who does not ask for it."""

from __future__ import annotations

import difflib
import importlib
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy
from attrs import Factory, define, field

from halflap import hookspecs
from halflap.errors import IncompatiblePluginError, NotRegisteredError, PluginError

GROUP = "halflap"
BUILT_IN = "halflap"
HOOKS = {name.removeprefix("register_"): name for name in vars(hookspecs) if name.startswith("register_")}
"""Plural kind ("samplers") -> hook name."""


@define
class Entry:
    """One registration.

    Attributes:
        kind: plural, as in the hook's name ("samplers").
        owner: name of the plugin that registered it.
        factory: callable, object, or "package.module:attribute".
        facts: what the plugin said about it, for listings and choices.
    """

    kind: str
    name: str
    owner: str
    factory: Any
    facts: dict[str, Any]

    def resolve(self) -> Any:
        """The factory itself, imported now if it was named by a string."""
        if isinstance(self.factory, str):
            module, _, attribute = self.factory.partition(":")
            try:
                loaded: Any = importlib.import_module(module)
                for part in filter(None, attribute.split(".")):
                    loaded = getattr(loaded, part)
            except Exception as cause:
                raise PluginError(
                    f"{self.kind} {self.name!r}",
                    got=f"{type(cause).__name__}: {cause}",
                    want=f"{self.factory} to import",
                    plugin=self.owner,
                ) from cause
            self.factory = loaded
        return self.factory


@define
class Plugin:
    """One entry point, or one module handed to `register`.

    Attributes:
        error: one line when it failed to load; `traceback` then holds the whole text.
    """

    name: str
    distribution: str = ""
    version: str = ""
    entries: list[Entry] = field(default=Factory(list))
    error: str = ""
    traceback: str = ""


class Registry:
    """All plugins of this process. The module's functions speak to one shared Registry."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._plugins: dict[str, Plugin] = {}
        self._discovered = False

    def plugins(self) -> list[Plugin]:
        self._discover()
        return list(self._plugins.values())

    def entries(self, kind: str) -> list[Entry]:
        """Every registration of a kind, in order of discovery; two plugins may offer the same name."""
        self._discover()
        return [e for plugin in self._plugins.values() for e in plugin.entries if e.kind == kind]

    def names(self, kind: str) -> list[str]:
        return sorted({e.name for e in self.entries(kind)})

    def find(self, kind: str, name: str) -> Entry:
        """The registration called `name`, or "plugin:name" where two plugins share one.

        Raises:
            NotRegisteredError: nobody offers it, or several do and none is built in.
        """
        entries = self.entries(kind)
        owner, colon, bare = name.partition(":")
        same = [e for e in entries if e.name == name or (colon and e.owner == owner and e.name == bare)]
        built_in = [e for e in same if e.owner == BUILT_IN]
        if len(built_in) == 1 and len(same) > 1 and not colon:
            same = built_in  # a built-in is never replaced silently
        if len(same) == 1:
            return same[0]
        singular = kind.removesuffix("s").replace("_", " ")
        if same:
            owners = ", ".join(f"'{e.owner}:{e.name}'" for e in same)
            raise NotRegisteredError(
                singular, got=f"{name!r} from {len(same)} plugins", want=f"one of {owners}", kind=singular, name=name
            )
        names = self.names(kind)
        close = difflib.get_close_matches(name, names, 1)
        broken = [p for p in self._plugins.values() if p.error]
        failed = next((p.name for p in broken), None)
        fix = f"Did you mean {close[0]!r}?" if close else None
        if failed and not close:
            fix = f"Plugin {failed!r} failed to load and may have had it: see `halflap plugins`."
        raise NotRegisteredError(
            singular,
            got=repr(name),
            want=f"one of {', '.join(map(repr, names)) or 'nothing (no plugin offers any)'}",
            fix=fix,
            kind=singular,
            name=name,
            did_you_mean=close[0] if close else None,
            failed=failed,
        )

    def get(self, kind: str, name: str) -> Any:
        return self.find(kind, name).resolve()

    def register(self, module: Any, name: str | None = None, *, distribution: str = "", version: str = "") -> Plugin:
        """Take a plugin module (or object) directly: for hosts without package metadata, and for tests.

        Raises:
            PluginError: one of its hooks raised, or it carries none.
        """
        self._discover()
        owner = name or str(getattr(module, "__name__", type(module).__name__))
        return self._add(owner, lambda: module, distribution, version, keep_error=False)

    def unregister(self, name: str) -> None:
        with self._lock:
            self._plugins.pop(name, None)

    def _discover(self) -> None:
        with self._lock:
            if self._discovered:
                return
            self._discovered = True
            from halflap import __version__

            built_in = partial(importlib.import_module, "halflap.builtin")
            self._add(BUILT_IN, built_in, "halflap", __version__, keep_error=False)
            wanted = os.environ.get("HALFLAP_PLUGINS")
            allowed = None if wanted is None else {part.strip() for part in wanted.split(",") if part.strip()}
            for point in sorted(metadata.entry_points(group=GROUP), key=lambda p: p.name):
                if allowed is None or point.name in allowed:
                    self._add(
                        point.name,
                        _loader(point),
                        point.dist.name if point.dist else "",
                        point.dist.version if point.dist else "",
                        keep_error=True,
                    )
            for name in sorted((allowed or set()) - set(self._plugins)):
                said = "HALFLAP_PLUGINS names it, and no installed distribution offers it"
                self._plugins[name] = Plugin(name, error=said)

    def _add(self, name: str, load: Callable[[], Any], dist: str, version: str, *, keep_error: bool) -> Plugin:
        plugin = Plugin(name, dist, version)
        try:
            plugin.entries = list(_collect(name, load()))
        except Exception as cause:
            plugin.error = f"{type(cause).__name__}: {cause}"
            plugin.traceback = traceback.format_exc()
            if not keep_error:
                if isinstance(cause, PluginError):
                    raise
                raise PluginError(
                    f"plugin {name!r}", got=plugin.error, want="hooks that register and return", plugin=name
                ) from cause
        with self._lock:
            if name in self._plugins:
                name = plugin.name = f"{name}@{dist or 'direct'}"
            self._plugins[name] = plugin
        return plugin


def _loader(point: metadata.EntryPoint) -> Callable[[], Any]:
    def load() -> Any:
        if point.dist is not None:
            _check_compatible(point)
        return point.load()

    return load


def _check_compatible(point: metadata.EntryPoint) -> None:
    """The distribution's own Requires-Dist on halflap, since an installer may have been overruled."""
    from halflap import __version__

    assert point.dist is not None
    # What core's own plugins say needs no parser, which is slow to import.
    wanted = [text for text in point.dist.requires or () if text not in ("halflap", f"halflap=={__version__}")]
    if not any(text.startswith("halflap") for text in wanted):
        return
    from packaging.requirements import Requirement

    for requirement in map(Requirement, wanted):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if requirement.name != "halflap" or not applies or requirement.specifier.contains(__version__, True):
            continue
        raise IncompatiblePluginError(
            f"plugin {point.name!r}",
            got=f"halflap {__version__}",
            want=f"halflap{requirement.specifier}",
            fix=f"Install a {point.dist.name} made for this halflap.",
            plugin=point.name,
            distribution=point.dist.name,
            needs=str(requirement.specifier),
            has=__version__,
        )


def _collect(owner: str, module: Any) -> Iterator[Entry]:
    """Call the hooks of one plugin through pluggy, which checks their names and passes arguments by name."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module, owner)
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise PluginError(
            f"plugin {owner!r}",
            got=f"{module!r} without hooks",
            want="at least one function marked @halflap.hookimpl",
            plugin=owner,
        )
    entries: list[Entry] = []
    for kind, hook in HOOKS.items():

        def register(name: str, factory: Any, _kind: str = kind, **facts: Any) -> None:
            if not isinstance(name, str) or not name:
                raise PluginError(f"{_kind} name", got=repr(name), want="a non-empty string", plugin=owner)
            if not (callable(factory) or isinstance(factory, str | ModuleType) or hasattr(factory, "name")):
                raise PluginError(
                    f"{_kind} {name!r} factory",
                    got=repr(factory),
                    want="a callable or 'package.module:attribute'",
                    plugin=owner,
                )
            entries.append(Entry(_kind, name, owner, factory, facts))

        getattr(manager.hook, hook)(register=register)
    yield from entries


_registry = Registry()

register = _registry.register
unregister = _registry.unregister
entries = _registry.entries
names = _registry.names
find = _registry.find
get = _registry.get
plugins = _registry.plugins
