"""gpt-oss answers: messages with headers, each on a channel, `<|channel|>analysis<|message|>…<|end|><|start|>…`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from halflap.events import ChatEvent, Reasoning, Text
from halflap.text.chat.calls import HEAD
from halflap.text.chat.feed import Reading, Tags
from halflap.text.chat.literals import JSON, value
from halflap.text.chat.parser import Machine

CHANNEL, MESSAGE, START, CONSTRAIN = "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"
TAGS: Final = (CHANNEL, MESSAGE, START, CONSTRAIN, "<|end|>", "<|call|>", "<|return|>")

_ENDS: Final = Tags(["<|end|>", "<|call|>", "<|return|>", START, CHANNEL])
_HEADERS: Final = Tags([START, CHANNEL])
_MESSAGE: Final = Tags([MESSAGE])
_TO: Final = re.compile(r"to=(?:functions\.)?([\w.:/-]+)")


class HarmonyParser(Machine):
    """Reads channels: analysis is thought, calls are addressed to a function, all else is text.

    Args:
        tools: parameters of each tool by name.
        header: the prompt ended in `<|start|>assistant`, so the answer begins inside a header.
        reasoning: False: thoughts are text, with their headers.
        calls: False: calls are text, with their headers.
    """

    def __init__(
        self,
        tools: Mapping[str, Mapping[str, Any]],
        header: bool = True,
        reasoning: bool = True,
        calls: bool = True,
    ) -> None:
        self._header, self._thinks, self._calls_too = header, reasoning, calls
        super().__init__(tools, TAGS)

    def read(self) -> Reading[None]:
        if self._header:
            begun = yield from self.feed.space()
            head = begun + (((yield from self.feed.accept(" ")) and " ") or "")
            for opening in (CHANNEL, "to="):
                if (yield from self.feed.begins(opening)):
                    yield from self._message("")
                    break
            else:
                self.say(head, Text)
        while True:
            text, tag = yield from self.feed.chunk(_HEADERS)
            self.say(text, Text)
            if tag:
                yield from self._message(tag)
            elif not text:
                return self.rest(Text)

    def _message(self, opened: str) -> Reading[None]:
        """A header whose opening was taken, and what it heads."""
        skipped = self.skips_space
        self.feed.mark(self.layout(), opened)
        head = yield from self.feed.head(_MESSAGE, HEAD)
        if head is None:
            self.skips_space = skipped
            return self.say(self.feed.unmark(), Text)
        to = _TO.search(head[0])
        channel = "analysis" if re.search(r"\banalysis\b", head[0]) else "final"
        if to is not None and to[1] != "assistant" and self._calls_too:
            return (yield from self._call(to[1]))
        thinks = channel == "analysis" and self._thinks
        header = self.feed.unmark()
        if (channel == "analysis" and not self._thinks) or to is not None:
            self.skips_space = False
            self.say(header, Text)
        return (yield from self._body(thinks))

    def _body(self, thinks: bool) -> Reading[None]:
        make: type[ChatEvent] = Reasoning if thinks else Text
        while True:
            text, tag = yield from self.feed.chunk(_ENDS)
            self.say(text, make)
            if tag in (START, CHANNEL):
                self.layout()
                return (yield from self._message(tag))
            if tag:
                self.layout()
                return
            if not text:
                return self.rest(make)

    def _call(self, name: str) -> Reading[None]:
        yield from self.feed.space()
        if (yield from self.feed.begins("{")):
            self.calls.begin(name)
            whole = yield from value(self.feed, JSON, self.calls.piece)
        else:
            whole = False
        rest = self.feed.unmark()
        if not whole and rest:
            self.skips_space = False
            self.say(rest, Text)
        gap = yield from self.feed.space()
        for end in ("<|call|>", "<|end|>"):
            if (yield from self.feed.accept(end)):
                return
        self.feed.give_back(gap)
