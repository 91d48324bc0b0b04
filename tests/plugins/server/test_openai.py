"""OpenAI's routes, field for field."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from tests.plugins.server.kit import GREEDY, WEATHER, Running, words

HELLO = [{"role": "user", "content": "What is 12 + 9?"}]


def test_a_chat_is_answered_with_usage_and_timings(server: Running) -> None:
    reply = server.post("/v1/chat/completions", {"model": "starter", "messages": HELLO, **GREEDY}).json()
    (choice,) = reply["choices"]
    assert (reply["object"], choice["message"]["role"], choice["finish_reason"]) == (
        "chat.completion",
        "assistant",
        "stop",
    )
    assert "21" in choice["message"]["content"]
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert reply["timings"]["predicted_n"] == usage["completion_tokens"]
    assert reply["timings"]["cache_n"] == usage["prompt_tokens_details"]["cached_tokens"]


def test_a_streamed_chat_says_the_same_words_and_ends_with_usage(server: Running) -> None:
    body = {"messages": HELLO, **GREEDY}
    whole = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    events = server.events("/v1/chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}})
    assert words(events) == whole
    first, last = events[0][1], events[-1][1]
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert first["object"] == "chat.completion.chunk"
    assert (last["choices"], last["usage"]["completion_tokens"] > 0) == ([], True)
    assert [c["finish_reason"] for _, e in events for c in e["choices"] if c["finish_reason"]] == ["stop"]
    assert len({chunk["id"] for _, chunk in events}) == 1


def test_several_answers_come_under_their_numbers(server: Running) -> None:
    body = {"messages": HELLO, "n": 3, "seed": 4, "temperature": 1.5, "max_tokens": 8}
    whole = server.post("/v1/chat/completions", body).json()["choices"]
    assert [choice["index"] for choice in whole] == [0, 1, 2]
    events = server.events("/v1/chat/completions", {**body, "stream": True})
    for place, choice in enumerate(whole):
        mine = [c["delta"].get("content") or "" for _, e in events for c in e["choices"] if c["index"] == place]
        assert "".join(mine) == choice["message"]["content"]


def test_logprobs_are_told_for_each_token(server: Running) -> None:
    body = {"messages": HELLO, **GREEDY, "logprobs": True, "top_logprobs": 3}
    choice = server.post("/v1/chat/completions", body).json()["choices"][0]
    told = choice["logprobs"]["content"]
    assert "".join(bytes(t["bytes"]).decode() for t in told).startswith(choice["message"]["content"])
    assert all(len(t["top_logprobs"]) == 3 and t["logprob"] <= 0 for t in told)
    assert all(t["top_logprobs"][0]["id"] == t["id"] for t in told)  # greedy
    events = server.events("/v1/chat/completions", {**body, "stream": True})
    streamed = [t for _, e in events for c in e["choices"] if c.get("logprobs") for t in c["logprobs"]["content"]]
    assert [t["id"] for t in streamed] == [t["id"] for t in told]


def test_a_schema_holds_the_answer(server: Running) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    body = {"messages": HELLO, "response_format": wanted, "max_tokens": 60, "seed": 1}
    assert set(json.loads(server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"])) == {
        "n"
    }


def test_tools_are_called_and_their_results_used(server: Running) -> None:
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = {"messages": messages, "tools": [WEATHER], "temperature": 0, "tool_choice": "required"}
    choice = server.post("/v1/chat/completions", body).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}
    turns = [*messages, choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "sunny"}'}]
    second = server.post("/v1/chat/completions", {"messages": turns, "tools": [WEATHER], "temperature": 0}).json()
    assert second["choices"][0]["message"]["content"]


def test_streamed_calls_put_together_are_the_whole_call(server: Running) -> None:
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = {"messages": messages, "tools": [WEATHER], "temperature": 0, "tool_choice": "required"}
    whole = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["tool_calls"][0]
    events = server.events("/v1/chat/completions", {**body, "stream": True})
    pieces = [t for _, e in events for c in e["choices"] for t in c["delta"].get("tool_calls", ())]
    assert pieces[0]["function"]["name"] == whole["function"]["name"]
    assert all("name" not in piece["function"] for piece in pieces[1:])
    assert "".join(piece["function"]["arguments"] for piece in pieces) == whole["function"]["arguments"]
    assert [c["finish_reason"] for _, e in events for c in e["choices"] if c["finish_reason"]] == ["tool_calls"]


def test_the_second_turn_is_read_from_the_cache(server: Running) -> None:
    story = "Once there was a fox who liked the river. " * 8
    first = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": story}], **GREEDY}).json()
    turns = [{"role": "user", "content": story}, first["choices"][0]["message"], {"role": "user", "content": "Why?"}]
    again = server.post("/v1/chat/completions", {"messages": turns, **GREEDY}).json()["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] > first["usage"]["prompt_tokens"] // 2


def test_text_completions_take_texts_ids_and_lists(server: Running) -> None:
    ids = server.post("/tokenize", {"content": "The fox"}).json()["tokens"]
    told = [
        server.post("/v1/completions", {"prompt": p, **GREEDY}).json()["choices"]
        for p in ("The fox", ids, ["The fox", "A cat"])
    ]
    assert told[0][0]["text"] == told[1][0]["text"] == told[2][0]["text"]
    assert [choice["index"] for choice in told[2]] == [0, 1]
    echoed = server.post("/v1/completions", {"prompt": "The fox", "echo": True, "logprobs": 2, **GREEDY}).json()[
        "choices"
    ][0]
    assert echoed["text"] == "The fox" + told[0][0]["text"]
    assert len(echoed["logprobs"]["tokens"]) == len(echoed["logprobs"]["top_logprobs"])
    assert echoed["logprobs"]["text_offset"][0] == len("The fox")


def test_streamed_text_completions_say_the_same(server: Running) -> None:
    body = {"prompt": ["The fox", "A cat"], **GREEDY}
    whole = server.post("/v1/completions", body).json()["choices"]
    events = server.events("/v1/completions", {**body, "stream": True})
    for choice in whole:
        mine = [c["text"] for _, e in events for c in e["choices"] if c["index"] == choice["index"]]
        assert "".join(mine) == choice["text"]


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_have_length_one(server: Running, form: str) -> None:
    reply = server.post("/v1/embeddings", {"input": ["a fox", "a cat"], "encoding_format": form}).json()
    rows = [each["embedding"] for each in reply["data"]]
    if form == "base64":
        rows = [struct.unpack(f"<{len(base64.b64decode(row)) // 4}f", base64.b64decode(row)) for row in rows]
    assert [len(row) for row in rows] == [256, 256]
    assert all(abs(sum(x * x for x in row) - 1) < 1e-5 for row in rows)
    short = server.post("/v1/embeddings", {"input": "a fox", "dimensions": 8}).json()["data"][0]["embedding"]
    assert len(short) == 8
    assert abs(sum(x * x for x in short) - 1) < 1e-5


def test_the_models_are_listed_with_what_they_are(server: Running) -> None:
    (listed,) = server.get("/v1/models").json()["data"]
    assert (listed["id"], listed["aliases"], listed["status"]["value"]) == ("starter", ["gpt-4o"], "loaded")
    assert listed["meta"]["n_vocab"] == 2048
    assert server.get("/v1/models/starter").json()["id"] == "starter"
    assert server.get("/v1/models/other").status_code == 404
    assert (
        server.post("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO, **GREEDY}).json()["model"]
        == "starter"
    )


def test_an_assistant_turn_is_continued(server: Running) -> None:
    turns = [*HELLO, {"role": "assistant", "content": "12 + 9 ="}]
    said = server.post("/v1/chat/completions", {"messages": turns, **GREEDY}).json()["choices"][0]["message"]["content"]
    assert "21" in said
    assert "12" not in said


def test_the_best_of_several_answers_are_the_likeliest_per_token(server: Running) -> None:
    body = {"prompt": ["The fox", "A cat"], "seed": 5, "temperature": 1.5, "max_tokens": 8, "logprobs": 0}
    every = server.post("/v1/completions", {**body, "n": 6}).json()
    best = server.post("/v1/completions", {**body, "n": 2, "best_of": 6, "echo": True}).json()

    def mean(choice: Any) -> float:
        chances = choice["logprobs"]["token_logprobs"]
        return sum(chances) / len(chances)

    for prompt, said in ((0, "The fox"), (1, "A cat")):
        ranked = sorted(every["choices"][6 * prompt : 6 * prompt + 6], key=mean, reverse=True)
        told = best["choices"][2 * prompt : 2 * prompt + 2]
        assert [choice["text"] for choice in told] == [said + choice["text"] for choice in ranked[:2]]
    assert [choice["index"] for choice in best["choices"]] == [0, 1, 2, 3]
    assert best["usage"]["completion_tokens"] == every["usage"]["completion_tokens"]
    one = server.post("/v1/completions", {**body, "prompt": "The fox", "best_of": 6, "logprobs": None}).json()
    assert [(choice["text"], choice["logprobs"]) for choice in one["choices"]] == [
        (max(every["choices"][:6], key=mean)["text"], None)
    ]


@pytest.mark.parametrize("wrong", [{"n": 3, "best_of": 2}, {"best_of": 2, "stream": True}])
def test_a_best_of_that_cannot_be_is_refused_by_name(server: Running, wrong: dict[str, Any]) -> None:
    response = server.post("/v1/completions", {"prompt": "x", **wrong, **GREEDY})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "best_of")
    assert server.events("/v1/completions", {"prompt": "x", "n": 2, "best_of": 2, "stream": True, **GREEDY})
