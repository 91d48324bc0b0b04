"""What `halflap serve` is given, and the preset file: names of models, where each comes from, how it is loaded."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from halflap.engine.request import check_option
from halflap.errors import InvalidRequestError, ModelFormatError, ModelNotFoundError

LOADING = frozenset(
    "devices ctx kv_type kv_rotation kv_bytes threads split projector draft policy deterministic isolation restart "
    "mmap overrides skip_layers chat_template media_path".split()
)
"""Keys of a preset that are arguments of `halflap.load`."""


@frozen
class Source:
    """A model that the server may load.

    Attributes:
        name: what clients ask for.
        path: file, folder or registered name.
        pinned: never unloaded to make room.
        at_start: loaded when the server starts.
        loading: arguments of `halflap.load`.
        adapters: LoRA files by name, and scales: how strongly each works unless a request says.
        sampling: request options for what a request leaves open.
        sleep_seconds: unloaded after being idle so long; None: never.
    """

    name: str
    path: str
    aliases: tuple[str, ...] = ()
    pinned: bool = False
    at_start: bool = False
    loading: Mapping[str, Any] = field(factory=dict)
    adapters: Mapping[str, str] = field(factory=dict)
    scales: Mapping[str, float] = field(factory=dict)
    sampling: Mapping[str, Any] = field(factory=dict)
    sleep_seconds: float | None = None


def named(wishes: Sequence[str], base: Source) -> list[Source]:
    """The models of a command line: files, folders of files, registered names, `hf:org/repo[:quant]`.

    Args:
        base: what they share; its name and path are replaced.

    Raises:
        ModelNotFoundError: a folder without models.
    """
    found = []
    for wish in wishes:
        folder = Path(wish)
        if folder.is_dir() and not (folder / "config.json").exists():
            files = sorted(path for path in folder.rglob("*.gguf") if _is_model(path))
            if not files:
                fix = "Put GGUF files there, or name a file."
                raise ModelNotFoundError(f"folder {wish!r}", got="no *.gguf file", want="at least one", fix=fix)
            found += [evolve(base, name=_name(path), path=os.fspath(path)) for path in files]
        else:
            found.append(evolve(base, name=_name(folder) if folder.exists() else wish, path=wish))
    return found


def _is_model(path: Path) -> bool:
    """Not a projector, and of a model in several files only the first."""
    name = path.name.lower()
    return not name.startswith("mmproj") and ("-of-" not in name or "-00001-of-" in name)


def _name(path: Path) -> str:
    return path.stem if path.suffix == ".gguf" else path.name


def preset(path: Path, base: Source) -> list[Source]:
    """The models of a TOML file: `[models.NAME]` tables, and `[defaults]` for what they share.

    Raises:
        ModelNotFoundError, ModelFormatError: no such file, or not TOML of that form; names the key.
    """
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except OSError as cause:
        raise ModelNotFoundError(f"preset {path}", got=cause.strerror, want="a readable file") from cause
    except (tomllib.TOMLDecodeError, UnicodeError) as cause:
        raise ModelFormatError(f"preset {path}", got=str(cause), want="TOML", file=str(path)) from cause
    unknown = set(told) - {"defaults", "models"}
    if unknown or not isinstance(told.get("models"), dict):
        got = f"the key {sorted(unknown)[0]!r}" if unknown else "no [models.NAME]"
        raise ModelFormatError(f"preset {path}", got=got, want="[defaults] and [models.NAME]", file=str(path))
    shared = _read(path, "defaults", told.get("defaults", {}), base)
    return [_read(path, f"models.{n}", entry, evolve(shared, name=n, path=n)) for n, entry in told["models"].items()]


def _read(path: Path, where: str, entry: Any, base: Source) -> Source:
    if not isinstance(entry, dict):
        raise _wrong(path, where, repr(entry), "a table")
    entry = dict(entry)
    own: dict[str, Any] = {}
    for key, kind in (("path", str), ("aliases", list), ("pinned", bool), ("at_start", bool), ("adapters", dict),
                      ("scales", dict), ("sampling", dict), ("sleep_seconds", (int, float))):  # fmt: skip
        if key in entry:
            own[key] = entry.pop(key)
            if not isinstance(own[key], kind):
                raise _wrong(path, f"{where}.{key}", repr(own[key]), "another type")
    own["aliases"] = tuple(own.get("aliases", base.aliases))
    for key in entry:
        if key not in LOADING:
            raise _wrong(path, f"{where}.{key}", "a key nobody reads", f"one of {', '.join(sorted(LOADING))}")
    for key, value in own.get("sampling", {}).items():
        check_option(key, value)
    return evolve(base, **own, loading={**base.loading, **entry})


def _wrong(path: Path, where: str, got: str, want: str) -> ModelFormatError:
    return ModelFormatError(f"preset {path}: {where}", got=got, want=want, file=str(path), field=where)


def checked(sources: Iterable[Source]) -> dict[str, Source]:
    """By name, in order; names and aliases of all are different.

    Raises:
        InvalidRequestError: two models share a name.
    """
    found: dict[str, Source] = {}
    taken: set[str] = set()
    for source in sources:
        for name in (source.name, *source.aliases):
            if name in taken:
                raise InvalidRequestError("models", got=f"{name!r} twice", want="a name each", field="model")
            taken.add(name)
        found[source.name] = source
    return found
