"""Anthropic's Messages API: blocks, the order of events, tool use."""

from __future__ import annotations

import json

from tests.plugins.server.kit import WEATHER, Running

TOOL = {"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER["function"]["parameters"]}
ASK = {
    "model": "starter",
    "max_tokens": 24,
    "temperature": 0,
    "messages": [{"role": "user", "content": "What is 12 + 9?"}],
}


def test_a_message_is_answered(server: Running) -> None:
    reply = server.post("/v1/messages", ASK).json()
    assert (reply["type"], reply["role"], reply["stop_reason"]) == ("message", "assistant", "end_turn")
    assert "21" in reply["content"][0]["text"]
    counted = server.post("/v1/messages/count_tokens", {"messages": ASK["messages"]}).json()["input_tokens"]
    usage = reply["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == counted


def test_events_come_in_the_order_that_the_sdk_expects(server: Running) -> None:
    events = server.events("/v1/messages", {**ASK, "stream": True})
    names = [name for name, _ in events]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    said = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert said == server.post("/v1/messages", ASK).json()["content"][0]["text"]
    assert events[0][1]["message"]["usage"]["input_tokens"] > 0


def test_a_tool_is_used_and_its_result_read(server: Running) -> None:
    ask = {**ASK, "messages": [{"role": "user", "content": "What is the weather in Paris?"}], "max_tokens": 60}
    ask |= {"tools": [TOOL], "tool_choice": {"type": "any"}}
    reply = server.post("/v1/messages", ask).json()
    (use,) = [block for block in reply["content"] if block["type"] == "tool_use"]
    assert (reply["stop_reason"], use["name"], set(use["input"])) == ("tool_use", "get_weather", {"city"})
    events = server.events("/v1/messages", {**ask, "stream": True})
    pieces = [
        d["delta"]["partial_json"] for n, d in events if n == "content_block_delta" and "partial_json" in d["delta"]
    ]
    assert json.loads("".join(pieces)) == use["input"]
    result = {
        "type": "tool_result",
        "tool_use_id": use["id"],
        "content": [{"type": "text", "text": '{"sky": "sunny"}'}],
    }
    turns = [
        *ask["messages"],
        {"role": "assistant", "content": reply["content"]},
        {"role": "user", "content": [result]},
    ]
    second = server.post("/v1/messages", {**ask, "messages": turns, "tool_choice": {"type": "auto"}}).json()
    assert second["content"]


def test_a_stop_sequence_is_named(server: Running) -> None:
    reply = server.post("/v1/messages", {**ASK, "stop_sequences": ["="]}).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", "=")
    assert "=" not in reply["content"][0]["text"]


def test_thinking_is_a_block_of_its_own(server: Running) -> None:
    ask = {**ASK, "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 80}
    reply = server.post("/v1/messages", ask).json()
    assert [block["type"] for block in reply["content"]] == ["thinking", "text"]
    events = server.events("/v1/messages", {**ask, "stream": True})
    starts = [data["content_block"]["type"] for name, data in events if name == "content_block_start"]
    deltas = {data["delta"]["type"] for name, data in events if name == "content_block_delta"}
    assert starts == ["thinking", "text"]
    assert deltas == {"thinking_delta", "signature_delta", "text_delta"}


def test_failures_have_the_shape_of_the_api(server: Running) -> None:
    response = server.post("/v1/messages", {"messages": ASK["messages"]})
    assert response.status_code == 400
    reply = response.json()
    assert (reply["type"], reply["error"]["type"]) == ("error", "invalid_request_error")
    assert "max_tokens" in reply["error"]["message"]
    assert reply["request_id"] == response.headers["x-request-id"]
