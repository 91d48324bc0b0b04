"""POST /v1/messages: Anthropic's Messages API.

Source: Anthropic's API reference, "Messages" and "Streaming Messages" for the order of events.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import halflap
from halflap import Completion, Event, Finish, Prefill
from halflap_server import options
from halflap_server.answers import answer, named, on_thread
from halflap_server.asking import chats
from halflap_server.blocks import Block, Blocks
from halflap_server.bodies import Messages
from halflap_server.errors import Refusal, invalid
from halflap_server.pool import Lease
from halflap_server.reading import read

Usage = dict[str, int]


async def messages(request: Request) -> Response:
    """Answer a chat (Anthropic)."""
    body, raw = await read(request, Messages)
    lease = await request.app.state.pool.acquire(body.model)
    with lease.unless_failed():
        asked = requests(body, raw, lease)
        writer = MessageWriter(lease, _parallel(raw), body.stop_sequences or ())
        if body.stream:  # the first event tells the prompt's length, before any of it is read
            writer.prompt_tokens = await _length(request, lease, asked[0])
    return await answer(request, lease, asked, writer, streaming=bool(body.stream), number=writer.id)


async def _length(request: Request, lease: Lease, asked: halflap.Request) -> int:
    return await on_thread(request, lambda: lease.model.count(asked))


def requests(body: Messages, raw: Mapping[str, Any], lease: Lease) -> list[halflap.Request]:
    """A body as the request it stands for."""
    asked = dict(lease.served.source.sampling)
    for name in ("temperature", "top_k", "top_p", "chat_template_kwargs"):
        if (value := getattr(body, name)) is not None:
            asked[name] = value
    asked["max_tokens"] = body.max_tokens
    if body.stop_sequences:
        asked["stop"] = body.stop_sequences
    if body.user or (body.metadata or {}).get("user_id"):
        asked["user"] = str(body.user or (body.metadata or {})["user_id"])[:256]
    if lease.served.scales:
        asked["adapters"] = lease.served.scales
    asked |= _thinking(body.thinking)
    wanted = (body.output_config or {}).get("format")
    if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":
        asked["json_schema"] = wanted.get("schema", {})
    tools, choice = _tools(raw.get("tools")), options.tool_choice(body.tool_choice)
    return chats(lease, chat_of(raw), tools, choice, asked)


def counted(raw: Mapping[str, Any], lease: Lease) -> halflap.Request:
    """A body's prompt alone, for counting."""
    asked = {name: v for name, v in _thinking(raw.get("thinking")).items() if name != "reasoning_budget"}
    return halflap.Request(messages=chat_of(raw), tools=_tools(raw.get("tools")), options=asked)


def _thinking(told: Mapping[str, Any] | None) -> dict[str, Any]:
    kind = (told or {}).get("type")
    if kind is None:
        return {}
    if kind not in ("enabled", "disabled", "adaptive"):
        raise invalid("thinking.type", f"thinking.type: got {kind!r:.40}, want 'enabled', 'adaptive' or 'disabled'")
    found: dict[str, Any] = {"reasoning": "off" if kind == "disabled" else "on" if kind == "enabled" else "auto"}
    budget = (told or {}).get("budget_tokens")
    if kind == "enabled" and budget is not None:
        if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
            message = f"thinking.budget_tokens: got {budget!r:.40}, want a number of tokens"
            raise invalid("thinking.budget_tokens", message)
        found["reasoning_budget"] = min(budget, 1 << 31)
    return found


def _parallel(raw: Mapping[str, Any]) -> bool:
    return not (raw.get("tool_choice") or {}).get("disable_parallel_tool_use", False)


def _tools(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Client tools in OpenAI's form; those that Anthropic's own servers run cannot be here."""
    found = []
    for place, tool in enumerate(tools or ()):
        if tool.get("type") not in (None, "custom"):
            message = f"tools[{place}].type: got {tool['type']!r:.40}, want 'custom'; its server runs elsewhere"
            raise invalid(f"tools[{place}].type", message)
        function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
        if tool.get("description"):
            function["description"] = tool["description"]
        found.append({"type": "function", "function": function})
    return found


def chat_of(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """System and turns as OpenAI's messages, which chat templates are written for."""
    found: list[dict[str, Any]] = []
    if system := raw.get("system"):
        text = system if isinstance(system, str) else "\n".join(block.get("text") or "" for block in system)
        found.append({"role": "system", "content": text})
    for place, turn in enumerate(raw["messages"]):
        if turn["role"] not in ("user", "assistant", "system"):
            message = f"messages[{place}].role: got {turn['role']!r:.40}, want 'user' or 'assistant'"
            raise invalid(f"messages[{place}].role", message)
        content = turn["content"]
        if isinstance(content, str):
            found.append({"role": turn["role"], "content": content})
        else:
            found += _turn(turn["role"], content, f"messages[{place}].content")
    return found


def _turn(role: str, blocks: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for place, block in enumerate(blocks):
        kind, here = block["type"], f"{where}[{place}]"
        if kind == "text":
            parts.append({"type": "text", "text": block.get("text") or ""})
        elif kind == "image":
            parts.append(_image(block.get("source"), here))
        elif kind == "tool_use":
            function = {"name": str(block.get("name") or ""), "arguments": json.dumps(block.get("input") or {})}
            calls.append({"id": str(block.get("id") or ""), "type": "function", "function": function})
        elif kind == "tool_result":
            results.append(_result(block, here))
        elif kind == "thinking":
            thoughts.append(block.get("thinking") or "")
        elif kind != "redacted_thinking":
            want = "text, image, tool_use, tool_result or thinking"
            raise invalid(f"{here}.type", f"{here}.type: got {kind!r:.40}, want {want}")
    if not (parts or calls or thoughts):
        return results
    message: dict[str, Any] = {"role": role, "content": parts}
    if all(part["type"] == "text" for part in parts):
        message["content"] = "".join(part["text"] for part in parts)
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    return [*results, message]


def _image(source: Any, where: str) -> dict[str, Any]:
    told = source if isinstance(source, Mapping) else {}
    if told.get("type") == "base64" and isinstance(told.get("data"), str):
        kind = told.get("media_type") or "image/png"
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{told['data']}"}}
    if told.get("type") == "url" and isinstance(told.get("url"), str):
        return {"type": "image_url", "image_url": {"url": told["url"]}}
    raise invalid(f"{where}.source", f"{where}.source: got {told.get('type')!r:.40}, want base64 data or a url")


def _result(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    content = block.get("content") or ""
    if not isinstance(content, str):
        kinds = [part.get("type") for part in content]
        if any(kind != "text" for kind in kinds):
            raise invalid(f"{where}.content", f"{where}.content: got {kinds!r:.60}, want text")
        content = "".join(str(part.get("text") or "") for part in content)
    if block.get("is_error"):
        content = f"Error: {content}"
    return {"role": "tool", "tool_call_id": str(block.get("tool_use_id") or ""), "content": content}


class MessageWriter:
    """Anthropic's message, whole or as events.

    Attributes:
        prompt_tokens: what the first event says of the prompt.
    """

    def __init__(self, lease: Lease, parallel: bool, stops: Sequence[str]) -> None:
        self.id, self.model = f"msg_{secrets.token_hex(12)}", lease.served.name
        self.prompt_tokens, self._stops = 0, stops
        self._blocks = Blocks(parallel)

    def first(self) -> bytes:
        message = self._message([], None, None, self._usage(self.prompt_tokens, 0, 0))
        return named("message_start", {"type": "message_start", "message": message}) + named("ping", {"type": "ping"})

    def event(self, place: int, event: Event) -> bytes:
        if isinstance(event, Prefill):
            return b""
        told = b"".join(self._told(*change) for change in self._blocks.push(event))
        if isinstance(event, Finish):
            reason, stop = self._stop(event.reason, event.stop)
            used = self._usage(event.usage.prompt_tokens, event.usage.cached_tokens, event.usage.completion_tokens)
            delta = {"stop_reason": reason, "stop_sequence": stop}
            told += named("message_delta", {"type": "message_delta", "delta": delta, "usage": used})
            told += named("message_stop", {"type": "message_stop"})
        return told

    def _told(self, what: str, block: Block, text: str, _: object) -> bytes:
        if what == "begins":
            start = {"type": "content_block_start", "index": block.place, "content_block": _empty(block)}
            return named("content_block_start", start)
        if what == "grows":
            return _grown(block, text)
        # Clients wait for a signature of what was thought; nothing here is signed.
        signed = _delta(block, {"type": "signature_delta", "signature": ""}) if block.kind == "thinking" else b""
        return signed + named("content_block_stop", {"type": "content_block_stop", "index": block.place})

    def last(self) -> bytes:
        return b""

    def failed(self, why: Refusal) -> bytes:
        return named("error", why.body(anthropic=True))

    def whole(self, answers: Sequence[Completion]) -> dict[str, Any]:
        (done,) = answers
        content: list[dict[str, Any]] = []
        if done.reasoning:
            content.append({"type": "thinking", "thinking": done.reasoning, "signature": ""})
        if done.text or not (done.tool_calls or done.reasoning):
            content.append({"type": "text", "text": done.text})
        calls = done.tool_calls if self._blocks.parallel else done.tool_calls[:1]
        for call in calls:
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": _object(call.arguments)})
        reason, stop = self._stop(done.finish_reason, done.stop)
        used = self._usage(done.usage.prompt_tokens, done.usage.cached_tokens, done.usage.completion_tokens)
        return self._message(content, reason, stop, used)

    def _stop(self, reason: str, stop: str | None) -> tuple[str, str | None]:
        if reason in ("tool_calls", "length"):
            return {"tool_calls": "tool_use", "length": "max_tokens"}[reason], None
        return ("stop_sequence", stop) if stop in self._stops else ("end_turn", None)

    def _message(self, content: list[Any], reason: str | None, stop: str | None, used: Usage) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": used,
        }

    def _usage(self, prompt: int, cached: int, generated: int) -> Usage:
        """Anthropic counts what was read from the cache apart."""
        return {
            "input_tokens": prompt - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": generated,
        }


def _empty(block: Block) -> dict[str, Any]:
    if block.kind == "call":
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _grown(block: Block, text: str) -> bytes:
    kind, member = {
        "call": ("input_json_delta", "partial_json"),
        "thinking": ("thinking_delta", "thinking"),
        "text": ("text_delta", "text"),
    }[block.kind]
    return _delta(block, {"type": kind, member: text})


def _delta(block: Block, delta: dict[str, str]) -> bytes:
    return named("content_block_delta", {"type": "content_block_delta", "index": block.place, "delta": delta})


def _object(arguments: str) -> Any:
    """A call's arguments; what is no JSON object is passed on as text."""
    try:
        found = json.loads(arguments or "{}")
    except ValueError:
        found = arguments
    return found if isinstance(found, dict) else {"arguments": found}
