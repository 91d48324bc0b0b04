"""The bodies of OpenAI-shaped answers: Structs, so that they are encoded fast and the OpenAPI page describes them.

Source: OpenAI's API reference; members beyond it (`reasoning_content`, `timings`) are llama-server's.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from halflap import Completion, Token
from halflap.events import Usage as Counted

FinishReason = Literal["stop", "length", "tool_calls"]


class CachedTokens(Struct):
    cached_tokens: int = 0


class ReasoningTokens(Struct):
    reasoning_tokens: int = 0


class Usage(Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class Called(Struct, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str = ""


class ToolCallReply(Struct, kw_only=True):
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    index: int | UnsetType = UNSET
    function: Called


class TopLogprob(Struct):
    id: int
    token: str
    bytes: list[int]
    logprob: float


class TokenLogprob(Struct):
    id: int
    token: str
    bytes: list[int]
    logprob: float
    top_logprobs: list[TopLogprob]


class Logprobs(Struct):
    content: list[TokenLogprob]


class ReplyMessage(Struct, kw_only=True):
    role: str = "assistant"
    content: str | None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallReply] | UnsetType = UNSET


class Choice(Struct, kw_only=True):
    index: int
    message: ReplyMessage
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class ChatReply(Struct, kw_only=True):
    """A whole answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage
    timings: dict[str, Any]


class Delta(Struct, kw_only=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallReply] | UnsetType = UNSET


class ChunkChoice(Struct, kw_only=True):
    index: int
    delta: Delta
    logprobs: Logprobs | UnsetType = UNSET
    finish_reason: FinishReason | None = None


class ChatChunk(Struct, kw_only=True):
    """A piece of a streamed answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    timings: dict[str, Any] | UnsetType = UNSET
    prompt_progress: dict[str, Any] | UnsetType = UNSET


class TextLogprobs(Struct):
    """The older form, of /v1/completions."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class TextChoice(Struct, kw_only=True):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextReply(Struct, kw_only=True):
    """An answer of /v1/completions, whole or a piece of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET
    timings: dict[str, Any] | UnsetType = UNSET


class Embedding(Struct, kw_only=True):
    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str


class EmbeddingsReply(Struct, kw_only=True):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: dict[str, int]


class Ranked(Struct, kw_only=True):
    index: int
    relevance_score: float
    document: dict[str, Any] | UnsetType = UNSET


class RerankReply(Struct, kw_only=True):
    object: Literal["list"] = "list"
    model: str
    results: list[Ranked]
    usage: dict[str, int]


class ErrorDetails(Struct, kw_only=True):
    code: int
    message: str
    type: str
    param: str | None = None


class ErrorReply(Struct):
    """Every failure of OpenAI's and llama-server's routes."""

    error: ErrorDetails


def usage(*counted: Counted, thought: int = 0) -> Usage:
    """One prompt, and all answers to it; `thought` of their tokens were thinking."""
    prompt, cached = counted[0].prompt_tokens, counted[0].cached_tokens
    generated = sum(each.completion_tokens for each in counted)
    return Usage(prompt, generated, prompt + generated, CachedTokens(cached), ReasoningTokens(thought))


def finish_reason(reason: str) -> FinishReason:
    """OpenAI knows no cancelling: an answer that was stopped from outside has stopped."""
    return "stop" if reason == "cancelled" else reason  # type: ignore[return-value]


def text_of(token: bytes) -> str:
    return token.decode("utf-8", "replace")


def logprobs(tokens: tuple[Token, ...], piece: Any) -> list[TokenLogprob]:
    """Those tokens' logprobs; `piece(id) -> bytes`. A token that no sampler could have chosen counts as -9999."""
    return [
        TokenLogprob(t.id, text_of(t.bytes), list(t.bytes), _finite(t.logprob), [
            TopLogprob(i, text_of(b := piece(i)), list(b), _finite(p)) for i, p in t.top
        ])
        for t in tokens if t.logprob is not None
    ]  # fmt: skip


def _finite(logprob: float | None) -> float:
    return max(logprob, -9999.0) if logprob is not None else -9999.0


def reply_message(done: Completion) -> ReplyMessage:
    calls: Any = [
        ToolCallReply(id=c.id, type="function", function=Called(name=c.name, arguments=c.arguments))
        for c in done.tool_calls
    ]
    return ReplyMessage(
        content=done.text or (None if calls else ""),
        reasoning_content=done.reasoning or UNSET,
        tool_calls=calls or UNSET,
    )
