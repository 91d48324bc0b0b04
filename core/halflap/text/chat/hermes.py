"""The generic format, and tags that many models share: `<think>…</think>`, Hermes' `<tool_call>{…}</tool_call>`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from halflap.errors import InvalidRequestError
from halflap.events import ChatEvent, Reasoning, Text, ToolCall

if TYPE_CHECKING:  # the template engine is loaded with the first chat
    from halflap.text.chat.template import ChatTemplate, Piece

THINK, THINK_END = "<think>", "</think>"
CALL, CALL_END = "<tool_call>", "</tool_call>"


class Parser(Protocol):
    """Turns a model's text into events as it comes; what it does not understand stays text. It never raises."""

    def push(self, text: str) -> list[ChatEvent]: ...
    def finish(self) -> list[ChatEvent]: ...


@frozen
class CallText:
    """How one tool's call is written.

    Attributes:
        before: between the trigger and the arguments.
        schema: JSON schema of the arguments.
        after: behind them.
    """

    before: str
    schema: Mapping[str, Any] | bool
    after: str


@frozen
class CallGrammar:
    """How a format writes calls, for answers whose calls must fit the tools.

    Attributes:
        trigger: text with which every call begins.
        calls: those that may be made; none: the trigger may not appear.
        required: there is at least one call, and nothing but calls, behind what is thought.
        thinking: the prompt ends in an open thought.
        think, think_end: what opens and closes one.
    """

    trigger: str
    calls: tuple[CallText, ...]
    required: bool = False
    thinking: bool = False
    think: str = THINK
    think_end: str = THINK_END


class ChatFormat(Protocol):
    """How one family of models writes chats."""

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], **options: Any) -> list[Piece]: ...
    def parser(self, tools: Sequence[Any], prompt: str) -> Parser: ...

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        """For `tool_choice`: "auto", "none", "required" or a tool's name. None: the format's calls cannot be held."""


class Plain:
    """Any template; the answer is all text."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], **options: Any) -> list[Piece]:
        return self._template.render(messages, tools, **options)

    def parser(self, tools: Sequence[Any], prompt: str) -> Parser:
        return PlainParser()

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        return None


class PlainParser:
    """Every word is text."""

    def push(self, text: str) -> list[ChatEvent]:
        return [Text(text)] if text else []

    def finish(self) -> list[ChatEvent]:
        return []


class Hermes(Plain):
    """Thinking in `<think>` tags, calls as JSON in `<tool_call>` tags (Qwen 2.5 and 3, Hermes 2 and 3, the starter)."""

    def parser(self, tools: Sequence[Any], prompt: str) -> Parser:
        """`prompt` is the rendered prompt: it may end inside an open `<think>`."""
        return TagParser(thinking=_opened(prompt))

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        known = [_signature(tool, place) for place, tool in enumerate(tools)]
        if choice not in ("auto", "none", "required", *(name for name, _ in known)):
            want = "'auto', 'none', 'required' or the name of a tool"
            raise InvalidRequestError("option 'tool_choice'", got=repr(choice), want=want, field="tool_choice")
        calls = tuple(
            CallText(f'\n{{"name": {json.dumps(name)}, "arguments": ', schema, f"}}\n{CALL_END}")
            for name, schema in known
            if choice in ("auto", "required", name)
        )
        return CallGrammar(CALL, calls, choice not in ("auto", "none"), _opened(prompt))


def _opened(prompt: str) -> bool:
    return prompt.rfind(THINK) > prompt.rfind(THINK_END)


def _signature(tool: Any, place: int) -> tuple[str, Mapping[str, Any] | bool]:
    """A tool's name and the schema of its arguments."""
    function = tool.get("function", tool) if isinstance(tool, Mapping) else {}
    name = function.get("name") if isinstance(function, Mapping) else None
    nothing = {"type": "object", "additionalProperties": False}
    schema = function.get("parameters", nothing) if isinstance(name, str) else None
    if not isinstance(name, str) or not name or not isinstance(schema, Mapping | bool):
        want = "a function with 'name' and, if it takes any, 'parameters'"
        raise InvalidRequestError(f"tools[{place}]", got=f"{tool!r:.80}", want=want, field="tools")
    return name, schema


class TagParser:
    """A small machine with three states: text, thinking, call.

    Args:
        thinking: the prompt already opened the thinking.
    """

    tags = (THINK, THINK_END, CALL, CALL_END)

    def __init__(self, thinking: bool = False) -> None:
        self._state = "thinking" if thinking else "text"
        self._held = ""
        self._calls = 0
        self._skip_space = thinking  # space right after a tag is layout, not words

    def push(self, text: str) -> list[ChatEvent]:
        self._held += text
        events: list[ChatEvent] = []
        while self._advance(events):
            pass
        return events

    def finish(self) -> list[ChatEvent]:
        """An unclosed call that is whole JSON counts; all else degrades to text."""
        held, self._held = self._held, ""
        if self._state == "call":
            return self._call(held, closed=False)
        return self._words(held)

    def _advance(self, events: list[ChatEvent]) -> bool:
        """One step; False when more text is needed."""
        if self._state == "call":
            end = self._held.find(CALL_END)
            if end < 0:
                return False
            inside, self._held = self._held[:end], self._held[end + len(CALL_END) :]
            self._state, self._skip_space = "text", True
            events += self._call(inside, closed=True)
            return True
        tags = (THINK_END,) if self._state == "thinking" else (THINK, CALL)
        found = [(place, tag) for tag in tags if (place := self._held.find(tag)) >= 0]
        if not found:
            safe = len(self._held) - max(_overlap(self._held, tag) for tag in tags)
            safe = len(self._held[:safe].rstrip())  # space before a tag is layout: wait and see
            ready, self._held = self._held[:safe], self._held[safe:]
            events += self._words(ready)
            return False
        place, tag = min(found)
        ready, self._held = self._held[:place], self._held[place + len(tag) :]
        if tag in (THINK_END, CALL):
            ready = ready.rstrip()
        events += self._words(ready)
        self._state = {THINK: "thinking", THINK_END: "text", CALL: "call"}[tag]
        self._skip_space = True
        return True

    def _words(self, text: str) -> list[ChatEvent]:
        if self._skip_space:
            text = text.lstrip()
        if not text:
            return []
        self._skip_space = False
        return [Reasoning(text)] if self._state == "thinking" else [Text(text)]

    def _call(self, inside: str, closed: bool) -> list[ChatEvent]:
        whole = CALL + inside + (CALL_END if closed else "")
        try:
            call = json.loads(inside)
            name, arguments = call["name"], call.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return [Text(whole)]
        if not isinstance(name, str) or not name:
            return [Text(whole)]
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        self._calls += 1
        return [ToolCall(self._calls - 1, f"call_{secrets.token_hex(8)}", name, text)]


def _overlap(text: str, tag: str) -> int:
    """How many of the last characters may be the beginning of the tag."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if tag.startswith(text[-n:])), 0)
