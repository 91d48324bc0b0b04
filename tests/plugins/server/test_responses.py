"""OpenAI's Responses API: items, the order of events, stored conversations."""

from __future__ import annotations

import json
from typing import Any

from tests.plugins.server.kit import WEATHER, Running

TOOL = {"type": "function", **WEATHER["function"]}
ASK = {"input": "What is 12 + 9?", "temperature": 0, "max_output_tokens": 24}


def text_of(reply: Any) -> str:
    return "".join(p["text"] for item in reply["output"] if item["type"] == "message" for p in item["content"])


def test_a_response_holds_a_message(server: Running) -> None:
    reply = server.post("/v1/responses", ASK).json()
    assert (reply["object"], reply["status"], reply["output"][0]["type"]) == ("response", "completed", "message")
    assert "21" in text_of(reply)
    assert reply["usage"]["total_tokens"] == reply["usage"]["input_tokens"] + reply["usage"]["output_tokens"]


def test_events_come_in_the_order_that_clients_expect(server: Running) -> None:
    events = server.events("/v1/responses", {**ASK, "stream": True})
    names = [name for name, _ in events]
    assert all(name == data["type"] for name, data in events)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert names[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert set(names[4:-4]) == {"response.output_text.delta"}
    said = "".join(data["delta"] for name, data in events if name == "response.output_text.delta")
    assert said == text_of(events[-1][1]["response"]) == text_of(server.post("/v1/responses", ASK).json())


def test_a_call_is_an_item_and_its_output_goes_on(server: Running) -> None:
    body = {"input": "What is the weather in Paris?", "tools": [TOOL], "tool_choice": "required", "temperature": 0}
    events = server.events("/v1/responses", {**body, "stream": True})
    reply = events[-1][1]["response"]
    (call,) = [item for item in reply["output"] if item["type"] == "function_call"]
    pieces = [data["delta"] for name, data in events if name == "response.function_call_arguments.delta"]
    assert "".join(pieces) == call["arguments"]
    assert set(json.loads(call["arguments"])) == {"city"}
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"sky": "sunny"}'}
    asked = {"input": [output], "previous_response_id": reply["id"], "tools": [TOOL], "temperature": 0}
    second = server.post("/v1/responses", asked).json()
    assert second["status"] == "completed"
    items = server.get(f"/v1/responses/{second['id']}/input_items").json()["data"]
    assert [item.get("type") for item in items][:3] == ["message", "function_call", "function_call_output"]


def test_a_response_is_kept_until_it_is_deleted(server: Running) -> None:
    reply = server.post("/v1/responses", ASK).json()
    assert text_of(server.get(f"/v1/responses/{reply['id']}").json()) == text_of(reply)
    assert server.client.delete(f"/v1/responses/{reply['id']}").json()["deleted"] is True
    assert server.get(f"/v1/responses/{reply['id']}").status_code == 404
    unkept = server.post("/v1/responses", {**ASK, "store": False}).json()
    assert server.get(f"/v1/responses/{unkept['id']}").status_code == 404


def test_an_answer_that_is_cut_is_incomplete(server: Running) -> None:
    reply = server.post("/v1/responses", {**ASK, "max_output_tokens": 2}).json()
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_tokens_are_counted_without_answering(server: Running) -> None:
    count = server.post("/v1/responses/input_tokens", {"input": ASK["input"]}).json()
    assert count == {
        "object": "response.input_tokens",
        "input_tokens": server.post("/v1/responses", ASK).json()["usage"]["input_tokens"],
    }
