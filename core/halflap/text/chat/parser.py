"""From a model's text to events, as a dialect says: text, thoughts, calls. It never raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from halflap.events import ChatEvent, Reasoning, Text, ToolCall
from halflap.text.chat.calls import Calls
from halflap.text.chat.dialect import Dialect, Section
from halflap.text.chat.feed import Feed, Reading, Tags


class Machine:
    """A parser that reads as if all text were there: `read` is a generator over `self.feed`."""

    def __init__(self, tools: Mapping[str, Mapping[str, Any]], tags: Sequence[str]) -> None:
        self.tags = tuple(tags)
        self.feed = Feed()
        self._events: list[ChatEvent] = []
        self.calls = Calls(self.feed, self._events.append, tools)
        self._space: list[str] = []
        self.skips_space = False
        self._reading = self.read()

    def read(self) -> Reading[None]:
        """Reads the whole answer."""
        raise NotImplementedError

    def push(self, text: str) -> list[ChatEvent]:
        self.feed.push(text)
        return self._go_on()

    def pass_over(self, given: str) -> None:
        """Text of this answer that was given out before."""
        self.push(given)
        self._space.clear()
        self.skips_space = False

    def finish(self) -> list[ChatEvent]:
        """What was held back; a call that breaks off is text, as far as it was not given out."""
        self.feed.ended = True
        return self._go_on()

    def _go_on(self) -> list[ChatEvent]:
        next(self._reading, None)
        merged: list[ChatEvent] = []
        for event in self._events:
            if merged and (one := _joined(merged[-1], event)) is not None:
                merged[-1] = one
            else:
                merged.append(event)
        self._events.clear()
        return merged

    def say(self, text: str, make: Callable[[str], ChatEvent]) -> None:
        """Words; space at their end waits, for before a tag it is layout, and so it is right behind one."""
        if self.skips_space:
            text = text.lstrip()
        if not text:
            return
        self.skips_space = False
        words = text.rstrip()
        if words:
            self._events.append(make("".join(self._space) + words))
            self._space.clear()
        self._space.append(text[len(words) :])

    def layout(self) -> str:
        """A tag: the space around it is layout. Returns what stood before it."""
        gap = "".join(self._space)
        self._space.clear()
        self.skips_space = True
        return gap

    def section(self, section: Section, opened: str) -> Reading[None]:
        """The calls of a section whose opening was taken; what is none, is text."""
        skipped, before = self.skips_space, self.calls.count
        self.feed.mark(self.layout(), opened)
        whole = yield from self._calls(section)
        rest = self.feed.unmark()
        if not whole and rest:
            self.skips_space = skipped and self.calls.count == before
            self.say(rest, Text)

    def _calls(self, section: Section) -> Reading[bool]:
        count = 0
        while True:
            gap = yield from self.feed.space()
            if count and (yield from self.feed.accept(section.close)):
                return True
            if count and not (yield from self.feed.char()):  # the answer ends without the closing
                self.feed.give_back(gap)
                return True
            if not (yield from section.reader.read(self.feed, self.calls)):
                return False
            self.feed.forget()
            count += 1
            if not section.close:
                return True

    def rest(self, make: Callable[[str], ChatEvent]) -> None:
        """The end: space that waited is words."""
        if self._space:
            self._events.append(make("".join(self._space)))
            self._space.clear()


def _joined(one: ChatEvent, other: ChatEvent) -> ChatEvent | None:
    """Two events as one, if they are of one kind."""
    if isinstance(one, ToolCall):
        if isinstance(other, ToolCall) and other.name is None and other.index == one.index:
            return ToolCall(one.index, one.id, one.name, one.arguments + other.arguments)
        return None
    return type(one)(one.text + other.text) if isinstance(other, type(one)) else None


class DialectParser(Machine):
    """Reads answers in a dialect.

    Args:
        tools: parameters of each tool by name; none: nothing but marked sections can be a call.
        thinking: the prompt opened a thought.
        reasoning: False: thoughts are text, with their tags.
        calls: False: calls are text.
    """

    def __init__(
        self,
        dialect: Dialect,
        tools: Mapping[str, Mapping[str, Any]],
        thinking: bool = False,
        reasoning: bool = True,
        calls: bool = True,
    ) -> None:
        self._thinks = dict(dialect.think) if reasoning else {}
        sections = dialect.sections if calls else ()
        self._sections = {section.open: section for section in sections if section.open}
        self._bare = next((section for section in sections if not section.open and tools), None)
        self._layout = frozenset(dialect.layout)
        self._tags = Tags([*self._thinks, *self._thinks.values(), *self._sections, *self._layout])
        inside = self._sections if dialect.calls_end_thoughts else ()
        self._inside = {close: Tags([close, *inside]) for close in self._thinks.values()}
        self._opened = next(iter(self._thinks.values()), "") if thinking else ""
        super().__init__(tools, dialect.all_tags)
        self.skips_space = bool(self._opened)

    def read(self) -> Reading[None]:
        if self._opened:
            yield from self._thought(self._opened)
        begins = self._bare is not None
        while True:
            if begins and self._bare is not None:
                yield from self._begins_with_calls(self._bare)
                begins = False
            text, tag = yield from self.feed.chunk(self._tags)
            self.say(text, Text)
            if tag in self._sections:
                yield from self.section(self._sections[tag], tag)
            elif tag in self._thinks:
                self.layout()
                yield from self._thought(self._thinks[tag])
                begins = self._bare is not None
            elif tag in self._layout:
                self.layout()
            elif tag:  # closes what nothing opened
                self.say(tag, Text)
            elif not text:
                return self.rest(Text)

    def _thought(self, close: str) -> Reading[None]:
        while True:
            text, tag = yield from self.feed.chunk(self._inside[close])
            self.say(text, Reasoning)
            if tag == close:
                self.layout()
                return
            if tag:
                yield from self.section(self._sections[tag], tag)
                return
            if not text:
                return self.rest(Reasoning)

    def _begins_with_calls(self, section: Section) -> Reading[None]:
        """Calls that nothing marks but that the answer begins with them."""
        while True:
            self.feed.mark("".join(self._space))
            self._space.clear()
            yield from self.feed.space()
            char = yield from self.feed.char()
            whole = bool(char) and char in section.begins and (yield from section.reader.read(self.feed, self.calls))
            rest = self.feed.unmark()
            if not whole:
                self.say(rest, Text)
                return
            self.skips_space = True
            yield from self.feed.space()
            yield from self.feed.accept(";")
