"""POST /v1/chat/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap import Completion, Event, Finish, Prefill, Reasoning, Text, ToolCall
from halflap_server import options
from halflap_server.answers import answer, data
from halflap_server.asking import chats, chosen, messages_of, tools_of
from halflap_server.bodies import Chat
from halflap_server.errors import Refusal, invalid
from halflap_server.pool import Lease
from halflap_server.reading import read
from halflap_server.replies import (
    Called,
    ChatChunk,
    ChatReply,
    Choice,
    ChunkChoice,
    Delta,
    Logprobs,
    ToolCallReply,
    finish_reason,
    logprobs,
    reply_message,
    usage,
)
from halflap_server.settings import Settings


async def chat_completions(request: Request) -> Response:
    """Answer a chat (OpenAI)."""
    body, raw = await read(request, Chat)
    lease = await request.app.state.pool.acquire(body.model)
    with lease.unless_failed():
        asked = requests(body, raw, lease, request.app.state.settings)
        writer = ChatWriter(body, lease)
    return await answer(request, lease, asked, writer, streaming=bool(body.stream), slot=body.id_slot, number=writer.id)


def requests(body: Chat, raw: Mapping[str, Any], lease: Lease, settings: Settings) -> list[halflap.Request]:
    """A body as the requests it stands for."""
    asked = chosen(body, lease) | {"reasoning_format": settings.reasoning_format, **options.thinking(body)}
    if (most := options.limit(body.max_completion_tokens, body.max_tokens, body.n_predict)) is not None:
        asked["max_tokens"] = most
    if (schema := options.schema_of(body.response_format)) is not None:
        asked["json_schema"] = schema
    if body.logprobs:
        asked["logprobs"] = body.top_logprobs or 0
    elif body.top_logprobs:
        raise invalid("top_logprobs", "top_logprobs: got a number without logprobs, want logprobs to be true")
    choice = options.tool_choice(body.tool_choice)
    return chats(lease, messages_of(raw["messages"]), tools_of(raw.get("tools")), choice, asked, body.n or 1)


class ChatWriter:
    """OpenAI's chat completion, whole or in chunks."""

    def __init__(self, body: Chat, lease: Lease) -> None:
        self.id, self.created, self.model = f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), lease.served.name
        self._fingerprint = f"halflap-{halflap.__version__}"
        self._piece = lease.model.tokenizer.token_bytes
        self._parallel = body.parallel_tool_calls is not False
        self._logprobs = bool(body.logprobs)
        self._progress = bool(body.return_progress)
        self._count = body.n or 1
        self._usage = bool(body.stream_options and body.stream_options.include_usage)
        self._finished: list[Finish] = []
        self._thought = 0

    def first(self) -> bytes:
        """As OpenAI does: the role alone, so that clients know the answer has begun."""
        return b"".join(
            self._chunk([ChunkChoice(index=i, delta=Delta(role="assistant", content=""))]) for i in range(self._count)
        )

    def event(self, place: int, event: Event) -> bytes:
        if isinstance(event, Text | Reasoning):
            told = Logprobs(logprobs(event.tokens, self._piece)) if self._logprobs else UNSET
            if not event.text and not (self._logprobs and event.tokens):
                return b""
            if isinstance(event, Reasoning):
                self._thought += len(event.tokens)
            delta = Delta(content=event.text) if isinstance(event, Text) else Delta(reasoning_content=event.text)
            return self._chunk([ChunkChoice(index=place, delta=delta, logprobs=told)])
        if isinstance(event, ToolCall):
            if event.index and not self._parallel:
                return b""
            return self._chunk([ChunkChoice(index=place, delta=Delta(tool_calls=[_call(event)]))])
        if isinstance(event, Finish):
            self._finished.append(event)
            choice = ChunkChoice(index=place, delta=Delta(), finish_reason=finish_reason(event.reason))
            return self._chunk([choice], timings=event.timings.to_dict())
        if self._progress and isinstance(event, Prefill):
            progress = {"total": event.total, "cache": event.cached, "processed": event.done}
            return self._chunk([ChunkChoice(index=place, delta=Delta())], prompt_progress=progress)
        return b""

    def last(self) -> bytes:
        end = b"data: [DONE]\n\n"
        if not self._usage:
            return end
        counted = usage(*(finish.usage for finish in self._finished), thought=self._thought)
        return self._chunk([], usage=counted, timings=self._finished[0].timings.to_dict()) + end

    def failed(self, why: Refusal) -> bytes:
        return data(why.body()) + b"data: [DONE]\n\n"

    def whole(self, answers: Sequence[Completion]) -> ChatReply:
        choices = []
        for place, done in enumerate(answers):
            message = reply_message(done)
            if not self._parallel and message.tool_calls:
                message.tool_calls = message.tool_calls[:1]
            told = Logprobs(logprobs(done.tokens, self._piece)) if self._logprobs else None
            reason = finish_reason(done.finish_reason)
            choices.append(Choice(index=place, message=message, logprobs=told, finish_reason=reason))
        return ChatReply(
            id=self.id,
            created=self.created,
            model=self.model,
            system_fingerprint=self._fingerprint,
            choices=choices,
            usage=usage(*(done.usage for done in answers), thought=sum(done.reasoning_tokens for done in answers)),
            timings=answers[0].timings.to_dict(),
        )

    def _chunk(self, choices: list[ChunkChoice], **facts: Any) -> bytes:
        return data(
            ChatChunk(
                id=self.id,
                created=self.created,
                model=self.model,
                system_fingerprint=self._fingerprint,
                choices=choices,
                **facts,
            )
        )


def _call(event: ToolCall) -> ToolCallReply:
    if event.name is None:
        return ToolCallReply(index=event.index, function=Called(arguments=event.arguments))
    function = Called(name=event.name, arguments=event.arguments)
    return ToolCallReply(index=event.index, id=event.id or "", type="function", function=function)
