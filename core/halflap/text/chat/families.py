"""Chat formats made from a dialect: any template for the prompt, the dialect's parser for the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from halflap.errors import InvalidRequestError
from halflap.text.chat.contract import CallGrammar, CallText, Parser, Plain, signature
from halflap.text.chat.dialect import Dialect
from halflap.text.chat.dialects import DIALECTS
from halflap.text.chat.harmony import TAGS as HARMONY
from halflap.text.chat.harmony import HarmonyParser
from halflap.text.chat.parser import DialectParser

if TYPE_CHECKING:
    from halflap.text.chat.template import ChatTemplate


class Family(Plain):
    """Chats of one family.

    Attributes:
        dialect: how it writes answers.
    """

    def __init__(self, dialect: Dialect, template: ChatTemplate) -> None:
        super().__init__(template)
        self.dialect = dialect
        template.written = dialect.written

    @property
    def thoughts(self) -> tuple[tuple[str, str], ...]:
        """Texts that open and close a thought."""
        return self.dialect.think

    @property
    def breaks(self) -> tuple[str, ...]:
        """Texts with which a call may begin inside a thought."""
        sections = self.dialect.sections if self.dialect.calls_end_thoughts else ()
        return tuple(section.open for section in sections if section.open)

    def parser(
        self, tools: Sequence[Any], prompt: str, *, given: str = "", reasoning: bool = True, calls: bool = True
    ) -> Parser:
        thinking = not given and self._opened(prompt)
        parser = DialectParser(self.dialect, parameters(tools), thinking, reasoning, calls)
        if given:
            parser.pass_over(given)
        elif self.dialect.prompted and prompt.endswith(self.dialect.prompted):
            parser.push(self.dialect.prompted)
        return parser

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        known = [signature(tool, place) for place, tool in enumerate(tools)]
        if choice not in ("auto", "none", "required", *(name for name, _ in known)):
            want = "'auto', 'none', 'required' or the name of a tool"
            raise InvalidRequestError("option 'tool_choice'", got=repr(choice), want=want, field="tool_choice")
        written, required = self.dialect.written, choice not in ("auto", "none")
        if written is None or (written.bare and not required):
            return None
        calls = tuple(
            CallText(written.before + json.dumps(name)[1:-1] + written.between, schema, written.after)
            for name, schema in known
            if choice in ("auto", "required", name)
        )
        return CallGrammar(written.open, calls, written.join, written.close, required)

    def _opened(self, prompt: str) -> bool:
        """Whether the prompt ends in an open thought."""
        return any(prompt.rstrip().endswith(opens.rstrip()) for opens, _ in self.dialect.think)


ALL_TAGS = frozenset(tag for dialect in DIALECTS.values() for tag in dialect.all_tags) | frozenset(HARMONY)
"""Texts that some family's parser reads: where a vocabulary has a special token of such a text, it is text."""


class Harmony(Plain):
    """gpt-oss: see `HarmonyParser`."""

    thoughts = (("<|channel|>analysis<|message|>", "<|end|>"),)
    turn = "<|start|>assistant"
    words = "<|channel|>final<|message|>"

    def parser(
        self, tools: Sequence[Any], prompt: str, *, given: str = "", reasoning: bool = True, calls: bool = True
    ) -> Parser:
        start = given.rfind("<|start|>")
        parser = HarmonyParser(parameters(tools), start < 0, reasoning, calls)
        if start >= 0:
            parser.pass_over(given[start:])
        return parser


def parameters(tools: Sequence[Any]) -> Mapping[str, Mapping[str, Any]]:
    """Schemas of the tools' arguments by name; what is no tool is left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found[function["name"]] = schema if isinstance(schema, Mapping) else {}
    return found
