"""A model whose devices live in a process of their own: what kills that process does not kill the host."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from halflap.engine.engine import closed
from halflap.engine.request import Request
from halflap.errors import DeviceLostError, HalflapError
from halflap.events import Progress
from halflap.loading import ModelInfo
from halflap.placement import Plan
from halflap.remote import Answer, RemoteModel, copied
from halflap.stream import Stream
from halflap.text.tokenizer import Tokenizer

LIVES = 3
"""Restarts in a row, with no token in between, after which the host gives up."""
PATIENCE = 10.0
"""Seconds that a child that was told to end may take before it is killed."""


class Child:
    """The process, and what is under way in it.

    Args:
        model: what `load` is to be given there, and how.
        restart: start another when it dies, and have every request go on from its tokens.
        progress: told of the first loading's stages.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        options: Mapping[str, Any],
        restart: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._wish, self._restart, self._progress = (os.fspath(model), dict(options)), restart, progress
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._answers: dict[int, Answer] = {}
        self._calls: dict[int, tuple[Future[Any], tuple[Any, ...]]] = {}
        self._lost: HalflapError | None = None
        # A stream that is collected cancels in the middle of whatever its thread was doing, so messages are queued.
        self._outbox: SimpleQueue[tuple[int, tuple[Any, ...]] | None] = SimpleQueue()
        self._closing, self._lives = False, LIVES
        self.restarts = 0
        self.info, self.plan = self._start()
        for work in (self._read, self._write):
            threading.Thread(target=work, name=f"halflap-isolation{work.__name__}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, request: Request) -> Stream:
        answer = Answer(request)
        with self._lock:
            self._check()
            number = next(self._numbers)
            self._answers[number] = answer
            self._send("begin", number, request, ())
        try:
            answer.began.result()
        except BaseException:
            self._answers.pop(number, None)
            raise
        return Stream(answer.channel, lambda: self.cancel(number))

    def cancel(self, number: int) -> None:
        with self._lock:
            if number in self._answers:
                self._answers[number].cancelled = True
                self._send("cancel", number)

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            self._check()
            number = next(self._numbers)
            self._calls[number] = future, ("call", number, method, arguments, options)
            self._send(*self._calls[number][1])
        return future.result()

    def close(self) -> None:
        """End the process. Idempotent."""
        before, self._closing = self._closing, True  # seen by whoever is starting it again
        if before:
            return
        if not self._lock.acquire(timeout=PATIENCE):  # a message that it does not take
            self._process.kill()
            self._lock.acquire()
        try:
            self._fail(closed())
            self._outbox.put(None)
            self._connection.close()
        finally:
            self._lock.release()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _check(self) -> None:
        if self._closing:
            raise closed()
        if self._lost is not None:
            raise self._lost

    def _start(self) -> tuple[ModelInfo, Plan]:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "halflap.isolated", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._connection.send(self._wish)
        while True:
            try:
                kind, *rest = self._connection.recv()
            except (EOFError, OSError):
                raise self._died() from None
            if kind == "progress":
                if self._progress is not None:
                    self._progress(*rest)
            elif kind == "failed":
                self._process.wait()
                raise rest[0]
            else:
                return rest[0], rest[1]

    def _send(self, *message: Any) -> None:
        self._outbox.put((self.restarts, message))

    def _write(self) -> None:
        while (queued := self._outbox.get()) is not None:
            life, message = queued
            with self._lock, suppress(OSError, ValueError):  # it has died: the reader finds that out
                if life == self.restarts:  # else the child that it was meant for is gone
                    self._connection.send(message)

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError, TypeError):
                if self._closing or not self._again():
                    return
                continue
            self._handle(*message)

    def _handle(self, kind: str, number: int, *rest: Any) -> None:
        if kind == "result":
            future, _ = self._calls.pop(number, (None, ()))
            if future is not None:
                _settle(future, rest[0])
            return
        answer = self._answers.get(number)
        if answer is None:
            return
        tokens, events = rest
        self._lives = LIVES if tokens else self._lives
        if answer.take(tokens, events):
            self._answers.pop(number, None)

    def _again(self) -> bool:
        """The process has died: fail what was under way, or have another take it up."""
        with self._lock:
            error: HalflapError = self._died()
            while self._restart and self._lives and not self._closing:
                self._lives -= 1
                try:
                    self._start()
                except HalflapError as failure:
                    error = failure
                    continue
                self.restarts += 1
                for number, answer in self._answers.items():
                    self._send("begin", number, answer.request, tuple(answer.said))
                    if answer.cancelled:
                        self._send("cancel", number)
                for _, message in self._calls.values():
                    self._send(*message)
                return True
            self._lost = error
            self._fail(error)
            return False

    def _died(self) -> DeviceLostError:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return DeviceLostError(
            "process of the devices", got=how, want="it alive", fix="Load the model again.", status="device_lost"
        )

    def _fail(self, error: HalflapError) -> None:
        answers, self._answers = list(self._answers.values()), {}
        calls, self._calls = list(self._calls.values()), {}
        for answer in answers:
            answer.fail(copied(error))
        for future, _ in calls:
            future.set_exception(copied(error))


class IsolatedModel(RemoteModel):
    """A model whose place is a child of this process."""

    def __init__(self, child: Child, tokenizer: Tokenizer) -> None:
        super().__init__(child, tokenizer)
        self._child = child

    @property
    def child(self) -> Child:
        """The process: its pid, and how often it was started again."""
        return self._child


def _settle(future: Future[Any], value: Any) -> None:
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)
