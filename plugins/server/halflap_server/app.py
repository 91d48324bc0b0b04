"""The server as an ASGI app: routes, what they share, and its beginning and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from attrs import define, field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from halflap import HalflapError, Stream
from halflap_server import openapi
from halflap_server.answers import json_response
from halflap_server.guard import Guard
from halflap_server.pool import Pool
from halflap_server.routes import (
    anthropic,
    chat,
    completions,
    embeddings,
    native,
    responses,
    state,
    tokens,
)
from halflap_server.settings import Settings

Endpoint = Callable[[Request], Any]

ROUTES: tuple[tuple[str, Endpoint, str], ...] = (
    ("POST", chat.chat_completions, "/v1/chat/completions /chat/completions"),
    ("POST", state.control, "/v1/chat/completions/control"),
    ("POST", tokens.chat_input_tokens, "/v1/chat/completions/input_tokens /chat/completions/input_tokens"),
    ("POST", completions.completions, "/v1/completions"),
    ("POST", responses.create, "/v1/responses /responses"),
    ("POST", tokens.responses_input_tokens, "/v1/responses/input_tokens /responses/input_tokens"),
    ("GET", responses.retrieve, "/v1/responses/{id}"),
    ("DELETE", responses.delete, "/v1/responses/{id}"),
    ("GET", responses.input_items, "/v1/responses/{id}/input_items"),
    ("POST", anthropic.messages, "/v1/messages"),
    ("POST", tokens.count_tokens, "/v1/messages/count_tokens"),
    ("POST", embeddings.embeddings, "/v1/embeddings /embeddings"),
    ("POST", embeddings.embedding, "/embedding"),
    ("POST", embeddings.rerank, "/v1/rerank /rerank /reranking /v1/reranking"),
    ("POST", native.completion, "/completion /completions"),
    ("POST", native.infill, "/infill"),
    ("POST", tokens.tokenize, "/tokenize"),
    ("POST", tokens.detokenize, "/detokenize"),
    ("POST", tokens.apply_template, "/apply-template"),
    ("GET", state.models, "/v1/models /models"),
    ("GET", state.model, "/v1/models/{id:path}"),
    ("POST", state.load_model, "/models/load"),
    ("POST", state.unload_model, "/models/unload"),
    ("GET", state.props, "/props"),
    ("GET", state.slots, "/slots"),
    ("POST", state.slot_action, "/slots/{id:int}"),
    ("GET", state.lora_adapters, "/lora-adapters"),
    ("POST", state.set_lora_adapters, "/lora-adapters"),
    ("GET", state.metrics, "/metrics"),
    ("GET", state.health, "/health /v1/health"),
    ("GET", state.live, "/live"),
    ("GET", state.version, "/version"),
    ("POST", state.not_supported, "/props /v1/audio/transcriptions /audio/transcriptions"),
)
"""Method, what answers, and its paths, the first of which the OpenAPI page describes."""


@define
class State:
    """What the routes share.

    Attributes:
        running: answers under way that may be cancelled, by number.
        answered: (route, status) -> requests.
        open: requests being answered.
        ready: the models that load at the start have loaded.
    """

    settings: Settings
    pool: Pool
    responses: responses.Store = field(factory=responses.Store)
    running: dict[str, list[Stream]] = field(factory=dict)
    answered: dict[tuple[str, int], int] = field(factory=dict)
    open: int = 0
    ready: bool = False


class App:
    """An ASGI app. The pool is made on the event loop that it will live on.

    Args:
        make_pool: called when the app starts.

    Attributes:
        failure: why there is no model to serve.
        give_up: called then.
    """

    def __init__(self, settings: Settings, make_pool: Callable[[], Pool]) -> None:
        self._settings, self._make_pool = settings, make_pool
        routes: list[Route | Mount] = [
            Route(path, endpoint, methods=[method]) for method, endpoint, paths in ROUTES for path in paths.split()
        ]
        routes.append(Route("/openapi.json", self._describe))
        if settings.page:
            pages = StaticFiles(directory=str(files("halflap_server") / "page"))
            routes += [Route("/", _page(pages, "index.html")), Route("/index.html", _page(pages, "index.html")),
                       Mount("/page", _Secured(pages))]  # fmt: skip
        if settings.api_prefix:
            routes = [Mount(settings.api_prefix, routes=routes)]
        self._router = Router(routes, lifespan=self._lifespan, redirect_slashes=False)
        self.state = State(settings, None)  # type: ignore[arg-type]
        self.failure: HalflapError | None = None
        self.give_up: Callable[[], None] = lambda: None
        self._guarded = Guard(self._router, settings, self.state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._guarded(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        pool = self.state.pool = self._make_pool()
        starting = asyncio.ensure_future(self._start())
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await pool.close()

    async def _start(self) -> None:
        try:
            await self.state.pool.start()
        except HalflapError as error:
            self.failure = error
            self.give_up()
            return
        self.state.ready = True

    async def _describe(self, _: Request) -> Response:
        """This page, as OpenAPI 3.1."""
        return json_response(openapi.document(ROUTES, self._settings))


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load nothing that this server does not have."""
PAGE_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


class _Secured:
    """Files of the page, with their security policy."""

    def __init__(self, app: StaticFiles) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *PAGE_HEADERS]
            await send(message)

        await self._app(scope, receive, sending)


def _page(pages: StaticFiles, name: str) -> Any:
    async def endpoint(request: Request) -> Response:
        response = await pages.get_response(name, request.scope)
        response.raw_headers += PAGE_HEADERS
        return response

    return endpoint
