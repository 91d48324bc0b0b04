"""Messages as OpenAI's API has them, made into what a template understands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from halflap.text.chat.contract import Capabilities
from halflap.text.chat.dialect import Written

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Fields in which clients send back what was thought."""
PLAIN_CALLS = Written("", '\n{"name": "', '", "arguments": ', "}", "")
"""How calls are written where neither template nor family says."""

Message = dict[str, Any]


def fitted(messages: Sequence[Mapping[str, Any]], can: Capabilities, written: Written | None = None) -> list[Message]:
    """Copies of messages that a template of these capabilities renders, with as little lost as it allows.

    Args:
        written: how the family writes calls, for a template that leaves them out.
    """
    copies = [_plain(message, can) for message in messages]
    _name_results(copies)
    if not can.developer:
        for message in copies:
            message["role"] = "system" if message["role"] == "developer" else message["role"]
    copies = [part for message in copies for part in _assistant(message, can, written or PLAIN_CALLS)]
    if not can.parallel_calls:
        copies = list(_one_by_one(copies))
    if not can.results:
        for message in copies:
            message["role"] = "user" if message["role"] == "tool" else message["role"]
    if not can.system:
        copies = list(_without_system(copies))
    if can.alternates:
        copies = list(_merged(copies))
    if can.parts:
        for message in copies:
            if isinstance(message.get("content"), str) and (message["content"] or "tool_calls" not in message):
                message["content"] = [{"type": "text", "text": message["content"]}]
    return copies


def _plain(message: Mapping[str, Any], can: Capabilities) -> Message:
    """A copy with text instead of parts that are all text, and no field that is None."""
    copy = {key: value for key, value in message.items() if value is not None}
    content = copy.setdefault("content", "")
    if isinstance(content, Sequence) and not isinstance(content, str):
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        if all(isinstance(text, str) for text in texts):
            copy["content"] = "".join(texts)  # type: ignore[arg-type]
    if not copy.get("tool_calls"):
        copy.pop("tool_calls", None)
    if can.short_ids and isinstance(copy.get("tool_call_id"), str):
        copy["tool_call_id"] = _short(copy["tool_call_id"])
    return copy


def _short(long: str) -> str:
    return (
        long if len(long) == 9 and long.isalnum() else hashlib.sha256(long.encode("utf-8", "replace")).hexdigest()[:9]
    )


def _name_results(messages: Sequence[Message]) -> None:
    """Results say which tool gave them."""
    names: dict[Any, Any] = {}
    for message in messages:
        for call in message.get("tool_calls", ()):
            if isinstance(call, Mapping) and isinstance(call.get("function"), Mapping):
                names[str(call.get("id"))] = names[_short(str(call.get("id")))] = call["function"].get("name")
        if message["role"] == "tool" and "name" not in message and names.get(str(message.get("tool_call_id"))):
            message["name"] = names[str(message.get("tool_call_id"))]


def _assistant(message: Message, can: Capabilities, written: Written) -> Iterator[Message]:
    """The assistant's thoughts and calls as the template has them."""
    if message["role"] != "assistant":
        yield message
        return
    thought = next((message[field] for field in THOUGHTS if isinstance(message.get(field), str)), "")
    for field in THOUGHTS:
        message.pop(field, None)
    if thought and can.reasoning_field:
        message[can.reasoning_field] = thought
    calls = message.get("tool_calls")
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        message.pop("tool_calls", None)
        yield message
        return
    if not can.calls:
        message["content"] = _text(message["content"]) + _written(message.pop("tool_calls"), written)
        yield message
        return
    message["tool_calls"] = [_call(call, place, can) for place, call in enumerate(calls)]
    if not message["content"]:
        message["content"] = None if can.null_content else ""
    elif thought and can.reasoning_field and not can.thought_and_words:
        message["content"] = ""
    elif not can.call_content:
        yield {"role": "assistant", "content": message["content"]}
        message["content"] = None if can.null_content else ""
    yield message


def _call(call: Any, place: int, can: Capabilities) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments", {})
    arguments = _object(arguments) if can.object_arguments else _json(arguments)
    call_id = str(call.get("id") or f"call{place:05d}")
    return {
        **call,
        "id": _short(call_id) if can.short_ids else call_id,
        "type": "function",
        "function": {**function, "arguments": arguments},
    }


def _object(arguments: Any) -> Any:
    """Arguments as an object; text that is none, as the only one."""
    if not isinstance(arguments, str):
        return arguments if isinstance(arguments, Mapping) else {}
    try:
        found = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}


def _json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _written(calls: Any, written: Written) -> str:
    texts = []
    for call in calls:
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        name = json.dumps(str(function.get("name", "")))[1:-1]
        arguments = json.dumps(_object(function.get("arguments", {})), ensure_ascii=False)
        texts.append(f"{written.before}{name}{written.between}{arguments}{written.after}")
    if written.join is None:
        return "".join(written.open + text + written.close for text in texts)
    return written.open + written.join.join(texts) + written.close


def _one_by_one(messages: Sequence[Message]) -> Iterator[Message]:
    """Each call in a message of its own, with its result behind it."""
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            yield message
            continue
        results = []
        while place < len(messages) and messages[place]["role"] == "tool":
            results.append(messages[place])
            place += 1
        for number, call in enumerate(calls):
            bare = {key: value for key, value in message.items() if key not in THOUGHTS} if number else message
            yield {**bare, "content": message["content"] if not number else "", "tool_calls": [call]}
            call_id = call.get("id") if isinstance(call, Mapping) else None
            own = [result for result in results if result.get("tool_call_id") == call_id]
            yield from own
            results = [result for result in results if result not in own]
        yield from results


def _without_system(messages: Sequence[Message]) -> Iterator[Message]:
    """System messages stand before what the user says next."""
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(_text(message["content"]))
        elif message["role"] == "user" and waiting:
            yield {**message, "content": _joined("\n\n".join(waiting), message["content"])}
            waiting = []
        else:
            yield message
    if waiting:
        yield {"role": "user", "content": "\n\n".join(waiting)}


def _merged(messages: Sequence[Message]) -> Iterator[Message]:
    """Neighbours of one role as one message, where templates want roles to alternate."""
    last: Message | None = None
    for message in messages:
        if (
            last is not None
            and message["role"] == last["role"] != "tool"
            and not ("tool_calls" in last or "tool_calls" in message)
        ):
            last = {**message, "content": _joined(last["content"], message["content"])}
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, str) and isinstance(other, str):
        return "\n\n".join(filter(None, (one, other)))
    return [*_parts(one), *_parts(other)]


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": f"{content}\n\n"}] if isinstance(content, str) else list(content or ())


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [part.get("text", "") for part in content or () if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))
