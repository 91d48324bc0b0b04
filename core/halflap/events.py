"""What a stream yields: small frozen records, for programs. People read `stream.text()`."""

from __future__ import annotations

from typing import Any, Literal

from attrs import asdict, frozen

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


@frozen
class Progress:
    """Loading is about to begin `stage`; `done` of `total` stages are over."""

    stage: str
    done: int
    total: int


@frozen
class Token:
    """One generated token.

    Attributes:
        bytes: exactly what it adds to the output; a character may span several tokens.
        logprob: natural logarithm of its probability before any sampler, or with `post_sampling_probs` after all of
            them; None unless asked for.
        top: the likeliest tokens at its place, as (id, logprob), best first.
    """

    id: int
    bytes: bytes
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@frozen
class Prefill:
    """The prompt is being read: `done` of `total` tokens, of which `cached` needed no work."""

    done: int
    total: int
    cached: int = 0


@frozen
class Text:
    """A piece of the answer, and the tokens that ended in it."""

    text: str
    tokens: tuple[Token, ...] = ()


@frozen
class Reasoning:
    """A piece of the model's thinking."""

    text: str
    tokens: tuple[Token, ...] = ()


@frozen
class ToolCall:
    """A piece of a tool call: `id` and `name` come with an index's first, `arguments` is the next of its JSON."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@frozen
class Usage:
    """Token counts of one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@frozen
class Timings:
    """Times of one request in milliseconds, under llama-server's names.

    Attributes:
        cache_n: prompt tokens that needed no work; prompt_n are the others.
        draft_n: tokens that were guessed; draft_n_accepted of them were right.
    """

    cache_n: int
    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    draft_n: int = 0
    draft_n_accepted: int = 0

    @property
    def prompt_per_second(self) -> float:
        return 1e3 * self.prompt_n / self.prompt_ms if self.prompt_ms else 0.0

    @property
    def predicted_per_second(self) -> float:
        return 1e3 * self.predicted_n / self.predicted_ms if self.predicted_ms else 0.0

    def to_dict(self) -> dict[str, Any]:
        per_token = {
            "prompt_per_token_ms": self.prompt_ms / max(self.prompt_n, 1),
            "predicted_per_token_ms": self.predicted_ms / max(self.predicted_n, 1),
        }
        rates = {"prompt_per_second": self.prompt_per_second, "predicted_per_second": self.predicted_per_second}
        return {**asdict(self), **per_token, **rates}


@frozen
class Finish:
    """The last event. `stop` is the stop string or the text of the end token that ended the answer."""

    reason: FinishReason
    stop: str | None
    usage: Usage
    timings: Timings


ChatEvent = Text | Reasoning | ToolCall
Event = Prefill | Text | Reasoning | ToolCall | Finish
