"""Reading a model otherwise than its file says: metadata overridden, layers left out, images accepted."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from halflap.architectures.keys import Keys
from halflap.errors import InvalidRequestError

Override = bool | int | float | str
OTHER = ("general.", "tokenizer.")
"""Keys that no architecture reads; those that the file has may be overridden."""


@frozen
class Changes:
    """What a host wants changed.

    Attributes:
        overrides: metadata key -> value: rope, experts used, epsilon, tokenizer flags …
        skip_layers: layers that are left out, counted from 0.
        given_width: elements of the rows that a projector makes of images; 0: text only.
    """

    overrides: Mapping[str, Override] = field(factory=dict)
    skip_layers: tuple[int, ...] = ()
    given_width: int = 0

    def metadata(self, of_file: Mapping[str, Any]) -> Mapping[str, Any]:
        """The file's metadata with the overrides in it."""
        return {**of_file, **self.overrides} if self.overrides else of_file

    def check(self, keys: Keys, of_file: Mapping[str, Any]) -> None:
        """Every override was read by the architecture, or is a general or tokenizer key of the file.

        Raises:
            InvalidRequestError: one is neither; names it and the nearest that is.
        """
        known = {f"{keys.architecture}.{key}" for key in keys.asked}
        known |= {key for key in of_file if key.startswith(OTHER)}
        for key, value in self.overrides.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                declared = sorted(k for k in known if not k.startswith(OTHER))
                raise InvalidRequestError(
                    "override",
                    got=repr(key),
                    want="a key that this model reads" if close else f"one of {', '.join(declared)}",
                    field=key,
                    fix=f"Did you mean {close[0]!r}?" if close else None,
                )
            before = of_file.get(key)
            if key.startswith(OTHER) and type(value) is not type(before):
                raise InvalidRequestError(
                    f"override {key!r}", got=f"{value!r:.60}", want=f"a {type(before).__name__}", field=key
                )


NO_CHANGES = Changes()


def parse_override(text: str) -> tuple[str, Override]:
    """KEY=TYPE:VALUE with type int, float, bool or str, as llama.cpp writes it.

    Raises:
        InvalidRequestError: says which part is wrong.
    """

    def wrong(what: str, got: str, want: str) -> InvalidRequestError:
        return InvalidRequestError(f"--override-kv {text!r}: {what}", got=repr(got), want=want, field="override_kv")

    key, equals, typed = text.partition("=")
    kind, colon, value = typed.partition(":")
    if not (key and equals and colon):
        raise wrong("form", text, "KEY=TYPE:VALUE")
    try:
        if kind == "bool":
            return key, {"true": True, "false": False}[value]
        return key, {"int": int, "float": float, "str": str}[kind](value)
    except KeyError:
        if kind == "bool":
            raise wrong("value", value, "true or false") from None
        raise wrong("type", kind, "int, float, bool or str") from None
    except ValueError:
        raise wrong("value", value, f"a number of type {kind}") from None
