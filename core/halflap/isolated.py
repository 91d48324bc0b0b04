"""The child of `load(isolation="process")`: a model, and messages to and from the host over one socket.

Host to child: ("begin", id, request, said) | ("cancel", id) | ("call", id, method, arguments, options).
Child to host: ("progress", stage) | ("failed", error) | ("loaded", info, plan) | ("result", id, value or error)
| ("events", id, tokens, events or error).
A message of events holds the tokens chosen since the last one, so that the host can have an answer go on elsewhere.
The first one of a request tells that it was taken, or why not.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from halflap.assembly import load
from halflap.engine.generation import Generation
from halflap.engine.request import Request
from halflap.errors import HalflapError
from halflap.model import Model
from halflap.remote import Events, called, is_end, portable, prepared


def main() -> None:
    """`python -m halflap.isolated DESCRIPTOR`: the first message says what to load."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's to answer
    connection = Connection(int(sys.argv[1]))
    sending = threading.Lock()

    def send(*message: Any) -> None:
        with sending:
            try:
                connection.send(message)
            except (OSError, ValueError):
                os._exit(1)  # the host is gone

    path, options = connection.recv()
    try:
        model = load(path, **options, progress=lambda progress: send("progress", progress))
    except BaseException as error:
        send("failed", portable(error))
        return
    with model:
        send("loaded", model.info, model.plan)
        _serve(model, connection, send)


def _serve(model: Model, connection: Connection, send: Callable[..., None]) -> None:
    works: dict[int, Generation] = {}

    def begin(number: int, request: Request, said: Sequence[int]) -> None:
        def passed(tokens: list[int], events: Events) -> None:
            send("events", number, tokens, events)
            if is_end(events):
                works.pop(number, None)

        try:
            works[number] = work = prepared(model, request, said, passed)
            model.start(work)
            send("events", number, [], [])
        except BaseException as error:
            works.pop(number, None)
            send("events", number, [], portable(error))

    while True:
        try:
            kind, number, *rest = connection.recv()
        except (EOFError, OSError):
            return
        if kind == "begin":
            begin(number, *rest)
        elif kind == "cancel":
            if number in works:
                model.cancel(works[number])
        else:
            threading.Thread(target=_call, args=(model, number, *rest, send), daemon=True).start()


def _call(
    model: Model, number: int, method: str, arguments: Sequence[Any], options: dict[str, Any], send: Callable[..., None]
) -> None:
    try:
        send("result", number, called(model, method, arguments, options))
    except HalflapError as error:
        send("result", number, error)


if __name__ == "__main__":
    main()
