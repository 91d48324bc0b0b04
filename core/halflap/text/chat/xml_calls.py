"""Tool calls whose parameters stand between tags; what type a value has, the tool's schema says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from halflap.text.chat.calls import HEAD, NAME, Calls
from halflap.text.chat.feed import Feed, Reading, Tags
from halflap.text.chat.literals import JSON, as_json, escaped

_NAME: Final = re.compile(NAME)
_CDATA: Final = ("<![CDATA[", "]]>")
LEVELS: Final = 50
"""Of values made of tags."""


@frozen
class XmlCalls:
    """`<function=get_weather><parameter=city>Paris</parameter></function>`, with other tags in each family.

    Attributes:
        call: what stands before a call's name, and name_end behind it.
        parameter: what stands before a parameter's name, and key_end behind it.
        value: what stands before its value, where that is something of its own.
        value_end: behind the value; {key} stands for the parameter's name.
        call_end: behind the last parameter.
        cdata: a value may be wrapped in `<![CDATA[…]]>`.
        nested: what stands before each tag of a value that is an object or a list.
        tags: parts of these that may be special tokens.
    """

    call: str
    name_end: str
    parameter: str
    key_end: str
    value_end: str
    call_end: str
    value: str = ""
    cdata: bool = False
    nested: str = ""
    tags: Sequence[str] = ()

    def read(self, feed: Feed, calls: Calls) -> Reading[bool]:
        if not (yield from feed.accept(self.call)):
            return False
        begun = yield from feed.head(Tags([self.name_end, self.parameter, self.call_end]), HEAD)
        name = begun[0].strip() if begun else ""
        if begun is None or not _NAME.fullmatch(name):
            return False
        if begun[1] != self.name_end:
            feed.give_back(begun[1])
        calls.begin(name)
        calls.piece("{")
        schemas, first = _properties(calls.tools.get(name)), True
        while True:
            gap = yield from feed.space()
            if (yield from feed.accept(self.call_end)):
                break
            if not (yield from feed.accept(self.parameter)):
                if (yield from feed.char()):
                    return False
                feed.give_back(gap)
                break  # the answer ends between two parameters
            key = yield from feed.head(Tags([self.key_end]), HEAD)
            if key is None:
                return False
            key_name, _, attributes = key[0].strip().partition('"')
            if self.value:
                yield from feed.space()
                if not (yield from feed.accept(self.value)):
                    return False
            calls.piece(f"{'' if first else ', '}{json.dumps(key_name, ensure_ascii=False)}: ")
            kinds = {'string="true"': {"string"}, 'string="false"': set[str]()}.get(
                attributes.strip(), types(schemas.get(key_name))
            )
            if not (yield from self._value(feed, calls, kinds, Tags([self.value_end.format(key=key_name)]))):
                return False
            first = False
        calls.piece("}")
        return True

    def _value(self, feed: Feed, calls: Calls, kinds: set[str], ends: Tags) -> Reading[bool]:
        if self.cdata and (yield from feed.accept(_CDATA[0])):
            return (yield from _string(feed, calls, Tags([_CDATA[1]]), False)) and (
                yield from feed.head(ends, HEAD)
            ) is not None
        if kinds == {"string"}:
            return (yield from _string(feed, calls, ends, (yield from feed.accept("\n"))))
        parts: list[str] = []
        while True:
            text, tag = yield from feed.chunk(ends)
            parts.append(text)
            if tag:
                break
            if not text:
                return False
        calls.piece(self._typed("".join(parts), kinds))
        return True

    def _typed(self, text: str, kinds: set[str]) -> str:
        if self.nested and self.nested in text:
            return json.dumps(_tree(text, self.nested), ensure_ascii=False)
        return typed(text, kinds)


def _string(feed: Feed, calls: Calls, ends: Tags, line: bool) -> Reading[bool]:
    """A string as it comes; `line`: it stands between line breaks that are not its own."""
    calls.piece('"')
    held = ""
    while True:
        text, tag = yield from feed.chunk(ends)
        if not (text or tag):
            feed.forget()  # a line break that waited is the value's, as the words before it
            return False
        text, held = held + text, ""
        if line and text.endswith("\n"):
            text, held = text[:-1], "\n"
        if text:
            calls.piece(escaped(text))
        if tag:
            calls.piece('"')
            return True


def typed(text: str, kinds: set[str]) -> str:
    """A value's text as JSON: what it reads as, unless a string is allowed and no such type is; else as a string."""
    found = as_json(text, JSON) or as_json(text)
    if found is not None and found[0] != '"' and ("string" not in kinds or _type(found) & kinds):
        return found
    return json.dumps(text.removeprefix("\n").removesuffix("\n") if text.startswith("\n") else text, ensure_ascii=False)


def _type(value: str) -> set[str]:
    """Types of a JSON value, by its first character."""
    named = {"{": {"object"}, "[": {"array"}, "t": {"boolean"}, "f": {"boolean"}, "n": {"null"}}
    return named.get(value[0], {"number", "integer"})


def types(schema: Any) -> set[str]:
    """Types that a schema allows; none: any."""
    if not isinstance(schema, Mapping):
        return set()
    given = schema.get("type")
    if isinstance(given, str):
        return {given}
    if isinstance(given, Sequence):
        return {kind for kind in given if isinstance(kind, str)}
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), Sequence):
            branches = [types(branch) for branch in schema[name]]
            return set().union(*branches) if all(branches) else set()
    options = schema.get("enum")
    if isinstance(options, Sequence) and options and all(isinstance(option, str) for option in options):
        return {"string"}
    return set()


def _properties(schema: Any) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _tree(text: str, mark: str) -> Any:
    """A value made of tags: `<item>` for a list's, else an object's; deeper than LEVELS it stays text."""
    tag = re.compile(re.escape(mark) + r"<(/?)([^<>]*)>")
    root: list[Any] = []
    path: list[tuple[str, list[Any], list[str]]] = [("", root, [])]  # (name, children, text)
    place = 0
    for match in tag.finditer(text):
        path[-1][2].append(text[place : match.start()])
        place = match.end()
        if not match[1]:
            if len(path) > LEVELS:
                return text
            path.append((match[2], [], []))
        elif len(path) > 1 and path[-1][0] == match[2]:
            name, children, words = path.pop()
            path[-1][1].append((name, _folded(children, "".join(words))))
        else:
            return text
    return _folded(root, text) if len(path) == 1 else text


def _folded(children: list[Any], words: str) -> Any:
    if not children:
        return json.loads(typed(words, set()))
    if all(name == "item" for name, _ in children):
        return [child for _, child in children]
    return dict(children)
