"""Keys, origins, hosts, hostile bodies, slow clients, clients that leave."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflap_server.settings import Settings
from tests.plugins.server.kit import GREEDY, Running, running, starter

CHAT = {"messages": [{"role": "user", "content": "Hi"}], **GREEDY}
POSTS = (
    "/v1/chat/completions /v1/completions /v1/responses /v1/messages /v1/messages/count_tokens /v1/embeddings "
    "/v1/rerank "
    "/completion /infill /tokenize /detokenize /apply-template /models/load /models/unload /slots/0?action=save "
    "/lora-adapters /v1/chat/completions/control /v1/chat/completions/input_tokens /v1/responses/input_tokens"
).split()


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    limits = Settings(port=0, keys=("secret-one", "secret-two"), body_bytes=4096, read_seconds=1.0,
                      cors_origins=("https://good.example",))  # fmt: skip
    with running(starter(), settings=limits) as found:
        yield found


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret-one"}, {"X-Api-Key": "é"}]
)
def test_without_a_key_nothing_is_told(keyed: Running, headers: dict[str, str]) -> None:
    encoded = {name: value.encode() for name, value in headers.items()}
    for path in ("/v1/models", "/props", "/slots", "/metrics", "/openapi.json", "/nowhere"):
        assert keyed.get(path, headers=encoded).status_code == 401
    reply = keyed.post("/v1/chat/completions", CHAT, headers=encoded)
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")
    assert keyed.get("/health").status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer secret-two"}, {"X-Api-Key": "secret-one"}])
def test_any_of_the_keys_opens(keyed: Running, headers: dict[str, str]) -> None:
    assert keyed.post("/v1/chat/completions", CHAT, headers=headers).status_code == 200


def test_other_sites_pages_may_not_call(keyed: Running, server: Running) -> None:
    key = {"X-Api-Key": "secret-one"}
    bad = server.post("/v1/chat/completions", CHAT, headers={"Origin": "https://evil.example"})
    assert (bad.status_code, bad.json()["error"]["type"]) == (403, "permission_error")
    good = keyed.post("/v1/chat/completions", CHAT, headers={"Origin": "https://good.example", **key})
    assert (good.status_code, good.headers["access-control-allow-origin"]) == (200, "https://good.example")
    own = server.post("/v1/chat/completions", CHAT, headers={"Origin": server.url})
    assert own.status_code == 200
    ask = {"Origin": "https://good.example", "Access-Control-Request-Method": "POST"}
    assert (
        keyed.client.options("/v1/models", headers=ask).headers["access-control-allow-origin"] == "https://good.example"
    )


def test_another_hosts_name_is_refused_on_loopback(server: Running) -> None:
    assert server.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    assert server.get("/v1/models", headers={"Host": "localhost:1"}).status_code == 200


def test_a_body_that_is_too_large_is_not_read(keyed: Running) -> None:
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        content = (b"x" * 1000 for _ in range(5)) if headers else b"x" * 5000
        response = httpx.post(f"{keyed.url}/tokenize", content=content, headers={"X-Api-Key": "secret-one"})
        assert (response.status_code, response.json()["error"]["param"]) == (413, "body")


def test_slow_clients_are_let_go(keyed: Running) -> None:
    port = int(keyed.url.rpartition(":")[2])
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: secret-one\r\nContent-Length: 9\r\n"
    for sent, told in ((b"", b""), (b"POST /tok", b""), (head, b""), (head + b"\r\n{", b"408")):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
            slow.sendall(sent)
            found = b""
            while part := slow.recv(4096):
                found += part
                if told and b"}" in found:
                    break
            assert told in found
    assert keyed.get("/health").status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{" * 100_000, b"[" * 200_000 + b"]" * 200_000,
     b'{"messages": ' + b'[{"a":' * 5000 + b"1" + b"}]" * 5000 + b"}", b'{"a": 1e999}', b'{"n": 1' + b"0" * 5000 + b"}",
     b'{"messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 1}', b"\x00" * 100],
    ids=range(13),
)  # fmt: skip
@pytest.mark.parametrize("path", POSTS)
def test_bodies_that_are_none_are_refused(server: Running, path: str, content: bytes) -> None:
    response = server.client.post(path, content=content)
    assert response.status_code < 500 or response.status_code == 501
    if response.status_code >= 400:
        assert response.json()["error"]["message"]


def test_every_failure_names_its_field(server: Running) -> None:
    cases = [
        ({"messages": "Hi"}, "messages"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages[0].content[0].type"),
        ({**CHAT, "temperature": -1}, "temperature"),
        ({**CHAT, "temperature": "hot"}, "temperature"),
        ({**CHAT, "n": 0}, "n"),
        ({**CHAT, "logit_bias": [[-1, 1]]}, "logit_bias"),
        ({**CHAT, "logit_bias": [[1.5, 1]]}, "logit_bias"),
        ({**CHAT, "logit_bias": {"999999": 1}}, "logit_bias"),
        ({**CHAT, "samplers": ["nobody"]}, "samplers"),
        ({**CHAT, "response_format": {"type": "yaml"}}, "response_format.type"),
        ({**CHAT, "response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({**CHAT, "json_schema": {"type": 3}}, "json_schema"),
        ({**CHAT, "grammar": "root ::= ("}, "grammar"),
        ({**CHAT, "tool_choice": "required"}, "tool_choice"),
        ({**CHAT, "tools": [{"type": "web"}]}, "tools[0].function"),
        ({**CHAT, "top_logprobs": 3}, "top_logprobs"),
        ({**CHAT, "reasoning": "loud"}, "reasoning"),
        ({**CHAT, "lora": [{"id": 3}]}, "lora"),
        ({**CHAT, "chat_template_kwargs": {"messages": 3}}, None),
    ]
    for body, field in cases:
        response = server.post("/v1/chat/completions", body)
        error = response.json().get("error", {})
        if field is None:
            assert response.status_code < 500
            continue
        assert response.status_code == 400, (body, response.text)
        assert error["param"] == field, (body, error)
        assert field.split("[")[0].split(".")[0] in error["message"]


def test_a_prompt_that_is_too_long_says_how_long(server: Running) -> None:
    response = server.post("/completion", {"prompt": "fox " * 2000})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["n_ctx"]) == (400, "exceed_context_size_error", 512)
    assert error["n_prompt_tokens"] > 512


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    "messages prompt input content model tools tool_choice stream n temperature top_k seed stop logit_bias samplers "
    "response_format json_schema grammar tokens documents query id scale filename system max_tokens reasoning".split()
)
bodies = st.dictionaries(fields | st.text(max_size=8), json_values, max_size=8)


@settings(max_examples=60, deadline=None)
@given(bodies, st.sampled_from(POSTS))
def test_random_bodies_are_answered_or_refused(server: Running, body: dict[str, object], path: str) -> None:
    body.pop("model", None) if path.startswith("/models") else None
    response = server.client.post(path, content=json.dumps({"max_tokens": 2, "n_predict": 2, **body}).encode())
    assert response.status_code < 500 or response.status_code == 501, response.text


def test_a_client_that_leaves_ends_its_answer(server: Running) -> None:
    body = {"prompt": "The fox", "n_predict": 400, "ignore_eos": True}
    for streaming in (True, False):
        with pytest.raises(httpx.TimeoutException) if not streaming else _nothing():  # noqa: SIM117
            with server.client.stream(
                "POST", "/completion", json={**body, "stream": streaming}, timeout=0.2
            ) as response:
                next(response.iter_lines())
        end = time.monotonic() + 30
        while server.pool.entries["starter"].served.model.metrics.running and time.monotonic() < end:  # type: ignore[union-attr]
            pass
        served = server.pool.entries["starter"].served
        assert served is not None
        assert served.model.metrics.running == 0
        while served.users and time.monotonic() < end:
            pass
        assert (served.users, any(slot.busy for slot in served.slots.all)) == (0, False)


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_an_answer_can_be_cancelled_by_its_number(server: Running) -> None:
    body = {"messages": CHAT["messages"], "max_tokens": 400, "ignore_eos": True, "stream": True}
    with server.client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        number = json.loads(next(lines).removeprefix("data: "))["id"]
        assert server.post("/v1/chat/completions/control", {"id": number}).json() == {"success": True}
        rest = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert rest[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert rest[-1]["timings"]["predicted_n"] < 400
    assert server.post("/v1/chat/completions/control", {"id": "chatcmpl-none"}).status_code == 404


def test_routes_that_are_not_there_are_errors_in_json(server: Running) -> None:
    assert server.get("/nowhere").json()["error"]["code"] == 404
    assert server.get("/v1/chat/completions").json()["error"]["code"] == 405
