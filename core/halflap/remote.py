"""A model that computes elsewhere: requests go there, events come back, and an answer can go on in another place."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from halflap.engine.generation import Generation
from halflap.engine.metrics import Metrics
from halflap.engine.request import Request
from halflap.errors import EngineError, HalflapError
from halflap.events import Event, Finish, Token
from halflap.loading import ModelInfo
from halflap.model import Messages, Model
from halflap.placement import Plan
from halflap.stream import Channel, Stream
from halflap.text.chat.contract import ChatFormatInfo
from halflap.text.tokenizer import Tokenizer

Events = Sequence[Event] | HalflapError
"""Of one answer, in order; or the error that ends it."""


class Link(Protocol):
    """The way to the place that computes."""

    info: ModelInfo
    plan: Plan

    def begin(self, request: Request) -> Stream:
        """What `Model.submit` does there."""

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The model's method of that name there, or its attribute."""

    def close(self) -> None:
        """Let go of the place. Idempotent."""


class Answer:
    """One request as its host knows it, so that another place can take it up.

    Attributes:
        said: tokens whose events were given out.
        began: done when a place has taken the request, which it tells by events, be they none, or an error.
        cancelled: nobody wants it any more.
    """

    def __init__(self, request: Request) -> None:
        self.request, self.channel = request, Channel()
        self.said: list[int] = []
        self.began: Future[None] = Future()
        self.cancelled = False
        self._lock = threading.Lock()  # the answer's place and whoever closes it may speak at once

    def take(self, tokens: Sequence[int], events: Events) -> bool:
        """What came from its place: the tokens chosen since the last time, and events. Returns whether they end it."""
        if isinstance(events, BaseException):
            self.fail(events)
            return True
        with self._lock:
            if not self.began.done():
                self.began.set_result(None)
        self.said += tokens
        self.channel.put(events)
        return is_end(events)

    def fail(self, error: BaseException) -> None:
        with self._lock:
            if not self.began.done():
                self.began.set_exception(error)
            else:
                self.channel.put(error)


def is_end(events: Events) -> bool:
    """Nothing comes after these."""
    return isinstance(events, BaseException) or any(isinstance(event, Finish) for event in events)


def prepared(
    model: Model, request: Request, said: Sequence[int], send: Callable[[list[int], Events], None]
) -> Generation:
    """At the place that computes: what `model.start` is to be given for a request of elsewhere.

    Args:
        send: called on the engine's thread for every `Answer.take`.
    """
    passed = len(said)

    def put(events: Sequence[Event] | BaseException) -> None:
        nonlocal passed
        tokens, passed = work.chosen[passed:], len(work.chosen)
        send(tokens, portable(events) if isinstance(events, BaseException) else list(events))

    work = model.prepare(request, put, said)
    return work


def called(model: Model, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """At the place that computes: what `Link.call` asks for.

    Raises:
        HalflapError: whatever went wrong.
    """
    try:
        found = getattr(model, method)
        return found(*arguments, **options) if callable(found) else found
    except BaseException as error:
        raise portable(error) from None


def portable(error: BaseException) -> HalflapError:
    """An error that another process can read: ours as they are, without what they were raised from."""
    if isinstance(error, HalflapError):
        return error
    return EngineError("engine", got=f"{type(error).__name__}: {error}", want="no failure")


def copied(error: HalflapError) -> HalflapError:
    """Each request's own: `partial` differs."""
    make, arguments = error.__reduce__()
    copy: HalflapError = make(*arguments)
    return copy


class RemoteModel(Model):
    """The host's side: text is made ids and ids text there, so only requests and events cross over."""

    def __init__(self, link: Link, tokenizer: Tokenizer) -> None:
        self.info, self.tokenizer, self.plan = link.info, tokenizer, link.plan
        self._link, self._pid = link, os.getpid()
        self._finalizer = weakref.finalize(self, _close, link, self._pid)

    @property
    def metrics(self) -> Metrics:
        found: Metrics = self._ask("metrics")
        return found

    @property
    def chat_format(self) -> ChatFormatInfo:
        found: ChatFormatInfo = self._ask("chat_format")
        return found

    def apply_template(self, messages: Messages, /, tools: Sequence[Mapping[str, Any]] = (), **options: Any) -> str:
        return str(self._ask("apply_template", list(messages), list(tools), **options))

    def prompt_ids(self, request: Request, /) -> list[int]:
        return list(self._ask("prompt_ids", request))

    def submit(self, request: Request, /) -> Stream:
        self._check_open()
        return self._link.begin(request)

    def logits(self, ids: Sequence[int], /, **options: Any) -> npt.NDArray[np.float32]:
        return np.asarray(self._ask("logits", list(ids), **options))

    def logprobs(self, prompt: str | Sequence[int], /, **options: Any) -> tuple[Token, ...]:
        return tuple(self._ask("logprobs", prompt if isinstance(prompt, str) else list(prompt), **options))

    def hidden(self, ids: Sequence[int], /, **options: Any) -> dict[str, npt.NDArray[np.float32]]:
        found: dict[str, npt.NDArray[np.float32]] = self._ask("hidden", list(ids), **options)
        return found

    def embed(self, texts: str | Sequence[str | Sequence[int]], /, **options: Any) -> npt.NDArray[np.float32]:
        return np.asarray(self._ask("embed", texts, **options))

    def save_prefix(self, prompt: str | Sequence[int] | Messages, path: str | os.PathLike[str], /) -> int:
        return int(self._ask("save_prefix", prompt, os.path.abspath(path)))

    def load_prefix(self, path: str | os.PathLike[str], /) -> int:
        return int(self._ask("load_prefix", os.path.abspath(path)))

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        self._check_open()
        return self._link.call(method, *arguments, **options)


def _close(link: Link, pid: int) -> None:
    if os.getpid() == pid:
        link.close()
