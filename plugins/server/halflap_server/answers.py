"""From requests to responses: submit, then stream or wait, and let go when the client has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import msgspec
from anyio import CapacityLimiter, to_thread
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

import halflap
from halflap import Completion, Event, Finish, HalflapError, Reasoning, Stream, Text
from halflap_server.errors import Refusal, refusal
from halflap_server.pool import Lease
from halflap_server.slots import Slot

T = TypeVar("T")
SUBMITTING = CapacityLimiter(8)
"""Threads that render, tokenize and compile what requests ask for."""
encode = msgspec.json.Encoder().encode


class Writer(Protocol):
    """One API's form of an answer; `place` counts the answers to one prompt."""

    def first(self) -> bytes: ...
    def event(self, place: int, event: Event) -> bytes: ...
    def last(self) -> bytes: ...
    def failed(self, why: Refusal) -> bytes: ...
    def whole(self, answers: Sequence[Completion]) -> Any: ...


def data(value: Any) -> bytes:
    """One server-sent event without a name."""
    return b"data: " + encode(value) + b"\n\n"


def named(name: str, value: Any) -> bytes:
    """One server-sent event with a name."""
    return b"event: " + name.encode() + b"\ndata: " + encode(value) + b"\n\n"


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(value), status, headers, "application/json; charset=utf-8")


class Gone(Exception):  # noqa: N818 - nobody is there to be told
    """The client left."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What `work` gives, cancelled when the client leaves.

    Raises:
        Gone: it left.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await watch


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def on_thread(request: Request, do: Callable[[], T]) -> T:
    """Run what takes long beside the event loop."""
    return await unless_gone(request, to_thread.run_sync(do, limiter=SUBMITTING))


async def answer(
    request: Request,
    lease: Lease,
    asked: Sequence[halflap.Request],
    writer: Writer,
    *,
    streaming: bool,
    slot: int | None = None,
    number: str = "",
) -> Response:
    """Have the model answer, in the writer's form.

    Args:
        lease: of the model; released when the answer is over.
        slot: the one that the client wishes.
        number: under which the answer can be cancelled while it is under way.
    """
    begun = None
    try:
        begun = _Begun(request, lease, asked, slot, number)
        await begun.submit()
        if streaming:
            return Streaming(request, begun, writer)
        completions = await unless_gone(request, asyncio.gather(*map(_whole, begun.streams)))
        begun.note_all(completions)
        response = json_response(writer.whole(completions))
    except BaseException:
        (begun.leave if begun is not None else lease.release)()
        raise
    begun.leave()
    return response


async def _whole(stream: Stream) -> Completion:
    return await stream


class _Begun:
    """Answers under way, and all that has to be let go of at their end."""

    def __init__(
        self, request: Request, lease: Lease, asked: Sequence[halflap.Request], slot: int | None, number: str
    ) -> None:
        self._request, self._lease, self._asked, self._number = request, lease, asked, number
        self._running: dict[str, list[Stream]] = request.app.state.running
        self.streams: list[Stream] = []
        self._slots: list[Slot | None] = [lease.served.slots.take(slot, each) for each in asked]
        self._began = time.monotonic()
        self.facts: dict[str, Any] = request.state.facts
        self.facts["model"] = lease.served.name

    async def submit(self) -> None:
        model = self._lease.model
        for each in self._asked:
            self.streams.append(await to_thread.run_sync(model.submit, each, limiter=SUBMITTING))
        if self._number:
            self._running[self._number] = self.streams
        if self._request.app.state.settings.log_prompts:
            self.facts["asked"] = [each.messages or each.prompt for each in self._asked]

    def note(self, place: int, event: Event) -> None:
        """Keep what slots and the log tell of an answer."""
        if isinstance(event, Text | Reasoning):
            if (slot := self._slots[place]) is not None:
                slot.said += [token.id for token in event.tokens]
                slot.lines = slot.lines or "\n" in event.text
        elif isinstance(event, Finish):
            self._note_usage(event.usage.prompt_tokens, event.usage.completion_tokens, event.usage.cached_tokens)

    def note_all(self, completions: Sequence[Completion]) -> None:
        for place, done in enumerate(completions):
            if (slot := self._slots[place]) is not None:
                slot.said = [token.id for token in done.tokens]
                slot.lines = "\n" in done.text or "\n" in done.reasoning
            self._note_usage(done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.cached_tokens)
            if self._request.app.state.settings.log_prompts:
                self.facts.setdefault("answered", []).append(done.text)

    def _note_usage(self, prompt: int, generated: int, cached: int) -> None:
        for name, count in (("prompt_tokens", prompt), ("generated_tokens", generated), ("cached_tokens", cached)):
            self.facts[name] = self.facts.get(name, 0) + count

    def leave(self) -> None:
        for stream in self.streams:
            stream.cancel()
        for slot in self._slots:
            if slot is not None:
                slot.busy = False
        self._running.pop(self._number, None)
        self._lease.release()


class Streaming(EventSourceResponse):
    """An answer as server-sent events. However it ends, the model is let go of."""

    def __init__(self, request: Request, begun: _Begun, writer: Writer) -> None:
        settings = request.app.state.settings
        super().__init__(
            _chunks(begun, writer),
            headers={"Content-Type": "text/event-stream; charset=utf-8"},
            ping=settings.ping_seconds,
            sep="\n",
            ping_message_factory=lambda: ServerSentEvent(comment="", sep="\n"),
            send_timeout=settings.read_seconds,
            shutdown_grace_period=settings.drain_seconds,
        )
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._begun.leave()


async def _chunks(begun: _Begun, writer: Writer) -> AsyncIterator[bytes]:
    if first := writer.first():
        yield first
    try:
        async for place, event in _events(begun.streams):
            begun.note(place, event)
            if chunk := writer.event(place, event):
                yield chunk
    except HalflapError as error:
        why = refusal(error)
        begun.facts["error"] = why.message
        yield writer.failed(why)
        return
    if last := writer.last():
        yield last


async def _events(streams: Sequence[Stream]) -> AsyncIterator[tuple[int, Event]]:
    """The events of all streams as they come, each with its stream's place."""
    if len(streams) == 1:
        async for event in streams[0]:
            yield 0, event
        return
    queue: asyncio.Queue[tuple[int, Event | BaseException | None]] = asyncio.Queue(64)

    async def forward(place: int, stream: Stream) -> None:
        try:
            async for event in stream:
                await queue.put((place, event))
            await queue.put((place, None))
        except HalflapError as error:
            await queue.put((place, error))

    tasks = [asyncio.ensure_future(forward(place, stream)) for place, stream in enumerate(streams)]
    try:
        left = len(streams)
        while left:
            place, found = await queue.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                left -= 1
            else:
                yield place, found
    finally:
        for task in tasks:
            task.cancel()
