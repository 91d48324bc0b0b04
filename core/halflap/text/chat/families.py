"""Chat formats made from a dialect: any template for the prompt, the dialect's parser for the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from halflap.errors import InvalidRequestError
from halflap.text.chat.calls import NAME
from halflap.text.chat.contract import CallGrammar, Calling, CallText, Parser, Plain, signature
from halflap.text.chat.dialect import Dialect, Written
from halflap.text.chat.dialects import DIALECTS
from halflap.text.chat.harmony import TAGS as HARMONY
from halflap.text.chat.harmony import HarmonyParser
from halflap.text.chat.notations import AS_JSON
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
        template.written = dialect.written if dialect.written and dialect.written.arguments is AS_JSON else None

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
        return call_grammar((self.dialect.written, *self.dialect.also), tools, choice)

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
    written = Written(
        "<|channel|>commentary to=functions.", "", " <|constrain|>json<|message|>", "", trigger=" to=functions."
    )

    def parser(
        self, tools: Sequence[Any], prompt: str, *, given: str = "", reasoning: bool = True, calls: bool = True
    ) -> Parser:
        start = given.rfind("<|start|>")
        parser = HarmonyParser(parameters(tools), start < 0, reasoning, calls)
        if start >= 0:
            parser.pass_over(given[start:])
        return parser

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        return call_grammar((self.written,), tools, choice)


def call_grammar(ways: Sequence[Written | None], tools: Sequence[Any], choice: str) -> CallGrammar | None:
    """The grammar of answers for a `tool_choice`; None: calls written so cannot be held.

    Raises:
        InvalidRequestError: a choice that is none, or a tool that cannot be called.
    """
    known = [signature(tool, place) for place, tool in enumerate(tools)]
    if choice not in ("auto", "none", "required", *(name for name, _ in known)):
        want = "'auto', 'none', 'required' or the name of a tool"
        raise InvalidRequestError("option 'tool_choice'", got=repr(choice), want=want, field="tool_choice")
    required = choice not in ("auto", "none")
    if any(written is None or (written.bare and not required) for written in ways):
        return None
    return CallGrammar(
        tuple(
            Calling(
                written.open,
                tuple(
                    CallText(_head(written, name), schema, written.after, written.arguments)
                    for name, schema in known
                    if choice in ("auto", "required", name)
                ),
                written.join,
                written.close,
                written.trigger,
            )
            for written in ways
            if written is not None
        ),
        required,
    )


def _head(written: Written, name: str) -> str:
    """A call up to its arguments.

    Raises:
        InvalidRequestError: a name that could not be read.
    """
    if '"' in written.before and written.arguments is AS_JSON:
        name = json.dumps(name)[1:-1]
    elif not re.fullmatch(NAME, name):
        want = "letters, digits and . _ - : / only, for the model's chat format marks no name's end"
        raise InvalidRequestError("tools", got=f"the name {name!r:.80}", want=want, field="tools")
    return written.before + name + written.between


def parameters(tools: Sequence[Any]) -> Mapping[str, Mapping[str, Any]]:
    """Schemas of the tools' arguments by name; what is no tool is left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found[function["name"]] = schema if isinstance(schema, Mapping) else {}
    return found
