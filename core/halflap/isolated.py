"""The child of `load(isolation="process")`: a model, and messages to and from the host over one socket.

Host to child: ("begin", id, request, said) | ("cancel", id) | ("call", id, method, arguments, options).
Child to host: ("progress", stage) | ("failed", error) | ("loaded", info, plan) | ("began", id, error or None)
| ("result", id, value or error) | ("events", id, tokens, events or error).
A message of events holds the tokens chosen since the last one, so that the host can have an answer go on elsewhere.
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
from halflap.errors import EngineError, HalflapError
from halflap.events import Event, Finish
from halflap.model import Model


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
        send("failed", _portable(error))
        return
    with model:
        send("loaded", model.info, model.plan)
        _serve(model, connection, send)


def _serve(model: Model, connection: Connection, send: Callable[..., None]) -> None:
    works: dict[int, Generation] = {}
    while True:
        try:
            kind, number, *rest = connection.recv()
        except (EOFError, OSError):
            return
        if kind == "begin":
            request, said = rest
            try:
                work = works[number] = model.begin(request, _Passing(number, len(said), works, send), said)
                if work.finished:  # before it could be entered
                    works.pop(number, None)
                send("began", number, None)
            except BaseException as error:
                send("began", number, _portable(error))
        elif kind == "cancel":
            if number in works:
                model.cancel(works[number])
        else:
            threading.Thread(target=_call, args=(model, number, *rest, send), daemon=True).start()


class _Passing:
    """Passes one answer's events to the host."""

    def __init__(self, number: int, said: int, works: dict[int, Generation], send: Callable[..., None]) -> None:
        self._number, self._passed, self._works, self._send = number, said, works, send

    def __call__(self, events: Sequence[Event] | BaseException) -> None:
        work = self._works.get(self._number)
        chosen = work.chosen if work is not None else []
        tokens, self._passed = chosen[self._passed :], max(self._passed, len(chosen))
        ended = isinstance(events, BaseException) or any(isinstance(event, Finish) for event in events)
        self._send(
            "events", self._number, tokens, _portable(events) if isinstance(events, BaseException) else list(events)
        )
        if ended:
            self._works.pop(self._number, None)


def _call(
    model: Model, number: int, method: str, arguments: Sequence[Any], options: dict[str, Any], send: Callable[..., None]
) -> None:
    try:
        found = getattr(model, method)
        send("result", number, found(*arguments, **options) if callable(found) else found)
    except BaseException as error:
        send("result", number, _portable(error))


def _portable(error: BaseException) -> HalflapError:
    """An error that another process can read: ours as they are, without what they were raised from."""
    if isinstance(error, HalflapError):
        return error
    return EngineError("engine", got=f"{type(error).__name__}: {error}", want="no failure")


if __name__ == "__main__":
    main()
