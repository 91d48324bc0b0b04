"""A model's chats: from messages to ids, and to what reads, holds and bounds the answer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from halflap.engine.forcing import ThoughtBudget
from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.request import Request
from halflap.errors import InvalidRequestError
from halflap.text.chat.contract import (
    NO_THOUGHTS,
    CallGrammar,
    ChatFormat,
    ChatFormatInfo,
    Parser,
    PlainParser,
    Thoughts,
)
from halflap.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # the template engine is loaded with the first chat
    from halflap.text.chat.prompting import Prompt
    from halflap.text.chat.template import ChatTemplate


@frozen
class Asked:
    """What a request comes to.

    Attributes:
        ids: tokens of the prompt.
        parser: reads the answer.
        calls: how calls are written, if the answer's are held to the tools.
        thoughts: where it thinks.
        budget: what ends its thoughts.
    """

    ids: list[int]
    images: Images = NO_IMAGES
    parser: Parser = field(factory=PlainParser)
    calls: CallGrammar | None = None
    thoughts: Thoughts = NO_THOUGHTS
    budget: ThoughtBudget | None = None


class Chats:
    """Chats in a model's format, which is found out with the first. Any thread may call.

    Args:
        source: the chat template, or a name of NAMED; None: the file's.
    """

    def __init__(self, tokenizer: Tokenizer, source: str | None = None) -> None:
        self._tokenizer, self._source = tokenizer, source

    @cached_property
    def template(self) -> ChatTemplate:
        from halflap.text.chat.named_templates import CHATML, NAMED
        from halflap.text.chat.template import ChatTemplate

        tokenizer = self._tokenizer
        bos, eos = (tokenizer.token_text(i) for i in (tokenizer.bos_id, tokenizer.eos_id))
        source = self._source or tokenizer.chat_template or CHATML
        return ChatTemplate(NAMED.get(source, source), tokenizer.special_texts, bos, eos)

    @cached_property
    def format(self) -> ChatFormat:
        from halflap.text.chat.detection import detect

        return detect(self.template)

    @property
    def info(self) -> ChatFormatInfo:
        from halflap.text.chat.detection import detected

        template = self.template
        name = detected(template.source).rpartition(":")[2]
        return ChatFormatInfo(name, template.source, template.capabilities, self._holds_calls)

    @property
    def _holds_calls(self) -> bool:
        describe = getattr(self.format, "call_grammar", None)
        function = {"name": "f", "parameters": {"type": "object"}}
        written = describe([{"type": "function", "function": function}], "auto", "") if describe else None
        return written is not None and find_spec("llguidance") is not None

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], options: Mapping[str, Any]) -> Prompt:
        """The prompt of a chat whose images were taken out."""
        from halflap.text.chat import prompting

        return prompting.render(self.format, messages, tools, options)

    def parser(self, request: Request, rendered: Prompt) -> Parser:
        """What reads the answer. More than tools and prompt is told only where it is asked for.

        Raises:
            InvalidRequestError: the chat format cannot do what an option asks.
        """
        told: dict[str, Any] = {}
        if request.options.get("reasoning_format") == "none":
            told["reasoning"] = False
        if request.options.get("parse_tool_calls") is False:
            told["calls"] = False
        takes = inspect.signature(self.format.parser).parameters
        for name, option in (("reasoning", "reasoning_format"), ("calls", "parse_tool_calls")):
            if name in told and name not in takes:
                got, want = "a chat format whose parser cannot", f"one whose parser takes {name!r}"
                raise InvalidRequestError(f"option {option!r}", got=got, want=want, field=option)
        if rendered.given and "given" in takes:
            told["given"] = rendered.given
        return self.format.parser(request.tools, rendered.text, **told)

    def calls(self, request: Request, rendered: Prompt) -> CallGrammar | None:
        """How calls are written, if the request wants them held.

        Raises:
            InvalidRequestError: the format's calls cannot be.
        """
        choice = request.options.get("tool_choice")
        if choice is None or not request.tools:
            return None
        describe = getattr(self.format, "call_grammar", None)
        grammar: CallGrammar | None = describe(request.tools, choice, rendered.text) if describe else None
        if grammar is None:
            got, want = "a chat format whose calls cannot be held", "one that can"
            raise InvalidRequestError("option 'tool_choice'", got=got, want=want, field="tool_choice")
        return grammar

    def thoughts(self, options: Mapping[str, Any], rendered: Prompt) -> Thoughts:
        """Where the answer thinks."""
        from halflap.text.chat import prompting

        form = self.format
        opened = prompting.inside(form, rendered)
        return Thoughts(
            tuple(getattr(form, "thoughts", ())),
            opened,
            prompting.may_open(form, rendered, options),
            getattr(form, "turn", ""),
            "" if rendered.given and not opened else getattr(form, "words", ""),
            getattr(form, "breaks", ()),
        )

    def budget(self, options: Mapping[str, Any], thoughts: Thoughts, held: bool) -> ThoughtBudget | None:
        """What ends the answer's thoughts at the request's `reasoning_budget`.

        Args:
            held: a constraint says what comes behind them.
        """
        budget: int = options.get("reasoning_budget", -1)
        if budget < 0 or not thoughts.tags:
            return None
        opens, closes = zip(*thoughts.tags, strict=True)
        ending = (thoughts.opened or closes[0]) + ("" if held else thoughts.turn + thoughts.words)
        tokenizer = self._tokenizer
        ids = tokenizer.encode_pieces(
            [(options.get("reasoning_budget_message", ""), False), (ending, True)], add_special=False
        )
        return ThoughtBudget(
            budget, opens, (*closes, *thoughts.breaks), ids, bool(thoughts.opened), tokenizer.token_bytes
        )
