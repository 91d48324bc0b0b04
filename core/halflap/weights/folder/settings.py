"""Small JSON files of a folder, read with their values checked: what is wrong names the file and the key."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from halflap.errors import ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.weights.model_file import show

__all__ = ["MAX_HEAD", "MAX_JSON", "MAX_LAYERS", "Settings", "read_bytes", "read_json"]

MAX_JSON: Final = 8 << 20
MAX_LAYERS: Final = 1 << 14
MAX_HEAD: Final = 1 << 16
LIMITS: Final = {
    "num_hidden_layers": MAX_LAYERS, "num_layers": MAX_LAYERS, "head_dim": MAX_HEAD, "qk_rope_head_dim": MAX_HEAD,
    "global_head_dim": MAX_HEAD,
}  # fmt: skip
REQUIRED: Any = object()


def read_bytes(path: Path, most: int = MAX_JSON) -> bytes:
    """A whole small file.

    Raises:
        ModelNotFoundError: there is none.
        ModelFormatError: it is larger, or no regular file.
    """
    what = f"file {show(path.name)}"
    try:
        if not path.is_file():
            raise ModelNotFoundError(what, got="no such file", want=f"a regular file in {show(str(path.parent))}")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ModelNotFoundError(what, got=error.strerror, want="a readable file") from error
    if len(content) > most:
        raise ModelFormatError(what, got="a larger file", want=f"at most {most} bytes", file=str(path), field="size")
    return content


def read_json(path: Path, most: int = MAX_JSON) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ModelNotFoundError, ModelFormatError: no such file, too large, or no JSON object.
    """
    content = read_bytes(path, most)
    try:
        value = json.loads(content, object_hook=_float)
    except (ValueError, RecursionError) as error:
        got = f"no JSON ({str(error)[:80]})"
        raise ModelFormatError(path.name, got=got, want="a JSON object", file=str(path), field=path.name) from None
    if not isinstance(value, dict):
        got = type(value).__name__
        raise ModelFormatError(path.name, got=got, want="a JSON object", file=str(path), field=path.name)
    return value


def _float(pairs: dict[str, Any]) -> Any:
    """Floats that JSON lacks, as newer writers spell them: {"__float__": "Infinity"}."""
    text = pairs.get("__float__")
    return float(text) if text in ("Infinity", "-Infinity", "NaN") and len(pairs) == 1 else pairs


class Settings:
    """A model's config.json. A key that is null counts as absent.

    Args:
        values: the object.
        path: the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        self.values, self.path = values, path

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def integer(self, *names: str, default: Any = REQUIRED, least: int = 0, most: int = (1 << 31) - 1) -> int:
        """The first of these keys that is there."""
        most = min(most, LIMITS.get(names[0], most))  # of what lists are made of
        name, value = self._first(names, default)
        if value is default:
            return default  # type: ignore[no-any-return]
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not least <= value <= most:
            self.wrong(name, value, f"an integer from {least} to {most}")
        return value

    def number(self, *names: str, default: Any = REQUIRED) -> float:
        name, value = self._first(names, default)
        if value is default:
            return default  # type: ignore[no-any-return]
        if type(value) not in (int, float) or not abs(value) < math.inf:
            self.wrong(name, value, "a finite number")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        value = self.values.get(name)
        if (
            not isinstance(value, list)
            or len(value) != count
            or not all(type(v) in (int, float) and abs(v) < math.inf for v in value)
        ):
            self.wrong(name, value, f"{count} finite numbers")
        return [float(v) for v in value]

    def text(self, *names: str, default: Any = REQUIRED) -> str:
        name, value = self._first(names, default)
        if value is not default and not isinstance(value, str):
            self.wrong(name, value, "a string")
        return value  # type: ignore[no-any-return]

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            self.wrong(name, value, "true or false")
        return default if value is None else value

    def section(self, name: str) -> Settings:
        """The object under a key; empty where there is none."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            self.wrong(name, value, "an object")
        return Settings(value or {}, self.path)

    def layers(self, name: str, count: int, known: tuple[Any, ...]) -> list[Any] | None:
        """One of the known values for each layer, or None."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) < count or not all(v in known for v in value):
            self.wrong(name, value, f"one of {list(known)} for each of {count} layers")
        return value[:count]

    def want(self, what: str, holds: bool, got: object, want: str) -> None:
        """Raises UnsupportedModelError unless it holds."""
        if not holds:
            raise UnsupportedModelError(
                f"{self.path.name}: {show(what)}", got=show(got), want=want, what_kind=what, name=str(got)[:80]
            )

    def wrong(self, name: str, value: object, want: str) -> NoReturn:
        raise ModelFormatError(
            f"{self.path.name}: {show(name)}",
            got="nothing" if value is None else show(value),
            want=want,
            file=str(self.path),
            field=name,
        )

    def _first(self, names: tuple[str, ...], default: Any) -> tuple[str, Any]:
        for name in names:
            if self.values.get(name) is not None:
                return name, self.values[name]
        if default is REQUIRED:
            self.wrong(names[0], None, "it to be present")
        return names[0], default
