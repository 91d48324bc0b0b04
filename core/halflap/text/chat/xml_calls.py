"""Tool calls whose parameters stand between tags; what type a value has, the tool's schema says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from halflap.text.chat.argument_schemas import type_of, types
from halflap.text.chat.calls import HEAD, NAME, Calls
from halflap.text.chat.feed import Feed, Reading, Tags
from halflap.text.chat.literals import JSON, as_json, escaped

_NAME: Final = re.compile(NAME)
_CDATA: Final = ("<![CDATA[", "]]>")
_QUOTE: Final = re.compile(r'"|\\.?', re.S)
LEVELS: Final = 50
"""Of values made of tags."""
FURTHER: Final = 4000
"""Characters in which a string that holds what looks like its value's end must end itself."""


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
        tool, first = calls.tools.get(name), True
        schemas = _properties(tool)
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
                attributes.strip(), types(schemas.get(key_name), tool)
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
        text = yield from _text(feed, ends)
        if text is None:
            return False
        calls.piece(self._typed(text, kinds))
        return True

    def _typed(self, text: str, kinds: set[str]) -> str:
        if self.nested and self.nested in text and as_json(text, JSON) is None:
            return json.dumps(_tree(text, self.nested), ensure_ascii=False)
        return typed(text, kinds)


def _text(feed: Feed, ends: Tags) -> Reading[str | None]:
    """A value's text up to its end; what looks like the end inside a string of a JSON object or list is none."""
    parts: list[str] = []
    size, quotes = 0, _Quotes()
    first: tuple[int, str] | None = None
    while True:
        text, tag = yield from feed.chunk(ends)
        parts.append(text)
        quotes.read(text)
        size += len(text)
        if tag and not quotes.open and (first is None or as_json("".join(parts), JSON) is not None):
            return "".join(parts)
        if first is not None and (not (text or tag) or size - first[0] > FURTHER):
            whole, (place, found) = "".join(parts) + tag, first
            feed.give_back(whole[place + len(found) :])
            return whole[:place]
        if not (text or tag):
            return None
        if tag:
            first = first or (size, tag)
            parts.append(tag)
            quotes.read(tag)
            size += len(tag)


class _Quotes:
    """Reads an object or a list in JSON.

    Attributes:
        open: what was read ends inside a string.
    """

    def __init__(self) -> None:
        self.open, self._compound, self._held = False, "", ""

    def read(self, text: str) -> None:
        self._compound = self._compound or text.lstrip()[:1]
        if self._compound in ("{", "["):
            text, self._held = self._held + text, ""
            for match in _QUOTE.finditer(text):
                self.open ^= match[0] == '"'
                self._held = "\\" if match[0] == "\\" else ""


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
    """A value's text as JSON: what it reads as, unless a string is allowed and no such type is; else as a string.

    Args:
        kinds: types that the schema allows; none: any.
    """
    found = as_json(text, JSON) or as_json(text)
    if found is not None and found[0] != '"' and ("string" not in kinds or _types(found) & kinds):
        return found
    return json.dumps(text.removeprefix("\n").removesuffix("\n") if text.startswith("\n") else text, ensure_ascii=False)


def _types(value: str) -> set[str]:
    """Types of a JSON value that is no string."""
    kind = {"{": "object", "[": "array"}.get(value[0]) or type_of(json.loads(value))
    return {kind, "number"} if kind == "integer" else {kind}


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
