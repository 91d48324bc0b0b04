"""What a chat format is: messages and tools to prompt pieces, a model's words to events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import asdict, frozen

from halflap.errors import InvalidRequestError
from halflap.events import ChatEvent, Text
from halflap.text.chat.notations import AS_JSON, Arguments

if TYPE_CHECKING:  # the template engine is loaded with the first chat
    from halflap.text.chat.template import ChatTemplate, Piece


class Parser(Protocol):
    """Turns a model's text into events as it comes; what it does not understand stays text. It never raises.

    A parser that reads special tokens names their texts in an attribute `tags`; others never reach it.
    """

    def push(self, text: str) -> list[ChatEvent]: ...
    def finish(self) -> list[ChatEvent]: ...


@frozen
class CallText:
    """How one tool's call is written.

    Attributes:
        before: between the trigger and the arguments; {index} stands for a number.
        schema: JSON schema of the arguments.
        after: behind them.
        arguments: how they are written.
    """

    before: str
    schema: Mapping[str, Any] | bool
    after: str
    arguments: Arguments = AS_JSON


@frozen
class Calling:
    """One way in which calls are made.

    Attributes:
        open: text with which calls begin; "": an answer that calls is nothing but calls.
        calls: those that may be made; none: none may.
        between: what stands between the calls of one opening; None: each has its own.
        end: what ends the calls of one opening.
        trigger: the part of the opening that tells it from words, wherever it stands; "": all of it.
    """

    open: str
    calls: tuple[CallText, ...]
    between: str | None = None
    end: str = ""
    trigger: str = ""


@frozen
class CallGrammar:
    """How a format writes calls, for answers whose calls must fit the tools.

    Attributes:
        ways: each way in which the format's models begin calls; the first is the one for those who must call.
        required: there is at least one call, and nothing but calls, behind what is thought.
    """

    ways: tuple[Calling, ...]
    required: bool = False


@frozen
class Thoughts:
    """Where an answer thinks, for what bounds thoughts or holds what comes after them.

    Attributes:
        tags: pairs of texts that open and close a thought.
        opened: what closes the one in which the prompt ends; "": it ends in none.
        may_open: the answer may begin with one.
        turn: what stands between a thought and whatever comes next.
        words: what stands before words.
        breaks: texts with which a call may begin inside a thought, and end it.
    """

    tags: tuple[tuple[str, str], ...] = ()
    opened: str = ""
    may_open: bool = False
    turn: str = ""
    words: str = ""
    breaks: tuple[str, ...] = ()


NO_THOUGHTS = Thoughts()


class ChatFormat(Protocol):
    """How one family of models writes chats.

    One whose models think has an attribute `thoughts`, the `tags` of `Thoughts`; and, where they are not empty, `turn`,
    `words` and `breaks`.
    """

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], **options: Any) -> list[Piece]: ...

    def parser(self, tools: Sequence[Any], prompt: str) -> Parser:
        """`prompt` is the rendered prompt. A format may take more, which is given only where it is asked for:

        given: words of this answer that the prompt already holds, with what opens the turn; they give no events.
        reasoning: False leaves thoughts in the text, with their tags.
        calls: False leaves calls in the text.
        """

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        """For `tool_choice`: "auto", "none", "required" or a tool's name. None: the format's calls cannot be held."""


@frozen
class Capabilities:
    """What a chat template does with messages, found by trying it; what it lacks is made up for.

    Attributes:
        system: it writes system messages; else they stand before what the user says next.
        developer: it knows the developer role; else those are system messages.
        tools: it writes the tools.
        calls: it writes the assistant's calls; else they are written into its words.
        parallel_calls: several in one message; else each has its own.
        call_content: words beside calls; else they have a message of their own.
        object_arguments: it takes arguments as objects, else as JSON text.
        null_content: calls alone have the content None, else an empty text.
        short_ids: calls' ids must be nine letters and digits.
        results: it writes tool results; else they are user messages.
        alternates: two messages of one role may not follow each other; they are joined.
        parts: it takes content as a list of typed parts, not as text.
        reasoning_field: where it looks for the thoughts of earlier turns; "": nowhere.
        thought_and_words: it writes thoughts beside words and calls; else the words are left out.
        thinking_switch: it has a variable that turns thinking on and off.
        thinks_unasked: nobody having turned it, that variable is on; or there is none.
        empty_tools: no tools are an empty list, else None.
    """

    system: bool = True
    developer: bool = False
    tools: bool = False
    calls: bool = False
    parallel_calls: bool = False
    call_content: bool = False
    object_arguments: bool = True
    null_content: bool = False
    short_ids: bool = False
    results: bool = True
    alternates: bool = False
    parts: bool = False
    reasoning_field: str = ""
    thought_and_words: bool = False
    thinking_switch: bool = False
    thinks_unasked: bool = True
    empty_tools: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@frozen
class ChatFormatInfo:
    """A model's chat format.

    Attributes:
        name: as it is registered.
        template: its Jinja text.
        holds_calls: `tool_choice="auto"` can be asked of it.
    """

    name: str
    template: str
    capabilities: Capabilities
    holds_calls: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Plain:
    """Any template; the answer is all text."""

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], **options: Any) -> list[Piece]:
        return self.template.render(messages, tools, **options)

    def parser(
        self, tools: Sequence[Any], prompt: str, *, given: str = "", reasoning: bool = True, calls: bool = True
    ) -> Parser:
        return PlainParser()

    def call_grammar(self, tools: Sequence[Any], choice: str, prompt: str) -> CallGrammar | None:
        return None


class PlainParser:
    """Every word is text."""

    def __init__(self, tags: Sequence[str] = ()) -> None:
        self.tags = tuple(tags)

    def push(self, text: str) -> list[ChatEvent]:
        return [Text(text)] if text else []

    def finish(self) -> list[ChatEvent]:
        return []


NOTHING: Mapping[str, Any] = {"type": "object", "additionalProperties": False}
"""Schema of a call without arguments."""


def signature(tool: Any, place: int) -> tuple[str, Mapping[str, Any] | bool]:
    """A tool's name and the schema of its arguments.

    Raises:
        InvalidRequestError: it has no name, or parameters that are no schema.
    """
    function = tool.get("function", tool) if isinstance(tool, Mapping) else {}
    name = function.get("name") if isinstance(function, Mapping) else None
    schema = function.get("parameters", NOTHING) if isinstance(name, str) else None
    if not isinstance(name, str) or not name or not isinstance(schema, Mapping | bool):
        want = "a function with 'name' and, if it takes any, 'parameters'"
        raise InvalidRequestError(f"tools[{place}]", got=f"{tool!r:.80}", want=want, field="tools")
    return name, schema
