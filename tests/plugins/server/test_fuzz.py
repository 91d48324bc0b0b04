"""Thousands of damaged bodies for each route: never a 5xx, never a hang, and an error that says something."""

from __future__ import annotations

import copy
import http.client
import json
import random
from contextlib import closing
from typing import Any

import pytest

from tests.plugins.server.kit import WEATHER, Running

MANY, FEW = 5000, 60
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
]
SAMPLING = {
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.9,
    "seed": 1,
    "stop": ["x"],
    "logit_bias": {"5": -1},
    "samplers": ["top_k"],
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {
        "messages": CHAT,
        "tools": [WEATHER],
        "tool_choice": "auto",
        "n": 1,
        "logprobs": True,
        "top_logprobs": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"a": 1},
        "reasoning": "off",
        **SAMPLING,
    },
    "/v1/completions": {"prompt": ["The fox", [5, 6]], "logprobs": 1, "echo": True, **SAMPLING},
    "/v1/responses": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
        "tools": [{"type": "function", **WEATHER["function"]}],
        "reasoning": {"effort": "low"},
    },
    "/v1/messages": {
        "max_tokens": 1,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "1"}]},
        ],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "thinking": {"type": "enabled", "budget_tokens": 9},
    },
    "/v1/messages/count_tokens": {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
    },
    "/v1/embeddings": {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 4},
    "/v1/rerank": {"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1},
    "/completion": {
        "prompt": ["The", 5, "fox"],
        "n_probs": 1,
        "json_schema": SCHEMA,
        "response_fields": ["content"],
        **SAMPLING,
    },
    "/infill": {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": "c", "filename": "d"}]},
    "/tokenize": {"content": "The fox", "with_pieces": True},
    "/detokenize": {"tokens": [1, 2, 3]},
    "/apply-template": {"messages": CHAT, "tools": [WEATHER]},
    "/v1/chat/completions/input_tokens": {"messages": CHAT, "tools": [WEATHER]},
    "/v1/responses/input_tokens": {"input": "Hi"},
    "/models/load": {"model": "starter", "reload": False},
    "/slots/0?action=erase": {"filename": "a"},
    "/lora-adapters": [{"id": 0, "scale": 1.0}],
    "/v1/chat/completions/control": {"id": "x", "action": "cancel"},
}
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    -1e308,
    2**63,
    -(2**70),
    0.1,
    "",
    "x",
    "\ud7ff\U0010ffff\u0000",
    "<|im_end|>",
    "{{ 7 * 7 }}",
    [],
    {},
    [[]],
    {"": None},
    ["x", 5],
    "a" * 3000,
    [0] * 300,
    {"$ref": "#"},
    {"type": "string", "pattern": "(a*)*b"},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def damaged(body: Any, chance: random.Random) -> bytes:
    """The body with a few of its parts replaced, removed, repeated or wrapped, and sometimes its bytes broken."""
    body = {"top": copy.deepcopy(body)}
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(places(body)[1:] or [("top",)])
        holder: Any = body
        for key in path[:-1]:
            holder = holder[key]
        what = chance.random()
        if what < 0.6:
            holder[path[-1]] = copy.deepcopy(chance.choice(ODD))
        elif what < 0.8 and len(path) > 1:
            del holder[path[-1]]
        elif what < 0.9:
            holder[path[-1]] = [holder[path[-1]]] * chance.randint(1, 4)
        elif isinstance(holder, dict):
            holder[chance.choice(("model", "stream", "n", "extra", "max_tokens", "grammar", "timeout"))] = (
                chance.choice(ODD)
            )
    data = json.dumps(body["top"]).encode()
    if chance.random() < 0.15:
        cut = chance.randrange(len(data) + 1)
        data = chance.choice(
            (data[:cut], data[:cut] + bytes([chance.randrange(256)]) + data[cut + 1 :], data + data, b"[" * 2000 + data)
        )
    return data


def limited(body: Any) -> Any:
    return {"max_tokens": 1, "n_predict": 1, "max_output_tokens": 1, **body} if isinstance(body, dict) else body


def fuzz(server: Running, path: str, count: int) -> None:
    chance = random.Random(path)
    with closing(http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=20)) as connection:
        for number in range(count):
            data = damaged(limited(BODIES[path]), chance)
            try:
                connection.request("POST", path, data, {"Content-Type": "application/json"})
                response = connection.getresponse()
                said = response.read()
            except (http.client.RemoteDisconnected, BrokenPipeError):  # the server may close what it refuses
                connection.close()
                continue
            assert response.status < 500 or response.status == 501, (number, data[:2000], said[:2000])
            if response.status >= 400:
                assert json.loads(said)["error"]["message"], (number, data[:2000])


@pytest.mark.parametrize("path", BODIES)
def test_damaged_bodies_are_answered_or_refused(server: Running, path: str) -> None:
    fuzz(server, path, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("path", BODIES)
def test_thousands_of_damaged_bodies_are_answered_or_refused(server: Running, path: str) -> None:
    fuzz(server, path, MANY)
