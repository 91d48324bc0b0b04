"""Strings that stand in a text as they are, between marks, as expressions of llguidance's Lark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from halflap.constraints.builtin import quoted

LONGEST: Final = 20_000
"""A length above is none: each character that is counted is a state of the lexer."""
ANY: Final = "/(?s:.*)/"
TYPED: Final = (
    r"/[\s\x1c-\x1f\[{(\x22\x27](?s:.*)/",  # a list, an object or a quoted string, or space, which does not count
    r"/[-+.\p{N}][-+.\w]*[\s\x1c-\x1f]*/",
    r"/(true|false|null|True|False|None)[\s\x1c-\x1f]*/",
)
"""What reads as a value of another type."""


def string(schema: Mapping[str, Any], end: str, begins: Sequence[str], mixed: bool) -> str | None:
    """An expression for the strings of a schema that do not hold their own end; None: there are none.

    Args:
        end: what stands behind it.
        begins: texts with which it must not begin.
        mixed: it must not read as a value of another type.
    """
    bars = [f"({ANY} {quoted(end)} {ANY})", *(f"({quoted(text)} {ANY})" for text in begins), *(TYPED if mixed else ())]
    values = schema.get("enum")
    if isinstance(values, Sequence):
        fit = [v for v in values if end not in v and not v.startswith(tuple(begins)) and not (mixed and _is_typed(v))]
        return " | ".join(map(quoted, fit)) if fit else None
    parts = [f"/(?s:.{_lengths(schema)})/"]
    if isinstance(schema.get("pattern"), str):
        parts.append(f"/{_whole(schema['pattern'])}/")
    return " & ".join([*parts, *(f"~{bar}" for bar in bars)])


def _lengths(schema: Mapping[str, Any]) -> str:
    least, most = (schema.get(name) for name in ("minLength", "maxLength"))
    least = least if isinstance(least, int) and least <= LONGEST else 0
    most = most if isinstance(most, int) and most <= LONGEST else None
    return "*" if not least and most is None else f"{{{least},{'' if most is None else most}}}"


def _is_typed(text: str) -> bool:
    found = r"[\s\x1c-\x1f\[{(\"'].*|[-+.\d][-+.\w]*[\s\x1c-\x1f]*|(true|false|null|True|False|None)[\s\x1c-\x1f]*"
    return re.fullmatch(found, text, re.S) is not None


def _whole(pattern: str) -> str:
    """A pattern that may match anywhere, as one that matches from end to end; `/` would end it in Lark."""
    whole = []
    for branch in _alternatives(pattern):
        start, stop = branch.startswith("^"), branch.endswith("$") and not re.search(r"(?<!\\)(\\\\)*\\\$$", branch)
        inner = branch[start : len(branch) - stop]
        whole.append(f"{'' if start else '(?s:.*)'}(?:{inner}){'' if stop else '(?s:.*)'}")
    return re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", "|".join(whole)).replace("\n", r"\n")


def _alternatives(pattern: str) -> list[str]:
    """What stands between the bars that are in no group and no class."""
    parts, depth, inside, place = [""], 0, False, 0
    while place < len(pattern):
        char = pattern[place : place + 2] if pattern[place] == "\\" else pattern[place]
        place += len(char)
        if char == "|" and not depth and not inside:
            parts.append("")
            continue
        if char == "[":
            inside = True
        elif char == "]":
            inside = False
        elif char in "()" and not inside:
            depth += 1 if char == "(" else -1
        parts[-1] += char
    return parts
