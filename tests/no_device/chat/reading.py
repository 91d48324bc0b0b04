"""Answers through parsers, as tests want to see them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from halflap import plugins
from halflap.events import Reasoning, Text, ToolCall
from halflap.text.chat.contract import ChatFormat, Parser
from halflap.text.chat.template import ChatTemplate

Read = tuple[str, str, list[tuple[str, str]]]


def form(name: str) -> ChatFormat:
    made: ChatFormat = plugins.get("chat_formats", name)(ChatTemplate("x"))
    return made


def read(parser: Parser, parts: Iterable[str]) -> Read:
    """(reasoning, text, calls as (name, arguments' JSON)) of an answer that comes in these parts."""
    events = [event for part in parts for event in parser.push(part)] + parser.finish()
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    text = "".join(event.text for event in events if isinstance(event, Text))
    calls: list[list[str]] = []
    for event in events:
        if isinstance(event, ToolCall):
            if event.name is not None:
                assert event.index == len(calls)
                assert event.id
                calls.append([event.name, ""])
            assert event.index == len(calls) - 1  # calls come one after the other
            calls[-1][1] += event.arguments
    return reasoning, text, [(name, arguments) for name, arguments in calls]


def whole(found: Read) -> tuple[str, str, list[tuple[str, Any]]]:
    return found[0], found[1], [(name, json.loads(arguments)) for name, arguments in found[2]]


def cut(answer: str, *places: int) -> Sequence[str]:
    """An answer's UTF-8 cut at these bytes, each part as text: a character comes when its last byte has come."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    data = answer.encode()
    ends = [0, *places, len(data)]
    return [decode(data[begin:end]) for begin, end in pairwise(ends)]
