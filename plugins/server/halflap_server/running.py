"""Running a server until it is told to end: sockets, signals, logging."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import uvicorn

from halflap.errors import InvalidRequestError
from halflap_server.app import App
from halflap_server.pool import Pool
from halflap_server.protocol import protocol
from halflap_server.settings import Settings
from halflap_server.sources import Source

NOT_FACTS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "asctime"}


def serve(
    settings: Settings,
    sources: Sequence[Source],
    *,
    budget: int | None = None,
    most: int | None = None,
    json_log: bool = False,
    verbose: bool = False,
    as_json: bool = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C; answers under way may end first.

    Args:
        as_json: print the address as JSON on stdout once the server listens.

    Raises:
        InvalidRequestError: the address cannot be listened on.
    """
    _log_to_stderr(json_log, verbose)
    listening = _listen(settings)
    address = _address(settings, listening)
    app = App(settings, lambda: Pool(sources, budget, most))
    config = uvicorn.Config(
        app,
        http=protocol(settings.read_seconds),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=settings.connections,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        ssl_keyfile=settings.tls_key and os.fspath(settings.tls_key),
        ssl_certfile=settings.tls_cert and os.fspath(settings.tls_cert),
        h11_max_incomplete_event_size=64 << 10,
    )
    server = _Server(config)
    app.give_up = lambda: setattr(server, "should_exit", True)
    if as_json:
        click.echo(json.dumps({"address": address, "models": [source.name for source in sources]}))
    else:
        click.echo(f"listening on {address}", err=True)
    sys.stdout.flush()
    server.run(sockets=[listening])
    if app.failure is not None:
        raise app.failure


class _Server(uvicorn.Server):
    """uvicorn's server, which would otherwise end by the signal that told it to end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _listen(settings: Settings) -> socket.socket:
    try:
        if settings.uds is not None:
            found = socket.socket(socket.AF_UNIX)
            if settings.uds.is_socket():
                settings.uds.unlink()
            found.bind(os.fspath(settings.uds))
            settings.uds.chmod(0o660)
        else:
            family, *_, where = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
            found = socket.socket(family)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(where)
        found.listen(2048)
    except OSError as cause:
        place = settings.uds or f"{settings.host}:{settings.port}"
        fix = "Choose another --port, or end what listens there."
        raise InvalidRequestError(
            f"address {place}", got=str(cause), want="a free one", fix=fix, field="port"
        ) from cause
    return found


def _address(settings: Settings, listening: socket.socket) -> str:
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{host}:{listening.getsockname()[1]}{settings.api_prefix}"


def _log_to_stderr(as_json: bool, verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else _ForPeople())
    logger = logging.getLogger("halflap")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    errors = logging.getLogger("uvicorn.error")
    errors.addHandler(handler)
    errors.setLevel(logging.INFO if verbose else logging.WARNING)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in NOT_FACTS}


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, and the event's facts."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"time": when, "level": record.levelname.lower(), "event": record.getMessage(), **_facts(record)}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class _ForPeople(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        when = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = f"{when} {record.getMessage()} {facts}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text
