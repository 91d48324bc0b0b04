"""A server on a thread of the tests' process, on a free port."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from halflap_server.app import App
from halflap_server.pool import Pool
from halflap_server.protocol import protocol
from halflap_server.settings import Settings
from halflap_server.sources import Source

GREEDY = {"temperature": 0, "max_tokens": 24}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Running:
    """A server under test.

    Attributes:
        url: where it listens.
        client: speaks to it.
    """

    def __init__(self, app: App, server: uvicorn.Server, port: int) -> None:
        self.app, self.server = app, server
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=120)

    @property
    def pool(self) -> Pool:
        return self.app.state.pool

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def events(self, path: str, body: Any) -> list[tuple[str, Any]]:
        """The server-sent events of an answer: (name, data), `[DONE]` left out."""
        found = []
        with self.client.stream("POST", path, json=body) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and line != "data: [DONE]":
                    found.append((name, json.loads(line.removeprefix("data: "))))
        return found


@contextmanager
def running(*sources: Source, settings: Settings | None = None, **pool: Any) -> Iterator[Running]:
    """Serve until the block ends; ready when it begins."""
    settings = settings or Settings(port=0, drain_seconds=1)
    app = App(settings, lambda: Pool(sources, **pool))
    config = uvicorn.Config(
        app, port=0, http=protocol(settings.read_seconds), ws="none", log_config=None, timeout_graceful_shutdown=2,
        limit_concurrency=settings.connections,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        while not (server.started and app.state.ready):
            assert thread.is_alive(), app.failure
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        found = Running(app, server, port)
        with found.client:
            yield found
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def starter(name: str = "starter", **facts: Any) -> Source:
    loading: Mapping[str, Any] = {"ctx": 512, "threads": 1, **facts.pop("loading", {})}
    return Source(name, "starter", at_start=facts.pop("at_start", True), loading=loading, **facts)


def words(events: Sequence[tuple[str, Any]], member: str = "content") -> str:
    """The text of a streamed chat."""
    deltas = [choice["delta"] for _, chunk in events for choice in chunk.get("choices", ())]
    return "".join(delta.get(member) or "" for delta in deltas)
