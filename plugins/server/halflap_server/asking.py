"""What a model is asked: chats of any API as Halflap requests, with the server's and the model's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import halflap
from halflap import plugins
from halflap_server import options
from halflap_server.bodies import Sampling
from halflap_server.errors import invalid
from halflap_server.pool import Lease

CONSTRAINTS = ("json_schema", "grammar", "regex", "choice")
SHOWN = ("text", "input_text", "output_text", "summary_text", "reasoning_text", "image_url", "image")
"""Types of content parts that chats may hold."""


def chosen(body: Sampling, lease: Lease) -> dict[str, Any]:
    """A body's options over what the model's source sets; without a limit of its own, the source's."""
    source = lease.served.source
    encode = lease.model.tokenizer.encode
    asked = options.sampling(
        body, plugins.names("samplers"), list(source.adapters), lambda text: encode(text, add_special=False)
    )
    if asked["max_tokens"] is None:
        del asked["max_tokens"]
    found = {**source.sampling, **asked}
    if lease.served.scales:
        found.setdefault("adapters", lease.served.scales)
    return found


def chats(
    lease: Lease,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    choice: str | None,
    asked: Mapping[str, Any],
    count: int = 1,
) -> list[halflap.Request]:
    """`count` requests for one chat; a seed goes up by one from each to the next.

    Args:
        choice: "auto", "none", "required", a tool's name, or None.
        asked: options.
    """
    if choice == "none":
        tools = ()
    elif not tools and choice not in (None, "auto"):
        raise invalid("tool_choice", f"tool_choice: got {choice!r:.40} without tools, want tools to call")
    asked = dict(asked)
    forced = choice not in (None, "auto", "none")
    constrained = any(asked.get(name) is not None for name in CONSTRAINTS)
    if tools and (forced or (lease.served.holds_calls and not constrained)):
        asked["tool_choice"] = choice or "auto"
    return [halflap.Request(messages=messages, tools=tools, options=each) for each in seeded(asked, count)]


def seeded(asked: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The options of several answers to one prompt."""
    seed = asked.get("seed")
    return [{**asked, **({} if seed is None else {"seed": seed + place})} for place in range(count)]


def messages_of(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A body's messages as chat templates know them: with all that the client sent, but nulls and empty calls."""
    found = []
    for place, message in enumerate(given):
        kept = {key: value for key, value in message.items() if value is not None}
        if not kept.get("tool_calls", True):
            del kept["tool_calls"]
        kept["content"] = content_of(kept.get("content"), f"messages[{place}].content")
        found.append(kept)
    return found


def content_of(content: Any, where: str) -> Any:
    """Parts that are all text become one text; a refusal is what the assistant said."""
    if not isinstance(content, list):
        return "" if content is None else content
    parts = []
    for place, part in enumerate(content):
        if part["type"] == "refusal":
            part = {"type": "text", "text": part.get("refusal")}
        elif part["type"] not in SHOWN:
            message = f"{where}[{place}].type: got {part['type']!r:.40}, want one of {', '.join(SHOWN)}"
            raise invalid(f"{where}[{place}].type", message)
        parts.append(part)
    if all("text" in part["type"] for part in parts):
        return "".join(part.get("text") or "" for part in parts)
    return [{"type": "text", "text": p.get("text") or ""} if "text" in p["type"] else p for p in parts]


def tools_of(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """OpenAI's tools, without nulls."""
    found = []
    for place, tool in enumerate(tools or ()):
        if tool["type"] != "function":
            raise invalid(f"tools[{place}].type", f"tools[{place}].type: got {tool['type']!r:.40}, want 'function'")
        found.append({"type": "function", "function": {k: v for k, v in tool["function"].items() if v is not None}})
    return found
