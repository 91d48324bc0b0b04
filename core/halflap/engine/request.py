"""What a request may ask for, checked before anything runs."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from attrs import field, frozen

from halflap.errors import InvalidRequestError
from halflap.sampling.chain import Use


class Options(TypedDict, total=False):
    """Per-request options: llama-server's names where it has one, OpenAI's for the rest."""

    max_tokens: int | None
    """Most tokens to generate; None: until the context is full."""
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    top_n_sigma: float
    min_keep: int
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: Sequence[str]
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    mirostat: int
    """0 off; 1 or 2, the version: replaces the chain by temperature and mirostat."""
    mirostat_tau: float
    mirostat_eta: float
    samplers: Sequence[str | Use]
    """The chain in order; names or Use(name, option=…)."""
    constraint: str | Use
    """What the answer must be, by name or Use(name, option=…); or one of the next four."""
    json_schema: Mapping[str, Any] | bool | str
    """JSON that fits this schema, which may be given as its text."""
    grammar: str
    """Text that fits a grammar, in GBNF or, where a line begins with `start:` or `%`, Lark."""
    regex: str
    """Text that this matches from end to end (Rust's syntax)."""
    choice: Sequence[str]
    """One of these texts."""
    tool_choice: str
    """Hold calls to the tools' schemas: "auto", "none", "required" or a tool's name; unset, nothing is held."""
    logit_bias: Mapping[int, float]
    seed: int | None
    """The same seed gives the same answer; None draws one."""
    stop: str | Sequence[str]
    ignore_eos: bool
    logprobs: int | None
    """For each token its own logprob and those of this many likeliest."""
    post_sampling_probs: bool
    """The chances that `logprobs` tells are those after the samplers; with fewer tokens left, fewer are told."""
    t_max_predict_ms: int
    """Milliseconds from the first token after which the answer ends, once it holds a line break; 0: it goes on."""
    n_indent: int
    """The answer ends before its first later line that begins with fewer spaces and tabs."""
    n_keep: int
    """Tokens of the prompt that `overflow` leaves; -1: all."""
    timeout: float | None
    """Seconds from submission after which the request fails with RequestTimeoutError."""
    adapters: Mapping[str, float]
    """Scales of the LoRA adapters that the answer is computed with, by the names they were loaded under."""
    cache: bool
    """Take what earlier requests computed, and leave what this one computes; on by default."""
    priority: int
    """Higher goes first, and makes room last."""
    user: str
    """Whose request it is, for policies that share between users."""
    overflow: Literal["error", "drop_oldest", "drop_middle"]
    """When prompt or answer outgrow the context: refuse or end there, or go on without some of the tokens."""
    enable_thinking: bool
    """Let the model think first, or not, where its template can; like `reasoning`, as vLLM has it."""
    chat_template_kwargs: Mapping[str, object]
    """Further variables of the chat template."""
    reasoning: Literal["on", "off", "auto"]
    """Have the model think first, keep it from that, or leave it to its template."""
    reasoning_effort: str
    """How hard to think, for templates that ask: "low", "medium", "high", …; "none" is reasoning off."""
    reasoning_budget: int
    """Tokens of thought, after which it is ended; -1: as many as it likes."""
    reasoning_budget_message: str
    """Words that the thought ends with when its budget is spent."""
    reasoning_format: Literal["auto", "deepseek", "none"]
    """Thoughts apart from the text; "none": in it, with their tags."""
    parse_tool_calls: bool
    """Tell tool calls from text; on by default."""
    add_generation_prompt: bool
    """Begin a new turn of the assistant; unset, a last message of the assistant is continued, else one is begun."""


def _integer(least: int, most: int = 1 << 31) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most


MOST = 1e30
"""Of any number: sums of such stay within f32."""


def _number(least: float = -MOST, most: float = MOST) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and least <= v <= most


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Sequence) and all(isinstance(v, str) for v in value))


def _chain(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str | Use) for v in value)


def _biases(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        _integer(0)(k) and isinstance(v, int | float) and (abs(v) <= MOST or math.isinf(v)) for k, v in value.items()
    )


def _scales(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and _number()(v) for k, v in value.items())


def _variables(value: Any) -> bool:
    names = value.keys() if isinstance(value, Mapping) else {3}
    return all(isinstance(name, str) and name not in ("messages", "tools") for name in names)


CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (lambda v: v is None or _integer(0)(v), "None or an integer of at least 0"),
    "temperature": (_number(0), "a number of at least 0"),
    "top_k": (_integer(0), "an integer of at least 0 (0: off)"),
    "top_p": (_number(0, 1), "a number from 0 to 1"),
    "min_p": (_number(0, 1), "a number from 0 to 1"),
    "typical_p": (_number(0, 1), "a number from 0 to 1"),
    "top_n_sigma": (_number(), "a number (0 or less: off)"),
    "min_keep": (_integer(0), "an integer of at least 0"),
    "repeat_penalty": (_number(1e-6), "a number above 0"),
    "repeat_last_n": (_integer(-1), "an integer of at least -1"),
    "presence_penalty": (_number(), "a number"),
    "frequency_penalty": (_number(), "a number"),
    "dry_multiplier": (_number(0), "a number of at least 0"),
    "dry_base": (_number(0), "a number of at least 0"),
    "dry_allowed_length": (_integer(0), "an integer of at least 0"),
    "dry_penalty_last_n": (_integer(-1), "an integer of at least -1"),
    "dry_sequence_breakers": (_texts, "a list of strings"),
    "xtc_probability": (_number(0, 1), "a number from 0 to 1"),
    "xtc_threshold": (_number(0, 1), "a number from 0 to 1"),
    "dynatemp_range": (_number(0), "a number of at least 0"),
    "dynatemp_exponent": (_number(0), "a number of at least 0"),
    "mirostat": (lambda v: v in (0, 1, 2) and not isinstance(v, bool), "0, 1 or 2"),
    "mirostat_tau": (_number(0), "a number of at least 0"),
    "mirostat_eta": (_number(0), "a number of at least 0"),
    "samplers": (_chain, "a list of sampler names or Use(…)"),
    "constraint": (lambda v: isinstance(v, str | Use), "a constraint's name or Use(…)"),
    "json_schema": (lambda v: isinstance(v, Mapping | bool | str), "a schema as a mapping or as text"),
    "grammar": (lambda v: isinstance(v, str), "a text in GBNF or Lark"),
    "regex": (lambda v: isinstance(v, str), "a text"),
    "choice": (lambda v: not isinstance(v, str) and _texts(v) and len(v) > 0, "a list of at least one text"),
    "tool_choice": (lambda v: isinstance(v, str), "'auto', 'none', 'required' or the name of a tool"),
    "logit_bias": (_biases, "a mapping of token ids to numbers"),
    "seed": (lambda v: v is None or _integer(0, (1 << 64) - 1)(v), "None or an integer from 0 to 2^64-1"),
    "stop": (_texts, "a string or a list of strings"),
    "ignore_eos": (_flag, "true or false"),
    "logprobs": (lambda v: v is None or _integer(0, 1000)(v), "None or an integer from 0 to 1000"),
    "post_sampling_probs": (_flag, "true or false"),
    "t_max_predict_ms": (_integer(0, 1 << 40), "an integer of at least 0"),
    "n_indent": (_integer(0), "an integer of at least 0"),
    "n_keep": (_integer(-1), "an integer of at least -1 (-1: the whole prompt)"),
    "timeout": (lambda v: v is None or _number(0)(v), "None or a number of seconds"),
    "adapters": (_scales, "a mapping of names to numbers"),
    "cache": (_flag, "true or false"),
    "priority": (_integer(-1000, 1000), "an integer from -1000 to 1000"),
    "user": (lambda v: isinstance(v, str) and len(v) <= 256, "a text of at most 256 characters"),
    "overflow": (lambda v: v in ("error", "drop_oldest", "drop_middle"), "'error', 'drop_oldest' or 'drop_middle'"),
    "enable_thinking": (_flag, "true or false"),
    "chat_template_kwargs": (_variables, "a mapping of names other than 'messages' and 'tools'"),
    "reasoning": (lambda v: v in ("on", "off", "auto"), "'on', 'off' or 'auto'"),
    "reasoning_effort": (lambda v: isinstance(v, str) and 0 < len(v) <= 32, "a word such as 'low' or 'high'"),
    "reasoning_budget": (_integer(-1), "an integer of at least -1 (-1: no limit)"),
    "reasoning_budget_message": (lambda v: isinstance(v, str) and len(v) <= 4096, "a text of at most 4096 characters"),
    "reasoning_format": (lambda v: v in ("auto", "deepseek", "none"), "'auto', 'deepseek' or 'none'"),
    "parse_tool_calls": (_flag, "true or false"),
    "add_generation_prompt": (_flag, "true or false"),
}


def _some(tools: Sequence[Mapping[str, Any]] | None) -> Sequence[Mapping[str, Any]]:
    return () if tools is None else tools  # clients of OpenAI's API send either


@frozen
class Request:
    """One request: a prompt (text or token ids) or a chat (messages, tools), and its options.

    Raises:
        InvalidRequestError: neither or both of prompt and messages, an unknown option, or a value out of range.
    """

    prompt: str | Sequence[int] | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    tools: Sequence[Mapping[str, Any]] = field(default=(), converter=_some)
    options: Mapping[str, Any] = field(factory=dict)
    images: Sequence[bytes] = ()

    def __attrs_post_init__(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            got = "both" if self.prompt is not None else "neither"
            raise InvalidRequestError("prompt and messages", got=got, want="one of them", field="prompt")
        if self.messages is not None:
            _check_messages(self.messages)
        if self.images and (self.messages is not None or isinstance(self.prompt, str)):
            raise InvalidRequestError(
                "images", got="text or messages", want="a prompt of ids with -1 for each", field="images"
            )
        if not isinstance(self.tools, Sequence) or not all(isinstance(tool, Mapping) for tool in self.tools):
            raise InvalidRequestError("tools", got=f"{self.tools!r:.80}", want="a list of mappings", field="tools")
        if self.tools and self.messages is None:
            raise InvalidRequestError("tools", got="a prompt without messages", want="a chat", field="tools")
        for name, value in self.options.items():
            check_option(name, value)
        if self.options.get("tool_choice", "auto") not in ("auto", "none") and not self.tools:
            raise InvalidRequestError("option 'tool_choice'", got="no tools", want="tools to call", field="tool_choice")

    @property
    def stops(self) -> tuple[str, ...]:
        stop = self.options.get("stop") or ()
        return tuple(filter(None, (stop,) if isinstance(stop, str) else stop))


def check_option(name: str, value: object) -> None:
    """Raises InvalidRequestError if this is no option, or no value for it."""
    if name not in CHECKS:
        close = difflib.get_close_matches(name, CHECKS, 1)
        raise InvalidRequestError(
            "option",
            got=repr(name),
            want="the name of one" if close else f"one of {', '.join(CHECKS)}",
            field=name,
            fix=f"Did you mean {close[0]!r}?" if close else None,
        )
    fits, want = CHECKS[name]
    if not fits(value):
        raise InvalidRequestError(f"option {name!r}", got=f"{value!r:.80}", want=want, field=name)


def _check_messages(messages: object) -> None:
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence) or not messages:
        raise InvalidRequestError(
            "messages", got=f"{messages!r:.60}", want="a non-empty list of messages", field="messages"
        )
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequestError(
                f"messages[{place}]",
                got=f"{message!r:.60}",
                want="a mapping with 'role' and 'content'",
                field="messages",
            )
