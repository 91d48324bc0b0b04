"""What stands before every route: keys, origins, hosts, request ids, the log, and failures as answers."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from halflap import HalflapError
from halflap.log import log
from halflap_server.answers import Gone, json_response
from halflap_server.errors import Refusal, refusal
from halflap_server.settings import Settings
from halflap_server.tracing import Span

OPEN = frozenset({"/health", "/v1/health", "/live", "/", "/index.html"})
"""Paths that need no key, beside the page's own files."""
QUIET = frozenset({"/health", "/v1/health", "/live", "/metrics", "/slots"})
"""Paths that are asked all the time: logged at level debug."""
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "::1", ""})


class Guard:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, settings: Settings, state: Any) -> None:
        self._app, self._settings, self._state = app, settings, state
        self._digests = [_digest(key) for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        number = _request_id(headers.get("x-request-id"))
        facts: dict[str, Any] = {}
        scope.setdefault("state", {})["facts"] = facts
        scope["state"]["request_id"] = number
        path, began, status = self._path(scope), time.monotonic(), 0
        started = False

        async def sending(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                told = MutableHeaders(scope=message)
                told["x-request-id"] = number
                told["x-content-type-options"] = "nosniff"
                if (allowed := self._allowed_origin(headers.get("origin"))) is not None:
                    told["access-control-allow-origin"] = allowed
                    told.add_vary_header("Origin")
                    told["access-control-expose-headers"] = "x-request-id"
            await send(message)

        self._state.open += 1
        try:
            with Span(scope["method"], path, headers) as span:
                try:
                    self._check(scope, headers, path)
                    if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                        await _preflight(headers)(scope, receive, sending)
                    else:
                        await self._app(scope, receive, sending)
                except Gone:
                    status = 499
                except Exception as error:
                    why = _why(error)
                    facts["error"] = why.message
                    if why.status >= 500 and not isinstance(error, Refusal | HalflapError):
                        log.exception("request_broke", request_id=number, path=path)
                    if started:
                        raise
                    body = why.body(anthropic="/v1/messages" in path)
                    if "/v1/messages" in path:
                        body["request_id"] = number
                    await json_response(body, why.status, why.headers)(scope, receive, sending)
                span.end(status, _route(scope, status), facts)
        finally:
            self._state.open -= 1
            self._told(scope, path, status, began, number, facts)

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path.removeprefix(self._settings.api_prefix) or "/"

    def _told(self, scope: Scope, path: str, status: int, began: float, number: str, facts: dict[str, Any]) -> None:
        route = _route(scope, status)
        key = (route, status)
        self._state.answered[key] = self._state.answered.get(key, 0) + 1
        level = logging.DEBUG if path in QUIET else logging.INFO
        if logging.getLogger("halflap").isEnabledFor(level):
            tell = log.debug if level == logging.DEBUG else log.info
            spent = round(1e3 * (time.monotonic() - began), 1)
            tell("http", request_id=number, method=scope["method"], path=path, status=status, ms=spent, **facts)

    def _check(self, scope: Scope, headers: Headers, path: str) -> None:
        """Raises Refusal for who may not ask."""
        if self._settings.local and not self._digests and self._settings.uds is None:
            host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
            if host not in LOCAL_HOSTS and not host.endswith(".localhost"):
                # A page of another site can have its own name point here; what its script then reads is ours.
                raise Refusal(403, "permission_error", f"host: got {host!r:.80}, want a name of this machine")
        origin = headers.get("origin")
        foreign = origin and scope["method"] not in ("GET", "HEAD") and not self._same(origin, headers)
        if foreign and self._allowed_origin(origin) is None:
            message = f"origin: got {origin!r:.80}, want this server's own page, or an origin of --cors-origins"
            raise Refusal(403, "permission_error", message)
        if self._digests and path not in OPEN and not path.startswith("/page/") and scope["method"] != "OPTIONS":
            given = headers.get("authorization", "")
            scheme, _, key = given.partition(" ")
            key = key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
            digest = _digest(key)  # of equal length, and every key is compared
            if sum(hmac.compare_digest(digest, each) for each in self._digests) == 0:
                message = "api key: got none or a wrong one, want a key of this server"
                raise Refusal(401, "authentication_error", message, headers={"WWW-Authenticate": "Bearer"})

    def _same(self, origin: str, headers: Headers) -> bool:
        return urlsplit(origin).netloc == headers.get("host")

    def _allowed_origin(self, origin: str | None) -> str | None:
        """What CORS is told: the origin itself, which is right with and without credentials."""
        allowed = self._settings.cors_origins
        return origin if origin and ("*" in allowed or origin in allowed) else None


def _route(scope: Scope, status: int) -> str:
    """The pattern that the path fitted, of which there are few."""
    return getattr(scope.get("route"), "path", None) or ("page" if status == 200 else "none")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _request_id(given: str | None) -> str:
    plain = given and len(given) <= 100 and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
    return given if given and plain else f"req_{secrets.token_hex(12)}"


def _preflight(headers: Headers) -> Any:
    told = {
        "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
        "access-control-allow-headers": headers.get("access-control-request-headers", "authorization, content-type"),
        "access-control-max-age": "600",
    }
    return json_response({}, 200, told)


def _why(error: Exception) -> Refusal:
    if isinstance(error, HTTPException):
        kind = {404: "not_found_error", 405: "invalid_request_error"}.get(error.status_code, "invalid_request_error")
        message = {404: "path: got one that nothing serves, want a route of /openapi.json"}.get(
            error.status_code,
            f"method: got one this route has not, want {(error.headers or {}).get('Allow', 'another')}",
        )
        return Refusal(error.status_code, kind, message, headers=dict(error.headers or {}))
    return refusal(error)
