"""One request as its caller sees it: iterate, await, or take the whole result, from any thread or event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve, field, frozen

from halflap.errors import HalflapError
from halflap.events import Event, Finish, FinishReason, Reasoning, Text, Timings, Token, ToolCall, Usage

if TYPE_CHECKING:  # loaded by hosts that use it: not everybody does
    import asyncio


@frozen
class Call:
    """A whole tool call; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@frozen
class Completion:
    """A finished (or cancelled) answer.

    Attributes:
        stop: the stop string or the text of the end token that ended it.
        reasoning_tokens: how many of its tokens were thinking.
    """

    text: str
    reasoning: str
    tool_calls: tuple[Call, ...]
    tokens: tuple[Token, ...] = field(repr=False)
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    stop: str | None = None
    reasoning_tokens: int = 0

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self, filter=lambda a, _: a.name not in ("tokens", "timings")),
            "timings": self.timings.to_dict(),
        }


class Channel:
    """Events between the engine's thread and one consumer. A slow consumer costs only its own memory: text merges."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[Event] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._eager = 0  # consumers that wait for the next event, not only for the end
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []  # for the next event
        self._enders: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []  # for the end only

    def put(self, events: Sequence[Event] | BaseException) -> None:
        with self._changed:
            if isinstance(events, BaseException):
                self._error, self._ended = events, True
            else:
                for event in events:
                    self._append(event)
                    self._ended |= isinstance(event, Finish)
            if self._eager or self._ended:
                self._changed.notify_all()
            waiters = [*self._waiters, *(self._enders if self._ended else ())]
            self._waiters.clear()
            if self._ended:
                self._enders.clear()
        for loop, future in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, future)

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event, None after the last; blocks.

        Raises:
            TimeoutError: nothing came in time.
            HalflapError: the request failed; raised once.
        """
        with self._changed:
            self._eager += 1
            try:
                if not self._changed.wait_for(lambda: self._queue or self._ended, timeout):
                    raise TimeoutError("stream: got no event in time, want one")
            finally:
                self._eager -= 1
            return self._next()

    def wait_end(self, timeout: float | None = None) -> None:
        """Wait until nothing more will come. Sleeping through the events leaves the engine's thread undisturbed.

        Raises:
            TimeoutError: not over in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise TimeoutError("stream: got no end in time, want one")

    async def get_async(self) -> Event | None:
        while (waiting := self._wait(lambda: bool(self._queue) or self._ended, self._waiters)) is not None:
            await waiting
        with self._changed:
            return self._next()

    async def wait_end_async(self) -> None:
        """As `wait_end`: the event loop is woken once, not at every token."""
        while (waiting := self._wait(lambda: self._ended, self._enders)) is not None:
            await waiting

    def _wait(
        self, ready: Callable[[], bool], waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]]
    ) -> asyncio.Future[None] | None:
        """What to await before looking again; None: it is ready."""
        import asyncio

        with self._changed:
            if ready():
                return None
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            waiters.append((loop, future))
            return future

    def _append(self, event: Event) -> None:
        last = self._queue[-1] if self._queue else None
        if isinstance(event, Text | Reasoning) and type(last) is type(event):
            self._queue[-1] = evolve(last, text=last.text + event.text, tokens=last.tokens + event.tokens)
        else:
            self._queue.append(event)

    def _next(self) -> Event | None:
        if self._queue:
            return self._queue.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return None


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Stream:
    """One request: iterate its events, or take `result()`. Dropping or leaving it cancels."""

    def __init__(self, channel: Channel, cancel: Callable[[], None]) -> None:
        self._channel, self._cancel = channel, cancel
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._tokens: list[Token] = []
        self._finish: Finish | None = None
        self._over, self._thought = False, 0

    def __iter__(self) -> Iterator[Event]:
        while (event := self._take(self._channel.get)) is not None:
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        import asyncio

        try:
            while (event := await self._take_async()) is not None:
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.cancel()
            raise

    def text(self) -> Iterator[str]:
        """Only the answer's words, as they come."""
        return (event.text for event in self if isinstance(event, Text) and event.text)

    def result(self, timeout: float | None = None) -> Completion:
        """The whole answer; what was already iterated counts too. Ctrl-C cancels.

        Raises:
            TimeoutError: not done in `timeout` seconds; the request goes on, and result may be called again.
            HalflapError: the request failed; `partial` holds what there was.
        """
        try:
            self._channel.wait_end(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise
        for _ in self:
            pass
        return self._completion()

    def __await__(self) -> Generator[Any, None, Completion]:
        return self._result_async().__await__()

    async def _result_async(self) -> Completion:
        import asyncio

        try:
            await self._channel.wait_end_async()
        except asyncio.CancelledError:
            self.cancel()
            raise
        for _ in self:
            pass
        return self._completion()

    def cancel(self) -> None:
        """Stop generating. Iteration then ends with Finish("cancelled"); result() gives what there is."""
        self._cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self._cancel()

    def _take(self, get: Callable[[], Event | None]) -> Event | None:
        if self._over:
            return None
        try:
            return self._note(get())
        except HalflapError as error:
            raise self._failed(error) from None

    async def _take_async(self) -> Event | None:
        if self._over:
            return None
        try:
            return self._note(await self._channel.get_async())
        except HalflapError as error:
            raise self._failed(error) from None

    def _failed(self, error: HalflapError) -> HalflapError:
        self._over = True
        error.partial = self._completion()
        return error

    def _note(self, event: Event | None) -> Event | None:
        if isinstance(event, Text):
            self._texts.append(event.text)
            self._tokens += event.tokens
        elif isinstance(event, Reasoning):
            self._reasonings.append(event.text)
            self._thought += len(event.tokens)
            self._tokens += event.tokens
        elif isinstance(event, ToolCall):
            call = self._calls.setdefault(event.index, [event.id or "", event.name or "", ""])
            call[2] += event.arguments
        elif isinstance(event, Finish):
            self._finish, self._over = event, True
        elif event is None:
            self._over = True
        return event

    def _completion(self) -> Completion:
        finish = self._finish or Finish("cancelled", None, Usage(0, len(self._tokens)), Timings(0, 0, 0.0, 0, 0.0))
        return Completion(
            text="".join(self._texts),
            reasoning="".join(self._reasonings),
            tool_calls=tuple(Call(*parts) for _, parts in sorted(self._calls.items())),
            tokens=tuple(self._tokens),
            finish_reason=finish.reason,
            usage=finish.usage,
            timings=finish.timings,
            stop=finish.stop,
            reasoning_tokens=self._thought,
        )
