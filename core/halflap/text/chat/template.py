"""Chat templates in jinja2's immutable sandbox, bounded in time and output.

A template's own literals may form special tokens; what comes from messages, tools and files never may. Before
rendering, every special token's text inside a value is broken by a marker, a Unicode noncharacter; afterwards each
broken spelling becomes a piece of its own that is tokenised as plain text.
"""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.sandbox
from attrs import evolve, frozen

from halflap.errors import TemplateError
from halflap.text.chat.capabilities import probe
from halflap.text.chat.contract import Capabilities
from halflap.text.chat.dialect import Written
from halflap.text.chat.messages import fitted

MARK = "\ufdd0"
SECONDS = 1.0
CHARACTERS = 16 << 20
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
            environment = _environment()
            parsed = environment.parse(source)
            self.declared = frozenset(jinja2.meta.find_undeclared_variables(parsed))
            self._template = environment.from_string(parsed)
        except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError, OverflowError) as cause:
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
        return list(self._pieces(self._render(fitted(messages, can, self.written), given, options)))

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the template does with messages."""
        slow = False

        def attempt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None) -> str | None:
            nonlocal slow
            begun = time.monotonic()
            try:
                return None if slow else self._render(messages, tools, {})
            except TemplateError:
                slow = slow or time.monotonic() - begun > SECONDS / 2  # or a dozen trials would take their time
                return None

        found = probe(attempt)
        return evolve(found, thinking_switch=bool(self.declared & SWITCHES.keys()))

    def _render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] | None, options: Mapping[str, Any]
    ) -> str:
        known = {
            "messages": [self._guarded_message(message) for message in messages],
            "tools": self._guarded(tools),
            "bos_token": self._bos,
            "eos_token": self._eos,
            "add_generation_prompt": True,
            **self._further(tools or ()),
            **options,
        }
        return self._run(known)

    def _further(self, tools: Sequence[Any]) -> dict[str, Any]:
        """Variables that a few templates look for."""
        further = {"datetime": datetime.datetime.now().strftime("%B %d %Y"), "functions": _tojson(self._guarded(tools))}
        return {name: value for name, value in further.items() if name in self.declared}

    def _run(self, variables: Mapping[str, Any]) -> str:
        deadline = time.monotonic() + SECONDS
        parts: list[str] = []
        size = 0
        try:
            for part in self._template.generate(**variables, **_globals(deadline)):
                size += len(part)
                if size > CHARACTERS:
                    raise TemplateError("chat template output", got=f"over {CHARACTERS:,} characters", want="fewer")
                if time.monotonic() > deadline:
                    raise _too_long()
                parts.append(part)
        except TemplateError:
            raise
        except RecursionError as cause:
            raise TemplateError("chat template", got="endless recursion", want="a template that ends") from cause
        except Exception as cause:
            raise TemplateError(
                "chat template", got=f"{type(cause).__name__}: {cause}", want="messages and tools it accepts"
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


class _Generation(jinja2.ext.Extension):
    """Hugging Face's `{% generation %}` marks what the model wrote, for training; here its body is just a body."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own attribute

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """jinja2's sandbox keeps code in; this one also keeps single operations from asking for gigabytes."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sized = [value for value in (left, right) if isinstance(value, str | Sequence)]
        numbers = [value for value in (left, right) if isinstance(value, int)]
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        elif operator == "*" and sized and numbers:
            _check_size(len(sized[0]) * numbers[0])
        elif operator == "**" and len(numbers) == 2:
            _check_size(abs(left).bit_length() * right)
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Lists are copies of this rendering alone, so templates may use them as queues."""
        if isinstance(obj, list) and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, function: Any, /, *arguments: Any, **named: Any) -> Any:
        for value in (*arguments, *named.values()):
            if isinstance(value, int):
                _check_size(value)
        return super().call(context, function, *arguments, **named)


def _check_size(size: int) -> None:
    if size > CHARACTERS:
        raise TemplateError("chat template value", got=f"size {size:,}", want=f"at most {CHARACTERS:,}")


def _check_widths(form: str) -> str:
    for digits in re.findall(r"\d+", form):
        _check_size(int(digits) if len(digits) < 10 else CHARACTERS + 1)
    return form


def _environment() -> _Sandbox:
    """The environment that Hugging Face templates are written for."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation])
    plain = dict(environment.filters)

    def bounded(name: str) -> Callable[..., Any]:
        def apply(value: Any, *arguments: Any, **named: Any) -> Any:
            for argument in (*arguments, *named.values()):
                if isinstance(argument, int):
                    _check_size(argument)
            if name == "format":
                _check_widths(str(value))
            return plain[name](value, *arguments, **named)

        return apply

    for name in ("center", "format", "indent", "batch", "slice"):
        if not hasattr(plain[name], "jinja_pass_arg"):
            environment.filters[name] = bounded(name)
    environment.filters["tojson"] = _tojson
    return environment


def _tojson(value: Any, indent: int | None = None, separators: Any = None, sort_keys: bool = False, **_: Any) -> str:
    """Plain JSON: jinja2's own filter would escape for HTML."""
    if isinstance(value, Iterator):  # of `map`, `select` and their like
        value = list(value)
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)


def _globals(deadline: float) -> dict[str, Callable[..., Any]]:
    def raise_exception(message: str) -> None:
        raise TemplateError("chat template", got=str(message), want="messages it accepts")

    def strftime_now(form: str) -> str:
        return datetime.datetime.now().strftime(form)

    def bounded_range(*arguments: int) -> Iterator[int]:
        numbers = range(*arguments)
        if len(numbers) > jinja2.sandbox.MAX_RANGE:
            raise TemplateError("chat template range", got=len(numbers), want=f"at most {jinja2.sandbox.MAX_RANGE}")
        for number in numbers:
            if time.monotonic() > deadline:
                raise _too_long()
            yield number

    return {"raise_exception": raise_exception, "strftime_now": strftime_now, "range": bounded_range}


def _too_long() -> TemplateError:
    return TemplateError("chat template", got=f"over {SECONDS:g} s of work", want="a template that ends")
