"""An answer as blocks that begin, grow and end, one after the other: the form of the newer APIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from attrs import define

from halflap import Event, Finish, Reasoning, Text, Token, ToolCall

Kind = Literal["thinking", "text", "call"]


@define
class Block:
    """A block of an answer.

    Attributes:
        content: the text, the thinking, or a call's arguments as JSON text, as far as it has come.
        id, name: a call's.
    """

    place: int
    kind: Kind
    content: str = ""
    id: str = ""
    name: str = ""


Change = tuple[Literal["begins", "grows", "ends"], Block, str, tuple[Token, ...]]
"""What happened to a block: what it is now, the text that was added, and its tokens."""


class Blocks:
    """Makes events into blocks.

    Args:
        parallel: keep calls after the first.
    """

    def __init__(self, parallel: bool = True) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None
        self._call = -1
        self.parallel = parallel

    def push(self, event: Event) -> Iterator[Change]:
        if isinstance(event, Finish):
            yield from self._close()
        elif isinstance(event, Text | Reasoning):
            if event.text:
                kind: Kind = "text" if isinstance(event, Text) else "thinking"
                yield from self._grow(kind, event.text, event.tokens)
        elif isinstance(event, ToolCall):
            if event.index and not self.parallel:
                return
            if event.index != self._call or self._open is None or self._open.kind != "call":
                yield from self._close()
                self._call = event.index
                yield from self._begin(Block(len(self.all), "call", "", event.id or "", event.name or ""))
            yield from self._grow("call", event.arguments, ())

    def _grow(self, kind: Kind, text: str, tokens: tuple[Token, ...]) -> Iterator[Change]:
        if self._open is None or self._open.kind != kind:
            yield from self._close()
            yield from self._begin(Block(len(self.all), kind))
        assert self._open is not None
        self._open.content += text
        if text:
            yield "grows", self._open, text, tokens

    def _begin(self, block: Block) -> Iterator[Change]:
        self.all.append(block)
        self._open = block
        yield "begins", block, "", ()

    def _close(self) -> Iterator[Change]:
        if self._open is not None:
            block, self._open = self._open, None
            yield "ends", block, "", ()
