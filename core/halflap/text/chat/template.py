"""Chat templates: messages to prompts, in jinja2's sandbox and within bounds (see `sandbox`).

A template's own literals may form special tokens; what comes from messages, tools and files never may. Before
rendering, every special token's text inside a value is broken by a marker, a Unicode noncharacter; afterwards each
broken spelling becomes a piece of its own that is tokenised as plain text.
"""

from __future__ import annotations

import datetime
import gc
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jinja2.meta
from attrs import frozen

from halflap.errors import TemplateError
from halflap.text.chat.capabilities import probe
from halflap.text.chat.contract import Capabilities
from halflap.text.chat.dialect import Written
from halflap.text.chat.messages import fitted
from halflap.text.chat.sandbox import CHARACTERS, GLOBALS, Budget, Sandbox, budget

MARK = "\ufdd0"
THINK_TAGS = frozenset({"<think>", "</think>"})
"""Templates look for these in assistant turns, to drop old thinking: there they stay whole."""


SWITCHES: Mapping[str, tuple[object, object]] = {
    "enable_thinking": (True, False),
    "thinking": (True, False),
    "reasoning": (True, False),
    "thinking_mode": ("enabled", "disabled"),
}
"""Variables with which templates turn thinking on and off, and what they are then."""


@frozen
class Piece:
    """Part of a prompt; `special` says whether its text may form special tokens."""

    text: str
    special: bool


class ChatTemplate:
    """A compiled template.

    Args:
        source: Jinja text.
        specials: texts of the vocabulary's special tokens.
        bos: text of the token that begins a sequence; "" if there is none.

    Attributes:
        declared: variables that it looks for (or may set itself).
        written: how calls are written into an assistant's words, if it does not write them itself.

    Raises:
        TemplateError: the source does not compile.
    """

    def __init__(self, source: str, specials: Iterable[str] = (), bos: str = "", eos: str = "") -> None:
        self.source, self._bos, self._eos = source, bos, eos
        self._specials = sorted(filter(None, specials), key=len, reverse=True)
        self._spellings = re.compile("|".join(map(re.escape, self._specials))) if self._specials else None
        self._broken = {s[0] + MARK + s[1:]: s for s in self._specials}
        self._broken_spellings = re.compile("|".join(map(re.escape, self._broken))) if self._broken else None
        self.written: Written | None = None
        try:
            with budget():
                tree, self._template = Sandbox().metered(source)
                self.declared = frozenset(jinja2.meta.find_undeclared_variables(tree))
        except TemplateError:
            raise
        except Exception as cause:  # also what Python's own compiler says of it
            raise TemplateError(
                "chat template", got=f"{type(cause).__name__}: {cause}", want="a Jinja template that compiles"
            ) from cause

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = (), **options: Any) -> list[Piece]:
        """A prompt as pieces, in order.

        Args:
            messages: as in OpenAI's API; they are made into what the template takes (see `Capabilities`).
            tools: as in OpenAI's API.
            options: further variables of the template (enable_thinking, add_generation_prompt, …).

        Raises:
            TemplateError: the template refused the messages, failed, or passed a limit.
        """
        can = self.capabilities
        given = tools or ([] if can.empty_tools else None)
        known = self._known(fitted(messages, can, self.written), given, options)
        with budget(_bytes((known["messages"], known["tools"]))) as used:
            return list(self._pieces(self._run(known, used)))

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the template does with messages."""
        spent = False

        def attempt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, **options: Any) -> str | None:
            nonlocal spent
            if spent:  # or a dozen trials would each take what a rendering may
                return None
            with budget() as used:
                try:
                    return self._run(self._known(messages, tools, options), used)
                except TemplateError:
                    spent = used.spent
            if spent:
                gc.collect()  # jinja2's tracebacks hold in a circle what was made
            return None

        return probe(attempt, {name: values for name, values in SWITCHES.items() if name in self.declared})

    def _known(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The template's variables."""
        return {
            "messages": [self._guarded_message(message) for message in messages],
            "tools": self._guarded(tools),
            "bos_token": self._bos,
            "eos_token": self._eos,
            "add_generation_prompt": True,
            **self._further(tools or ()),
            **options,
        }

    def _further(self, tools: Sequence[Any]) -> dict[str, Any]:
        """Variables that a few templates look for."""
        further = {
            "datetime": datetime.datetime.now().strftime("%B %d %Y"),
            "functions": json.dumps(self._guarded(tools), ensure_ascii=False),
        }
        return {name: value for name, value in further.items() if name in self.declared}

    def _run(self, variables: Mapping[str, Any], used: Budget) -> str:
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(**variables, **GLOBALS):
                size += len(part)
                if size > CHARACTERS:
                    used.spent = True
                    raise TemplateError("chat template output", got=f"over {CHARACTERS:,} characters", want="fewer")
                used.charge()
                parts.append(part)
        except TemplateError:
            raise
        except RecursionError as cause:
            raise TemplateError("chat template", got="endless recursion", want="a template that ends") from cause
        except Exception as cause:
            raise TemplateError(
                "chat template", got=f"{type(cause).__name__}: {cause}"[:1000], want="messages and tools it accepts"
            ) from cause
        return "".join(parts)

    def _guarded_message(self, message: Mapping[str, Any]) -> Any:
        return self._guarded(message, THINK_TAGS if message.get("role") == "assistant" else frozenset())

    def _guarded(self, value: Any, whole: frozenset[str] = frozenset()) -> Any:
        """A copy of a value in which no string spells a special token."""
        if isinstance(value, str):
            value = value.replace(MARK, "\ufffd")
            if self._spellings is None:
                return value
            return self._spellings.sub(lambda m: m[0] if m[0] in whole else m[0][0] + MARK + m[0][1:], value)
        if isinstance(value, Mapping):
            return {self._guarded(k, whole): self._guarded(v, whole) for k, v in value.items()}
        if isinstance(value, Sequence):
            return [self._guarded(item, whole) for item in value]
        return value

    def _pieces(self, text: str) -> Iterator[Piece]:
        place = 0
        for match in self._broken_spellings.finditer(text) if self._broken_spellings else ():
            if match.start() > place:
                yield Piece(text[place : match.start()].replace(MARK, ""), True)
            yield Piece(self._broken[match[0]], False)
            place = match.end()
        if place < len(text):
            yield Piece(text[place:].replace(MARK, ""), True)


def _bytes(value: Any) -> int:
    """About how much memory the strings of a value take."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            size += sys.getsizeof(one)
        elif isinstance(one, Mapping):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
    return size
