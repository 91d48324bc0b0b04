"""Readers of tool calls, one for each way in which models write them; a dialect names those of its family.

A reader says whether it understood a call. Until it has given out the name, what it took can become text again;
the arguments' JSON goes out as it comes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import field, frozen

from halflap.events import ToolCall
from halflap.text.chat.feed import Feed, Reading, Tags
from halflap.text.chat.literals import JSON, PYTHON, Style, string, value

NAME: Final = r"[\w.:/-]{1,128}"
HEAD: Final = 400
"""Characters between a call's beginning and its arguments."""

_NAME: Final = re.compile(NAME)
_NAMES: Final = ("name", "tool_name")
_ARGUMENTS: Final = ("arguments", "parameters", "args")
_IDS: Final = ("id", "call_id")


class Calls:
    """Where readers put what they find.

    Args:
        put: takes each event.
        tools: parameters of each tool by its name.
    """

    def __init__(self, feed: Feed, put: Callable[[ToolCall], None], tools: Mapping[str, Mapping[str, Any]]) -> None:
        self._feed, self._put, self.tools = feed, put, tools
        self.count = 0
        self._ids: set[str] = set()

    def begin(self, name: str, own_id: str | None = None) -> None:
        """A call's name is certain."""
        if not own_id or own_id in self._ids:
            own_id = f"call_{secrets.token_hex(8)}"
        self._ids.add(own_id)
        self.count += 1
        self._feed.forget()
        self._put(ToolCall(self.count - 1, own_id, name, ""))

    def piece(self, text: str) -> None:
        """The next of its arguments."""
        self._feed.forget()
        self._put(ToolCall(self.count - 1, None, None, text))


class CallReader(Protocol):
    """Reads one call, or a list of them."""

    @property
    def tags(self) -> Sequence[str]:
        """What it needs to see that may be special tokens."""

    def read(self, feed: Feed, calls: Calls) -> Reading[bool]: ...


@frozen
class JsonCalls:
    """`{"name": …, "arguments": {…}}`, or a list of such.

    Attributes:
        known: only names of tools are calls.
    """

    known: bool = False
    tags: Sequence[str] = ()

    def read(self, feed: Feed, calls: Calls) -> Reading[bool]:
        if not (yield from feed.accept("[")):
            return (yield from self._one(feed, calls))
        while True:
            yield from feed.space()
            if not (yield from self._one(feed, calls)):
                return False
            yield from feed.space()
            if (yield from feed.accept("]")):
                return True
            if not (yield from feed.accept(",")):
                return False

    def _one(self, feed: Feed, calls: Calls) -> Reading[bool]:
        if not (yield from feed.accept("{")):
            return False
        name = own_id = None
        begun, early = False, []  # type: ignore[var-annotated]
        while True:
            yield from feed.space()
            key = yield from _text(feed)
            yield from feed.space()
            if key is None or not (yield from feed.accept(":")):
                return False
            yield from feed.space()
            if key in _NAMES and name is None:
                name = yield from _text(feed)
                if not name or not self._fits(name, calls):
                    return False
            elif key in _IDS and (yield from feed.begins('"')):
                own_id = yield from _text(feed)
                if own_id is None:
                    return False
            elif key in _ARGUMENTS and name and not begun and not early and (yield from feed.begins("{")):
                calls.begin(name, own_id)
                begun = True
                if not (yield from value(feed, JSON, calls.piece)):
                    return False
            else:
                into = early if key in _ARGUMENTS and not begun and not early else []
                if not (yield from value(feed, JSON, into.append)):
                    return False
            yield from feed.space()
            if (yield from feed.accept("}")):
                break
            if not (yield from feed.accept(",")):
                return False
        if not name:
            return False
        if not begun:
            calls.begin(name, own_id)
            calls.piece(_object("".join(early)))
        return True

    def _fits(self, name: str, calls: Calls) -> bool:
        return name in calls.tools if self.known else bool(name)


def _text(feed: Feed) -> Reading[str | None]:
    """A JSON string's value; None: it is none."""
    parts: list[str] = []
    if not (yield from feed.accept('"')) or not (yield from string(feed, JSON, '"', parts.append)):
        return None
    text: str = json.loads("".join(parts))
    return text


def _object(given: str) -> str:
    """Arguments that came before their name, or as a string of JSON, or not at all."""
    if given.startswith('"'):
        inner: str = json.loads(given)
        try:
            json.loads(inner)
        except (ValueError, RecursionError):
            return given
        return inner
    return "{}" if given in ("", "null") else given


@frozen
class NamedCalls:
    """A name, something between, and the arguments as one value: `get_weather[ARGS]{"city": …}`.

    Attributes:
        head: pattern of all that stands before the arguments' `{` (or the fence before it); groups name, and maybe id.
        before: what begins each call.
        after: what ends it.
        style: how the arguments are written.
        tags: parts of these that may be special tokens.
    """

    head: str
    before: str = ""
    after: str = ""
    style: Style = JSON
    tags: Sequence[str] = ()
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    @_pattern.default
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.head)

    def read(self, feed: Feed, calls: Calls) -> Reading[bool]:
        if not (yield from feed.accept(self.before)):
            return False
        begun = yield from feed.head(_BRACE, HEAD)
        found = self._pattern.fullmatch(begun[0].strip()) if begun else None
        if begun is None or found is None:
            return False
        if begun[1] == _FENCE:
            yield from feed.accept("json")
            yield from feed.space()
            if not (yield from feed.accept("{")):
                return False
        calls.begin(found["name"], found.groupdict().get("id"))
        feed.give_back("{")
        if not (yield from value(feed, self.style, calls.piece)):
            return False
        calls_end = (_FENCE, self.after) if begun[1] == _FENCE else (self.after,)
        for end in filter(None, calls_end):
            yield from skip(feed, end)
        return True


_FENCE: Final = "```"
_BRACE: Final = Tags(["{", _FENCE])


def skip(feed: Feed, end: str) -> Reading[bool]:
    """Takes white space and what should stand behind it, if it does; else nothing."""
    gap = yield from feed.space()
    if (yield from feed.accept(end)):
        return True
    feed.give_back(gap)
    return False


@frozen
class PythonCalls:
    """`[get_weather(city="Paris", days=3), …]`.

    Attributes:
        known: only names of tools are calls.
    """

    known: bool = False
    tags: Sequence[str] = ()

    def read(self, feed: Feed, calls: Calls) -> Reading[bool]:
        if not (yield from feed.accept("[")):
            return (yield from self._one(feed, calls))
        while True:
            yield from feed.space()
            if not (yield from self._one(feed, calls)):
                return False
            yield from feed.space()
            if (yield from feed.accept("]")):
                return True
            if not (yield from feed.accept(",")):
                return False

    def _one(self, feed: Feed, calls: Calls) -> Reading[bool]:
        begun = yield from feed.head(_OPENING, HEAD)
        if begun is None or not _NAME.fullmatch(begun[0]) or (self.known and begun[0] not in calls.tools):
            return False
        calls.begin(begun[0])
        calls.piece("{")
        first = True
        while True:
            yield from feed.space()
            if (yield from feed.accept(")")):
                calls.piece("}")
                return True
            if not first and not (yield from feed.accept(",")):
                return False
            yield from feed.space()
            key = yield from feed.head(_EQUALS, HEAD)
            if key is None or not _NAME.fullmatch(key[0].strip()):
                return False
            calls.piece(f"{'' if first else ', '}{json.dumps(key[0].strip())}: ")
            yield from feed.space()
            if not (yield from value(feed, PYTHON, calls.piece)):
                return False
            first = False


_OPENING: Final = Tags(["("])
_EQUALS: Final = Tags(["="])


@frozen
class EitherCalls:
    """One of several ways, told apart by the first character; the last takes what no other begins with.

    Attributes:
        ways: (characters, reader) in order.
    """

    ways: tuple[tuple[str, CallReader], ...]

    @property
    def tags(self) -> Sequence[str]:
        return [tag for _, reader in self.ways for tag in reader.tags]

    def read(self, feed: Feed, calls: Calls) -> Reading[bool]:
        char = yield from feed.char()
        for begins, reader in self.ways:
            if not begins or (char and char in begins):
                return (yield from reader.read(feed, calls))
        return False
