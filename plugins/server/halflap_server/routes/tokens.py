"""Between text and tokens: /tokenize, /detokenize, /apply-template, and counting what a chat would take."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap_server import options
from halflap_server.answers import json_response, on_thread
from halflap_server.asking import messages_of, tools_of
from halflap_server.bodies import CountTokens, Detokenize, Responses, Template, Tokenize
from halflap_server.reading import read
from halflap_server.routes import anthropic, responses


async def tokenize(request: Request) -> Response:
    """Token ids of a text."""
    body, _ = await read(request, Tokenize)
    with await request.app.state.pool.acquire(body.model) as lease:
        tokenizer = lease.model.tokenizer

        def work() -> list[Any]:
            ids = tokenizer.encode(body.content, add_special=body.add_special, parse_special=body.parse_special)
            return [{"id": i, "piece": _piece(tokenizer.token_bytes(i))} for i in ids] if body.with_pieces else ids

        return json_response({"tokens": await on_thread(request, work)})


async def detokenize(request: Request) -> Response:
    """Text of token ids."""
    body, _ = await read(request, Detokenize)
    with await request.app.state.pool.acquire(body.model) as lease:
        text = await on_thread(request, lambda: lease.model.tokenizer.decode(body.tokens))
        return json_response({"content": text})


async def apply_template(request: Request) -> Response:
    """The prompt that a chat becomes."""
    body, raw = await read(request, Template)
    with await request.app.state.pool.acquire(body.model) as lease:
        messages, tools, asked = messages_of(raw["messages"]), tools_of(raw.get("tools")), options.thinking(body)
        prompt = await on_thread(request, lambda: lease.model.apply_template(messages, tools, **asked))
        return json_response({"prompt": prompt})


async def chat_input_tokens(request: Request) -> Response:
    """Tokens of a chat's prompt (OpenAI)."""
    body, raw = await read(request, Template)
    return await _counted(request, body.model, lambda lease: _chat(body, raw))


async def responses_input_tokens(request: Request) -> Response:
    """Tokens of a response's prompt (OpenAI)."""
    body, raw = await read(request, Responses)
    return await _counted(
        request, body.model, lambda lease: responses.request_of(request, body, raw, lease), "response.input_tokens"
    )


async def count_tokens(request: Request) -> Response:
    """Tokens of a message's prompt (Anthropic)."""
    body, raw = await read(request, CountTokens)
    return await _counted(request, body.model, lambda lease: anthropic.counted(raw, lease))


async def _counted(request: Request, model: str | None, make: Any, kind: str | None = None) -> Response:
    with await request.app.state.pool.acquire(model) as lease:
        asked = make(lease)
        count = await on_thread(request, lambda: lease.model.count(asked))
        return json_response({"input_tokens": count, **({"object": kind} if kind else {})})


def _chat(body: Template, raw: dict[str, Any]) -> halflap.Request:
    return halflap.Request(
        messages=messages_of(raw["messages"]), tools=tools_of(raw.get("tools")), options=options.thinking(body)
    )


def _piece(data: bytes) -> str | list[int]:
    """A token's text, or its bytes where they are no text."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
