"""The host's side: every answer is followed wherever it is computed, and goes on elsewhere when that place is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeVar

from halflap.engine.engine import closed
from halflap.engine.metrics import Histogram, Metrics
from halflap.engine.request import Request
from halflap.errors import BusyError, DeviceLostError
from halflap.events import Finish, Timings, Usage
from halflap.loading import ModelInfo
from halflap.placement import Plan
from halflap.remote import Answer, Events, RemoteModel, portable
from halflap.stream import Stream

T = TypeVar("T")
LIVES = 3
"""Places in a row that may be lost with no token in between; then it is the request that kills them."""
BUSY_SECONDS = 0.1
"""Wait before an answer that was under way knocks again at places that are full."""


class PlaceLost(Exception):  # noqa: N818 - no failure of the request
    """The place that computed is gone."""


class Places(Protocol):
    """Where answers are computed. Whoever is asked may be another each time."""

    def begin(self, request: Request, said: Sequence[int]) -> AsyncGenerator[tuple[Sequence[int], Events], None]:
        """What `Answer.take` is to be given; closing it cancels.

        Raises:
            PlaceLost: the place died.
            HalflapError: no place takes it.
        """

    async def call(self, method: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        """A method of some place's model. Raises as `begin`."""

    async def call_all(self, method: str) -> list[Any]:
        """The same of every place's model."""


class PlacesLink:
    """A `halflap.remote.Link` to places: a thread with an event loop, on which answers are followed."""

    def __init__(self, places: Places, info: ModelInfo, plan: Plan) -> None:
        self.info, self.plan, self._places = info, plan, places
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="halflap-ray", daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self._answers: dict[Answer, asyncio.Task[None]] = {}  # seen on the loop only
        self._closed = False

    def begin(self, request: Request) -> Stream:
        answer = Answer(request)
        with self._lock:
            if self._closed:
                raise closed()
            self._loop.call_soon_threadsafe(self._enter, answer)
        answer.began.result()
        return Stream(answer.channel, lambda: self._cancel(answer))

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._wait(self._call(method, arguments, options))

    def call_all(self, method: str) -> list[Any]:
        """What every place's model says to it."""
        return self._wait(self._places.call_all(method))

    def close(self) -> None:
        with self._lock:
            before, self._closed = self._closed, True
        if before:
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._closed:
                work.close()
                raise closed()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result()

    def _enter(self, answer: Answer) -> None:
        task = self._answers[answer] = self._loop.create_task(self._follow(answer))
        task.add_done_callback(lambda _: self._answers.pop(answer, None))

    def _cancel(self, answer: Answer) -> None:
        with suppress(RuntimeError):  # the loop is closed: so is the answer
            self._loop.call_soon_threadsafe(self._stop, answer)

    def _stop(self, answer: Answer) -> None:
        if (task := self._answers.get(answer)) is not None:
            answer.cancelled = True
            task.cancel()

    async def _follow(self, answer: Answer) -> None:
        try:
            await self._to_its_end(answer)
        except asyncio.CancelledError:
            if not answer.cancelled:
                answer.fail(closed())
                return
            usage, timings = Usage(0, len(answer.said)), Timings(0, 0, 0.0, 0, 0.0)
            answer.take((), [Finish("cancelled", None, usage, timings)])
        except Exception as error:
            answer.fail(portable(error))

    async def _to_its_end(self, answer: Answer) -> None:
        lives = LIVES
        while lives:
            try:
                async with aclosing(self._places.begin(answer.request, tuple(answer.said))) as messages:
                    async for tokens, events in messages:
                        lives = LIVES if tokens else lives
                        if isinstance(events, BusyError) and answer.began.done():
                            raise events
                        if answer.take(tokens, events):
                            return
                lives -= 1  # it ended without an end
            except PlaceLost:
                lives -= 1
            except BusyError as error:
                if not answer.began.done():
                    raise
                await asyncio.sleep(error.retry_after or BUSY_SECONDS)
        raise _lost()

    async def _call(self, method: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        for _ in range(LIVES):
            with suppress(PlaceLost):
                return await self._places.call(method, arguments, options)
        raise _lost()

    async def _end(self) -> None:
        tasks = list(self._answers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class PlacesModel(RemoteModel):
    """A model that several places have loaded; its metrics are those of all together."""

    _link: PlacesLink

    @property
    def metrics(self) -> Metrics:
        self._check_open()
        return together(self._link.call_all("metrics"))


def together(found: Sequence[Metrics]) -> Metrics:
    """Sums; of `longest` the greatest."""
    return Metrics(**{name: _sum(name, [getattr(each, name) for each in found]) for name in Metrics.__annotations__})


def _sum(name: str, values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, Histogram):
        counts = tuple(map(sum, zip(*(each.counts for each in values), strict=True)))
        return Histogram(counts, sum(each.total for each in values))
    if isinstance(first, tuple):
        longest = max(map(len, values))
        return tuple(sum(each[i] for each in values if i < len(each)) for i in range(longest))
    if isinstance(first, int | float):
        return max(values) if name == "longest" else sum(values)
    return {key: sum(each.get(key, 0) for each in values) for each in values for key in each}


def _lost() -> DeviceLostError:
    got, want = f"{LIVES} replicas in a row that died over it", "one that answers"
    return DeviceLostError("request", got=got, want=want, status="device_lost")
