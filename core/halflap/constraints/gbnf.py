"""llama.cpp's grammar notation (GBNF), read into rules. Source of the notation: llama.cpp, grammars/README.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn, TypeAlias

from attrs import frozen

from halflap.constraints.matching import refused
from halflap.errors import ConstraintError

DEPTH = 100
"""Brackets within brackets."""
LAST = 0x10FFFF
SURROGATES = (0xD800, 0xDFFF)


@frozen
class Chars:
    """One character of these ranges."""

    ranges: tuple[tuple[int, int], ...]


@frozen
class Chain:
    items: tuple[Node, ...]


@frozen
class Either:
    items: tuple[Node, ...]


@frozen
class Repeat:
    """`most` None: without end."""

    item: Node
    least: int
    most: int | None


@frozen
class Rule:
    name: str


Node: TypeAlias = Chars | Chain | Either | Repeat | Rule


def read(text: str) -> dict[str, Node]:
    """The rules of a grammar by name; those that are used are there, and so is "root".

    Raises:
        ConstraintError: it is malformed; the message names the line.
        RecursionError: rules nested very deep.
    """
    return _Parser(text).rules()


def wrong(got: str, want: str) -> ConstraintError:
    return refused("grammar", got, want)


class _Parser:
    """Reads rules; errors carry the line."""

    _name = re.compile(r"[A-Za-z0-9_-]+")
    _space, _spaces = re.compile(r"(?:[ \t]|#[^\n]*)*"), re.compile(r"(?:\s|#[^\n]*)*")
    _count = re.compile(r"\{\s*(\d{1,9})?\s*(?:(,)\s*(\d{1,9})?\s*)?\}")
    _escapes: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "^": "^"}
    _hex: Final = {"x": 2, "u": 4, "U": 8}

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def rules(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        self._skip(self._spaces)
        while self._at < len(self._text):
            name = self._word()
            self._skip(self._space)
            if not self._take("::="):
                self._fail("'::='")
            if name in found:
                self._fail(f"one rule {name!r}, not two")
            self._skip(self._spaces)
            found[name] = self._either(0)
            self._skip(self._space)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                self._fail("the end of the rule")
            self._skip(self._spaces)
        if "root" not in found:
            raise wrong("no rule 'root'", "one, where every text begins")
        for rule in found.values():
            for part in parts(rule):
                if isinstance(part, Rule) and part.name not in found:
                    raise wrong(f"rule {part.name!r}, which is used and nowhere written", "'name ::= …' for each name")
        return found

    def _either(self, depth: int) -> Node:
        items = [self._sequence(depth)]
        while self._take("|"):
            self._skip(self._spaces)
            items.append(self._sequence(depth))
        return items[0] if len(items) == 1 else Either(tuple(items))

    def _sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while True:
            self._skip(self._spaces if depth else self._space)
            if self._at == len(self._text) or self._text[self._at] in "|)\r\n":
                return items[0] if len(items) == 1 else Chain(tuple(items))
            items.append(self._counted(self._item(depth), depth))

    def _item(self, depth: int) -> Node:
        if self._take('"'):
            return _literal(list(self._until('"')))
        if self._take("["):
            return self._class()
        if self._take("."):
            return Chars(((0, LAST),))
        if self._take("("):
            if depth == DEPTH:
                self._fail(f"at most {DEPTH} brackets within each other")
            inside = self._either(depth + 1)
            if not self._take(")"):
                self._fail("')'")
            return inside
        return Rule(self._word())

    def _counted(self, item: Node, depth: int) -> Node:
        while True:
            self._skip(self._spaces if depth else self._space)
            if self._take("*"):
                item = Repeat(item, 0, None)
            elif self._take("+"):
                item = Repeat(item, 1, None)
            elif self._take("?"):
                item = Repeat(item, 0, 1)
            elif match := self._count.match(self._text, self._at):
                self._at = match.end()
                least = int(match[1] or 0)
                most = int(match[3]) if match[3] else None if match[2] else least
                if (most is not None and most < least) or not (match[1] or match[3]):
                    self._fail("counts in order, such as {2,5}")
                item = Repeat(item, least, most)
            elif self._text.startswith("{", self._at):
                self._fail("counts, such as {2}, {2,} or {2,5}")
            else:
                return item

    def _class(self) -> Node:
        inverted = self._take("^")
        ranges: list[tuple[int, int]] = []
        characters = self._until("]")
        for char in characters:
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                end = next(characters, "")
                if not end or end < char:
                    self._fail("a range in order")
                ranges.append((ord(char), ord(end)))
            else:
                ranges.append((ord(char), ord(char)))
        ranges = _merged(ranges)
        if inverted:
            ranges = _inverse(ranges)
        if not ranges:
            self._fail("a class that holds some character")
        return Chars(tuple(ranges))

    def _until(self, end: str) -> Iterator[str]:
        while not self._take(end):
            if self._at == len(self._text) or self._text[self._at] in "\r\n":
                self._fail(f"{end!r} at its end")
            char = self._text[self._at]
            self._at += 1
            yield self._escape() if char == "\\" else char

    def _escape(self) -> str:
        kind = self._text[self._at : self._at + 1]
        self._at += 1
        if kind in self._hex:
            digits = self._text[self._at : self._at + self._hex[kind]]
            value = int(digits, 16) if re.fullmatch(r"[0-9a-fA-F]+", digits) else LAST + 1
            if len(digits) < self._hex[kind] or value > LAST or SURROGATES[0] <= value <= SURROGATES[1]:
                self._fail(f"{self._hex[kind]} hexadecimal digits of a character after \\{kind}")
            self._at += self._hex[kind]
            return chr(value)
        if kind not in self._escapes or not kind:
            self._fail('an escape: \\n \\r \\t \\\\ \\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH')
        return self._escapes[kind]

    def _word(self) -> str:
        match = self._name.match(self._text, self._at)
        if match is None:
            self._fail("a rule's name, a literal, a class or a bracket")
        self._at = match.end()
        return match[0]

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _skip(self, what: re.Pattern[str]) -> None:
        match = what.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _fail(self, want: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        found = self._text[self._at : self._at + 20].split("\n")[0]
        raise wrong(f"line {line}: {found!r}" if found else f"line {line}: its end", want)


def _literal(text: Sequence[str]) -> Node:
    items: tuple[Node, ...] = tuple(Chars(((ord(char), ord(char)),)) for char in text)
    return items[0] if len(items) == 1 else Chain(items)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _inverse(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    edges = [-1, *(edge for pair in ranges for edge in pair), LAST + 1]
    return [(low + 1, high - 1) for low, high in zip(edges[::2], edges[1::2], strict=True) if low + 1 <= high - 1]


def parts(node: Node) -> Iterator[Node]:
    """A node and all below it."""
    left = [node]
    while left:
        node = left.pop()
        yield node
        left += children(node)


def children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Chain | Either):
        return node.items
    return (node.item,) if isinstance(node, Repeat) else ()
