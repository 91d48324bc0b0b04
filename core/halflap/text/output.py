"""From tokens to events: detokenize, watch for stop strings, parse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from halflap.events import Event, Reasoning, Text, Token
from halflap.text.chat.contract import Parser
from halflap.text.detokenizer import Detokenizer
from halflap.text.stop_strings import Indentation, StopStrings
from halflap.text.tokenizer import Tokenizer


class Output:
    """One answer's way out.

    Attributes:
        called: the answer holds a tool call.
        lines: it holds a line break.
    """

    def __init__(self, tokenizer: Tokenizer, parser: Parser, stops: Sequence[str] = (), n_indent: int = 0) -> None:
        self._detokenizer = Detokenizer(tokenizer, skip_special=False)
        self._tokenizer, self._parser, self._stops = tokenizer, parser, StopStrings(stops)
        self._tags = frozenset(getattr(parser, "tags", ()))
        self._pending: list[Token] = []
        self._indentation = Indentation(n_indent)
        self.called = self.lines = False

    @property
    def stopped(self) -> str | None:
        """The stop string that was met."""
        return self._stops.met

    @property
    def outdented(self) -> bool:
        """A line began with too little indentation, and is left out."""
        return self._indentation.ended

    def push(self, token: Token) -> list[Event]:
        self._pending.append(token)
        if self._tokenizer.is_special(token.id) and token.bytes.decode("utf-8", "replace") not in self._tags:
            return []  # control tokens are no words, unless the format reads them
        text = self._indentation.push(self._stops.push(self._detokenizer.push(token.id)))
        self.lines = self.lines or "\n" in text
        return self._events(self._parser.push(text))

    def finish(self) -> list[Event]:
        text = self._indentation.push(self._stops.push(self._detokenizer.flush()) + self._stops.flush())
        events: list[Any] = [*self._parser.push(text), *self._parser.finish()]
        if self._pending and not any(isinstance(e, Text | Reasoning) for e in events):
            events.append(Text(""))  # so that no token is lost to those who count them
        return self._events(events)

    def _events(self, events: Sequence[Any]) -> list[Event]:
        """Give the tokens that are waiting to the first words."""
        out: list[Event] = []
        for event in events:
            if isinstance(event, Text | Reasoning):
                event = evolve(event, tokens=tuple(self._pending))
                self._pending = []
            else:
                self.called = True
            out.append(event)
        return out
