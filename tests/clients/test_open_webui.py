"""Open WebUI in front of the server, spoken to as its page does. It has some 260 dependencies of its own, so it is not
in the group: HALFLAP_OPEN_WEBUI names its program, in an environment of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.plugins.server.kit import WEATHER, Running

PROGRAM = os.environ.get("HALFLAP_OPEN_WEBUI", "")
STARTS_IN = 300
"""Seconds, ten times what it took."""
pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not PROGRAM, reason="HALFLAP_OPEN_WEBUI names no open-webui program"),
]


@pytest.fixture(scope="module")
def page(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client that is signed in to an Open WebUI whose only provider is the server."""
    folder: Path = tmp_path_factory.mktemp("open-webui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "DATA_DIR": str(folder), "WEBUI_AUTH": "False", "WEBUI_SECRET_KEY": "x", "ENABLE_OLLAMA_API": "False",
        "OPENAI_API_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none", "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with (folder / "log").open("w") as output:
        command = [PROGRAM, "serve", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            command, env={**os.environ, **told}, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            ends = time.monotonic() + STARTS_IN
            while True:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < ends
                try:
                    client.get("/api/version").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            token = client.post("/api/v1/auths/signin", json={"email": "", "password": ""}).json()["token"]
            client.headers["authorization"] = f"Bearer {token}"
            yield client
    finally:
        process.terminate()
        process.wait(30)


def ask(words: str, **more: object) -> dict[str, object]:
    return {"model": "starter", "messages": [{"role": "user", "content": words}], "temperature": 0, **more}


def test_its_list_of_models_is_the_servers(page: httpx.Client) -> None:
    assert [model["id"] for model in page.get("/api/models").json()["data"]] == ["starter"]


def test_a_chat_streamed_and_whole(page: httpx.Client) -> None:
    whole = page.post("/api/chat/completions", json=ask("What is 12 + 9?", stream=False)).json()
    assert "21" in whole["choices"][0]["message"]["content"]
    words = ""
    with page.stream("POST", "/api/chat/completions", json=ask("What is 12 + 9?", stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line.removeprefix("data: ")).get("choices", ()):
                    words += choice["delta"].get("content") or ""
    assert words == whole["choices"][0]["message"]["content"]


def test_a_tool_is_called(page: httpx.Client) -> None:
    body = ask("What is the weather in Paris?", tools=[WEATHER], stream=False)
    (call,) = page.post("/api/chat/completions", json=body).json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
