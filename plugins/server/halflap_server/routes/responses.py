"""/v1/responses: OpenAI's Responses API, with its stored conversations kept in memory.

Source: OpenAI's API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap import Completion, Event, Finish, Prefill, Reasoning, Text, Token, ToolCall
from halflap_server import options
from halflap_server.answers import answer, encode, json_response, named
from halflap_server.asking import chats, chosen, content_of
from halflap_server.blocks import Block, Blocks
from halflap_server.bodies import Part, Responses
from halflap_server.errors import Refusal, invalid, not_found
from halflap_server.pool import Lease
from halflap_server.reading import checked, read
from halflap_server.replies import logprobs

Item = dict[str, Any]


class Store:
    """Finished responses, the newest that fit: clients go on from them by `previous_response_id`."""

    def __init__(self, most: int = 512, most_bytes: int = 64 << 20) -> None:
        self._kept: OrderedDict[str, tuple[dict[str, Any], list[Item], int]] = OrderedDict()
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0

    def put(self, reply: dict[str, Any], items: list[Item]) -> None:
        """Keep a response and the conversation that it ends."""
        size = len(encode(items))
        self._kept[reply["id"]] = reply, items, size
        self._bytes += size
        while self._kept and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            self._bytes -= self._kept.popitem(last=False)[1][2]

    def reply(self, number: str) -> dict[str, Any]:
        return self._get(number)[0]

    def items(self, number: str) -> list[Item]:
        return self._get(number)[1]

    def _get(self, number: str) -> tuple[dict[str, Any], list[Item], int]:
        if number not in self._kept:
            raise not_found(f"response: got {number!r:.80}, want one of those still kept")
        self._kept.move_to_end(number)
        return self._kept[number]

    def delete(self, number: str) -> None:
        self._bytes -= self._get(number)[2]
        del self._kept[number]


async def create(request: Request) -> Response:
    """Answer a chat (OpenAI's Responses)."""
    body, raw = await read(request, Responses)
    lease = await request.app.state.pool.acquire(body.model)
    with lease.unless_failed():
        asked = request_of(request, body, raw, lease)
        writer = ResponseWriter(body, raw, lease, request.app.state.responses)
    return await answer(
        request, lease, [asked], writer, streaming=bool(body.stream), slot=body.id_slot, number=writer.id
    )


async def retrieve(request: Request) -> Response:
    """A response that was kept."""
    return json_response(request.app.state.responses.reply(request.path_params["id"]))


async def delete(request: Request) -> Response:
    """Forget a response."""
    number = request.path_params["id"]
    request.app.state.responses.delete(number)
    return json_response({"id": number, "object": "response", "deleted": True})


async def input_items(request: Request) -> Response:
    """What a kept response was asked."""
    items = request.app.state.responses.items(request.path_params["id"])
    data = [{"id": f"item_{place}", **item} for place, item in enumerate(items)]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return json_response({"object": "list", "data": data, "has_more": False, **ends})


def request_of(request: Request, body: Responses, raw: Mapping[str, Any], lease: Lease) -> halflap.Request:
    """A body, and what it goes on from, as the request it stands for."""
    asked = chosen(body, lease) | {"reasoning_format": "auto"}
    asked |= {name: value for name, value in options.thinking(body).items() if name != "reasoning"}
    if body.reasoning is not None and body.reasoning.effort:
        asked["reasoning_effort"] = body.reasoning.effort
    if (most := options.limit(body.max_output_tokens, body.max_tokens, body.n_predict)) is not None:
        asked["max_tokens"] = most
    if body.text is not None and body.text.format is not None:
        asked |= _format(body.text.format.type, body.text.format.schema)
    if body.top_logprobs is not None:
        asked["logprobs"] = body.top_logprobs
    messages = chat_of(body.instructions, items_of(body, raw, request.app.state.responses))
    (made,) = chats(lease, messages, _tools(body), options.tool_choice(body.tool_choice), asked)
    return made


def items_of(body: Responses, raw: Mapping[str, Any], store: Store) -> list[Item]:
    """The whole conversation: what the previous response ended, then this input."""
    before = store.items(body.previous_response_id) if body.previous_response_id else []
    given = raw["input"]
    if isinstance(given, str):
        return [*before, {"type": "message", "role": "user", "content": given}]
    return [*before, *given]


def _format(kind: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"json_schema": {"type": "object"}}
    if kind == "json_schema" and schema is not None:
        return {"json_schema": schema}
    want = "'text', 'json_object' or 'json_schema' with a schema"
    raise invalid("text.format", f"text.format: got {kind!r:.40}, want {want}")


def _tools(body: Responses) -> list[dict[str, Any]]:
    found = []
    for place, tool in enumerate(body.tools or ()):
        if tool.type != "function" or not tool.name:
            message = f"tools[{place}]: got type {tool.type!r:.40}, want a 'function' with a name"
            raise invalid(f"tools[{place}]", message)
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters or {"type": "object"}}
        if tool.description:
            function["description"] = tool.description
        found.append({"type": "function", "function": function})
    return found


def chat_of(instructions: str | None, items: Sequence[Item]) -> list[dict[str, Any]]:
    """Items as messages: calls join the assistant's turn that they stand behind."""
    found: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for place, item in enumerate(items):
        where, kind = f"input[{place}]", item.get("type", "message")
        if kind == "message":
            role = item.get("role")
            if role not in ("user", "assistant", "system", "developer"):
                raise invalid(
                    f"{where}.role", f"{where}.role: got {role!r:.40}, want user, assistant, system, developer"
                )
            content = content_of(_parts(item.get("content"), where), f"{where}.content")
            thought = found[-1] if found and found[-1].get("thought") else None
            if role == "assistant" and thought is not None:
                del thought["thought"]
                thought["content"] = content
            else:
                found.append({"role": role, "content": content})
        elif kind == "function_call":
            _assistant(found).setdefault("tool_calls", []).append(_call(item, where))
        elif kind == "function_call_output":
            text = content_of(_parts(item.get("output"), where), f"{where}.output")
            found.append({"role": "tool", "tool_call_id": _text(item, "call_id", where), "content": text})
        elif kind == "reasoning":
            words = content_of(_parts(item.get("content") or item.get("summary"), where), f"{where}.content")
            found.append({"role": "assistant", "content": "", "reasoning_content": words, "thought": True})
        else:
            raise invalid(f"{where}.type", f"{where}.type: got {kind!r:.40}, want message, function_call, "
                          "function_call_output or reasoning")  # fmt: skip
    for message in found:
        message.pop("thought", None)
    if not found:
        raise invalid("input", "input: got nothing, want at least one item")
    return found


def _assistant(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's turn under way."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": ""})
    found[-1].pop("thought", None)
    return found[-1]


def _call(item: Item, where: str) -> dict[str, Any]:
    function = {"name": _text(item, "name", where), "arguments": _text(item, "arguments", where)}
    return {"id": _text(item, "call_id", where), "type": "function", "function": function}


def _text(item: Item, field: str, where: str) -> str:
    value = item.get(field)
    if not isinstance(value, str):
        raise invalid(f"{where}.{field}", f"{where}.{field}: got {value!r:.40}, want a text")
    return value


def _parts(content: Any, where: str) -> Any:
    """input_image becomes image_url, as in chats."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where}.content", f"{where}.content: got {content!r:.40}, want a text or a list of parts")
    parts = []
    for place, part in enumerate(content):
        here = f"{where}.content[{place}]"
        checked(part, Part, here)
        if part["type"] == "input_image":
            parts.append({"type": "image_url", "image_url": {"url": _text(dict(part), "image_url", here)}})
        else:
            parts.append(dict(part))
    return parts


class ResponseWriter:
    """OpenAI's response, whole or as events."""

    def __init__(self, body: Responses, raw: Mapping[str, Any], lease: Lease, store: Store) -> None:
        self.id, self._created, self._model = f"resp_{secrets.token_hex(16)}", int(time.time()), lease.served.name
        self._body, self._raw, self._store = body, raw, store
        self._piece = lease.model.tokenizer.token_bytes
        self._blocks = Blocks(body.parallel_tool_calls is not False)
        self._items: dict[int, Item] = {}
        self._number, self._thought = -1, 0
        self._before = items_of(body, raw, store) if body.store is not False else []

    def first(self) -> bytes:
        reply = self._reply("in_progress")
        return self._event("response.created", response=reply) + self._event("response.in_progress", response=reply)

    def event(self, place: int, event: Event) -> bytes:
        if isinstance(event, Prefill):
            return b""
        if isinstance(event, Reasoning):
            self._thought += len(event.tokens)
        told = b"".join(self._told(*change) for change in self._blocks.push(event))
        if isinstance(event, Finish):
            reply = self._ended(event)
            told += self._event("response.completed" if reply["status"] == "completed" else "response.incomplete",
                                response=reply, timings=event.timings.to_dict())  # fmt: skip
        return told

    def last(self) -> bytes:
        return b""

    def failed(self, why: Refusal) -> bytes:
        error = {"code": "server_error", "message": why.message}
        reply = self._reply("failed") | {"error": error, "output": list(self._items.values())}
        return self._event("error", **error, param=why.param) + self._event("response.failed", response=reply)

    def whole(self, answers: Sequence[Completion]) -> dict[str, Any]:
        (done,) = answers
        events: list[Event] = []
        if done.reasoning:
            events.append(Reasoning(done.reasoning))
        if done.text:
            events.append(Text(done.text, done.tokens))
        events += [ToolCall(place, c.id, c.name, c.arguments) for place, c in enumerate(done.tool_calls)]
        finish = Finish(done.finish_reason, done.stop, done.usage, done.timings)
        for event in [*events, finish]:
            for change in self._blocks.push(event):
                self._told(*change)
        self._thought = done.reasoning_tokens
        return self._ended(finish) | {"timings": done.timings.to_dict()}

    def _told(self, what: str, block: Block, text: str, tokens: tuple[Token, ...]) -> bytes:
        if what == "begins":
            return self._begins(block)
        item, place = self._items[block.place], {"output_index": block.place, "item_id": self._items[block.place]["id"]}
        if block.kind == "call":
            return self._call_told(what, block, text, item, place)
        name = "output_text" if block.kind == "text" else "reasoning_text"
        part = {"content_index": 0, **place}
        if what == "grows":
            told = logprobs(tokens, self._piece)
            if block.kind == "text":
                item["content"][0]["logprobs"] += told
            extra = {"logprobs": told} if block.kind == "text" else {}
            return self._event(f"response.{name}.delta", **part, delta=text, **extra)
        item["content"][0]["text"], item["status"] = block.content, "completed"
        extra = {"logprobs": item["content"][0]["logprobs"]} if block.kind == "text" else {}
        return (
            self._event(f"response.{name}.done", **part, text=block.content, **extra)
            + self._event("response.content_part.done", **part, part=item["content"][0])
            + self._event("response.output_item.done", output_index=block.place, item=item)
        )

    def _begins(self, block: Block) -> bytes:
        number = secrets.token_hex(12)
        item: Item
        if block.kind == "call":
            item = {"type": "function_call", "id": f"fc_{number}", "call_id": block.id, "name": block.name,
                    "arguments": "", "status": "in_progress"}  # fmt: skip
        elif block.kind == "text":
            part: Item = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item = {
                "type": "message",
                "id": f"msg_{number}",
                "role": "assistant",
                "status": "in_progress",
                "content": [part],
            }
        else:
            part = {"type": "reasoning_text", "text": ""}
            item = {
                "type": "reasoning",
                "id": f"rs_{number}",
                "summary": [],
                "content": [part],
                "status": "in_progress",
            }
        self._items[block.place] = item
        empty = {**item, "content": []} if "content" in item else item
        told = self._event("response.output_item.added", output_index=block.place, item=empty)
        if block.kind != "call":
            place = {"output_index": block.place, "item_id": item["id"], "content_index": 0}
            told += self._event("response.content_part.added", **place, part=part)
        return told

    def _call_told(self, what: str, block: Block, text: str, item: Item, place: Item) -> bytes:
        if what == "grows":
            return self._event("response.function_call_arguments.delta", **place, delta=text)
        item["arguments"], item["status"] = block.content, "completed"
        return self._event(
            "response.function_call_arguments.done", **place, name=block.name, arguments=block.content
        ) + self._event("response.output_item.done", output_index=block.place, item=item)

    def _ended(self, finish: Finish) -> dict[str, Any]:
        cut = finish.reason == "length"
        reply = self._reply("incomplete" if cut else "completed")
        reply["output"] = list(self._items.values())
        reply["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        used = finish.usage
        reply["usage"] = {
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_tokens},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self._thought},
            "total_tokens": used.prompt_tokens + used.completion_tokens,
        }
        if self._body.store is not False:
            self._store.put(reply, [*self._before, *self._items.values()])
        return reply

    def _reply(self, status: str) -> dict[str, Any]:
        body = self._body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._model,
            "output": [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "store": body.store is not False,
            "temperature": body.temperature,
            "text": self._raw.get("text") or {"format": {"type": "text"}},
            "tool_choice": self._raw.get("tool_choice") or "auto",
            "tools": self._raw.get("tools") or [],
            "top_p": body.top_p,
            "truncation": body.truncation or "disabled",
            "usage": None,
            "user": body.user,
        }

    def _event(self, kind: str, **facts: Any) -> bytes:
        self._number += 1
        return named(kind, {"type": kind, "sequence_number": self._number, **facts})
