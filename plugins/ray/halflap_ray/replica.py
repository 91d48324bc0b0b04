"""The deployment that computes, and the way to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ray.exceptions import RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

import halflap
from halflap.assembly import tokenizer_metadata
from halflap.engine.request import Request
from halflap.errors import BusyError, DeviceLostError, HalflapError, ModelClosedError, ModelNotFoundError
from halflap.loading import ModelInfo, open_tokenizer
from halflap.log import log
from halflap.placement import Plan
from halflap.remote import Events, called, is_end, portable, prepared
from halflap_ray.beginnings import beginnings
from halflap_ray.link import PlaceLost, PlacesLink, PlacesModel

Message = tuple[Sequence[int], Events]
Messages = AsyncGenerator[Message, None]


class Replica:
    """One loaded model."""

    def __init__(self, model: str, loading: Mapping[str, Any]) -> None:
        self._model = halflap.load(model, **loading)
        self._metadata = tokenizer_metadata(model, overrides=loading.get("overrides"))

    def about(self) -> tuple[ModelInfo, Plan, dict[str, Any]]:
        """The model, how it is placed, and what its tokenizer is made of."""
        return self._model.info, self._model.plan, self._metadata

    async def begin(self, request: Request, said: Sequence[int], keys: Sequence[bytes]) -> Messages:
        """An answer's messages, as `halflap.remote.Answer.take` reads them.

        Args:
            keys: what the request's router reads.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Message]()

        def send(tokens: list[int], events: Events) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                loop.call_soon_threadsafe(queue.put_nowait, (tokens, events))

        try:
            work = await asyncio.to_thread(prepared, self._model, request, said, send)
            self._model.start(work)
        except Exception as error:
            yield [], _checked(portable(error))
            return
        try:
            yield [], []
            while True:
                tokens, events = await queue.get()
                yield tokens, _checked(events)
                if is_end(events):
                    return
        finally:
            self._model.cancel(work)

    async def call(self, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """The model's method of that name, or its attribute; a HalflapError is returned, not raised."""
        try:
            return await asyncio.to_thread(called, self._model, method, arguments, options)
        except HalflapError as error:
            return _checked(error)

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self._model.close()


def _checked(events: Any) -> Any:
    """What it is given, unless that says that nothing can be computed here any more: then the process ends.

    Serve starts another, and who waits for an answer has it go on elsewhere.
    """
    if isinstance(events, DeviceLostError | ModelClosedError):
        log.error("replica_lost", error=str(events))
        os._exit(1)
    return events


class Replicas:
    """`halflap_ray.link.Places`: the replicas behind a handle."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle, self._streaming = handle, handle.options(stream=True)

    async def begin(self, request: Request, said: Sequence[int]) -> Messages:
        response = self._streaming.begin.remote(request, said, keys=beginnings(request))
        try:
            async for message in response:
                yield message
        except Exception as error:
            raise _told(error) from error
        finally:
            response.cancel()

    async def call(self, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        try:
            found = await self._handle.call.remote(method, arguments, options)
        except Exception as error:
            raise _told(error) from error
        return _raised(found)

    async def call_all(self, method: str) -> list[Any]:
        try:
            found = await self._handle.broadcast("call", method, (), {}).results_async()
        except Exception as error:
            raise _told(error) from error
        return [_raised(each) for each in found]


def connected(handle: DeploymentHandle) -> PlacesModel:
    """The model that a deployment of replicas has loaded; waits until one is there."""
    info, plan, metadata = handle.about.remote().result()
    return PlacesModel(PlacesLink(Replicas(handle), info, plan), open_tokenizer(metadata))


def _raised(found: Any) -> Any:
    if isinstance(found, HalflapError):
        raise found
    return found


def _told(error: Exception) -> Exception:
    """What Ray says, in our words."""
    if isinstance(error, BackPressureError):
        return BusyError("replicas", got="all queues full", want="room", retry_after=1.0, fix="Try again in a second.")
    if isinstance(error, DeploymentUnavailableError):
        return ModelNotFoundError("deployment", got=str(error), want="replicas that loaded the model")
    if isinstance(error, RayError) and not isinstance(error, RayTaskError | TaskCancelledError):
        return PlaceLost(str(error))
    return error
