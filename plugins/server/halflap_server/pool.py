"""The models of a server: loaded when asked for, unloaded to make room or when idle, replaced while they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from anyio import CapacityLimiter, to_thread
from attrs import define, field

import halflap
from halflap import HalflapError, Model
from halflap.errors import DeviceMemoryError
from halflap.log import log
from halflap.placement import Plan
from halflap.text.chat.contract import ChatFormatInfo
from halflap_server.errors import not_found
from halflap_server.slots import Slots
from halflap_server.sources import Source

Status = Literal["unloaded", "loading", "loaded", "sleeping", "failed"]
PLANNED = frozenset({"devices", "ctx", "kv_type", "kv_rotation", "kv_bytes", "threads", "split", "overrides",
                     "skip_layers"})  # fmt: skip


@define(eq=False)
class Served:
    """One loaded model.

    Attributes:
        users: requests that hold it.
        scales: how strongly each adapter works unless a request says.
        form: how it chats; None: it makes no text.
        sees: chats may hold images.
        retired: a newer version has its place; it is closed when its last user leaves.
    """

    source: Source
    model: Model
    slots: Slots
    scales: dict[str, float]
    form: ChatFormatInfo | None
    sees: bool
    users: int = 0
    used: float = field(factory=time.monotonic)
    retired: bool = False

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def holds_calls(self) -> bool:
        """Tool calls can be held to the tools' schemas."""
        return self.form is not None and self.form.holds_calls


@define(eq=False)
class Entry:
    """One name and what stands behind it.

    Attributes:
        waiting: requests that want it and do not hold it yet.
        leaving: it has to make room; who wants it now waits for its return, so that nobody waits for ever.
    """

    source: Source
    served: Served | None = None
    waiting: int = 0
    leaving: bool = False
    bytes: int = 0
    loading: asyncio.Task[None] | None = None
    failure: str | None = None
    slept: bool = False
    created: int = field(factory=lambda: int(time.time()))

    @property
    def status(self) -> Status:
        if self.served is not None:
            return "loaded"
        if self.loading is not None:
            return "loading"
        return "failed" if self.failure else "sleeping" if self.slept else "unloaded"


class Lease:
    """A hold on a loaded model: it stays open until the lease is released, which may be done more than once."""

    def __init__(self, pool: Pool, served: Served) -> None:
        self._pool, self.served, self._held = pool, served, True

    @property
    def model(self) -> Model:
        return self.served.model

    def release(self) -> None:
        if self._held:
            self._held = False
            self._pool.released(self.served)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextmanager
    def unless_failed(self) -> Iterator[None]:
        """Keeps the hold beyond the block, unless it raises."""
        try:
            yield
        except BaseException:
            self.release()
            raise


class Pool:
    """Every model that may be asked for. Lives on one event loop; loading and closing run on threads.

    Args:
        budget: bytes that loaded models may take by their plans; None: no limit but the machine's.
        most: loaded models at once; None: no limit.
        load: loads a source's model, on a thread; None: here.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        budget: int | None = None,
        most: int | None = None,
        load: Callable[[Source], Model] | None = None,
    ) -> None:
        self._load_source = load or _load_here
        self.entries = {source.name: Entry(source) for source in sources}
        self._names = {alias: entry for entry in self.entries.values() for alias in entry.source.aliases}
        self._names |= self.entries
        self._budget, self._most = budget, most
        self._changed = asyncio.Condition()
        self._room = asyncio.Lock()
        self._threads = CapacityLimiter(4)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing = False

    def find(self, name: str | None) -> Entry:
        """The entry of a name or alias; without a name, or with one nobody has if there is but one model, that one.

        Raises:
            Refusal: 404.
        """
        if name and name in self._names:
            return self._names[name]
        if len(self.entries) == 1:  # clients often send the name of some model that their settings still hold
            return next(iter(self.entries.values()))
        if not name:
            loaded = [entry for entry in self.entries.values() if entry.served is not None]
            return loaded[0] if loaded else next(iter(self.entries.values()))
        raise not_found(f"model: got {name!r:.80}, want one of {', '.join(self.entries)}")

    async def acquire(self, name: str | None) -> Lease:
        """A hold on a model, which is loaded first if need be.

        Raises:
            Refusal: no such model.
            HalflapError: it cannot be loaded.
        """
        entry = self.find(name)
        entry.waiting += 1
        try:
            while entry.leaving or (served := entry.served) is None:
                if entry.leaving:
                    async with self._changed:
                        await self._changed.wait()
                else:
                    await asyncio.shield(self._load_task(entry))
        finally:
            entry.waiting -= 1
        served.users += 1
        served.used = time.monotonic()
        self._spawn(self._notify())
        return Lease(self, served)

    def released(self, served: Served) -> None:
        served.users -= 1
        served.used = time.monotonic()
        if served.retired and served.users == 0:
            self._spawn(self._close(served))
        self._spawn(self._notify())

    async def start(self) -> None:
        """Load what is to be loaded at the start; a model that fails is listed with its reason.

        Raises:
            HalflapError: the only model cannot be loaded.
        """
        for entry in self.entries.values():
            if entry.source.at_start:
                try:
                    await self._load_task(entry)
                except HalflapError:
                    if len(self.entries) == 1:
                        raise
        self._spawn(self._put_to_sleep())

    async def load(self, name: str, reload: bool = False) -> None:
        """Load a model; with `reload` its newest version replaces the loaded one, which finishes what it began."""
        entry = self.find_exactly(name)
        if entry.served is None:
            await asyncio.shield(self._load_task(entry))
        elif reload:
            entry.loading = entry.loading or self._spawn(self._load(entry))
            await asyncio.shield(entry.loading)

    async def unload(self, name: str) -> None:
        """Unload a model as soon as nobody uses it; new requests load it again."""
        entry = self.find_exactly(name)
        if (served := entry.served) is not None:
            self._retire(entry, served)

    def find_exactly(self, name: str) -> Entry:
        if name not in self._names:
            raise not_found(f"model: got {name!r:.80}, want one of {', '.join(self.entries)}")
        return self._names[name]

    async def close(self) -> None:
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for entry in self.entries.values():
            if entry.served is not None:
                await self._close(entry.served)
                entry.served = None

    def _load_task(self, entry: Entry) -> asyncio.Task[None]:
        if entry.loading is None:
            entry.loading = self._spawn(self._load(entry))
        return entry.loading

    async def _load(self, entry: Entry) -> None:
        began = time.monotonic()
        old = entry.served
        try:
            source = entry.source
            needed = 0
            if self._budget is not None:
                needed = await to_thread.run_sync(_estimate, source, limiter=self._threads)
            async with self._room:  # one at a time makes room, so that two cannot count on the same
                try:
                    await self._make_room(entry, needed)
                finally:
                    for each in self.entries.values():
                        each.leaving = False
                    await self._notify()
                model, form = await to_thread.run_sync(self._load_model, source, limiter=self._threads)
        except Exception as error:
            entry.failure = str(error)
            log.error("model_failed", model=entry.source.name, error=str(error))
            raise
        finally:
            entry.loading = None
        entry.failure, entry.slept, entry.bytes = None, False, _bytes(model.plan)
        scales = dict(source.scales) if source.scales else dict.fromkeys(source.adapters, 1.0)
        sees = source.loading.get("projector") is not None
        entry.served = Served(source, model, Slots(model.plan.limits.sequences), scales, form, sees)
        if old is not None:
            old.retired = True
            if old.users == 0:
                self._spawn(self._close(old))
        log.info("model_loaded", model=source.name, seconds=round(time.monotonic() - began, 3), bytes=entry.bytes)
        await self._notify()

    def _load_model(self, source: Source) -> tuple[Model, ChatFormatInfo | None]:
        model = self._load_source(source)
        return model, model.chat_format if "logits" in model.info.outputs else None

    async def _make_room(self, entry: Entry, needed: int) -> None:
        """Unload idle models, the longest unused first, until the budget holds; waits for busy ones to become idle."""
        if self._budget is not None and needed > self._budget:
            raise _no_room(entry, needed, self._budget)
        while True:
            loaded = [e for e in self.entries.values() if e.served is not None and e is not entry]
            taken = sum(e.bytes for e in loaded)
            if entry.served is not None:
                taken += entry.bytes
            fits = self._budget is None or taken + needed <= self._budget
            if fits and (self._most is None or len(loaded) < self._most):
                return
            loose = [(e, e.served) for e in loaded if e.served is not None and not e.source.pinned]
            idle = [(e, s) for e, s in loose if not s.users and (e.leaving or not e.waiting)]
            if idle:
                victim, served = min(idle, key=lambda pair: pair[1].used)
                victim.served, victim.leaving = None, False
                log.info("model_unloaded", model=victim.source.name, reason="room")
                await self._close(served)
                await self._notify()
            elif loose:
                if busy := [(e, s) for e, s in loose if s.users]:
                    min(busy, key=lambda pair: pair[1].used)[0].leaving = True
                async with self._changed:
                    await self._changed.wait()
            else:
                raise _no_room(entry, needed + taken, self._budget or 0)

    def _retire(self, entry: Entry, served: Served) -> None:
        entry.served, served.retired = None, True
        if served.users == 0:
            self._spawn(self._close(served))

    async def _close(self, served: Served) -> None:
        await to_thread.run_sync(served.model.close, limiter=self._threads)

    async def _put_to_sleep(self) -> None:
        """Unload models that have been idle for as long as their source says."""
        waits = [e.source.sleep_seconds for e in self.entries.values() if e.source.sleep_seconds]
        while waits:
            await asyncio.sleep(min(1.0, min(waits) / 4))
            for entry in self.entries.values():
                served, patience = entry.served, entry.source.sleep_seconds
                idle = served is not None and not served.users and entry.loading is None
                if served is not None and patience and idle and time.monotonic() - served.used >= patience:
                    entry.slept = True
                    log.info("model_sleeps", model=entry.source.name)
                    self._retire(entry, served)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # who waits for it is told; nobody else needs to be


def _estimate(source: Source) -> int:
    """Bytes by the model's plan, over all devices."""
    options = {name: value for name, value in source.loading.items() if name in PLANNED}
    return _bytes(halflap.plan(source.path, adapters=source.adapters, **options))


def _bytes(plan: Plan) -> int:
    return sum(sum(placed.weights.values()) + placed.state + placed.scratch for placed in plan.placed)


def _load_here(source: Source) -> Model:
    return halflap.load(source.path, adapters=source.adapters, **source.loading)


def _no_room(entry: Entry, needed: int, budget: int) -> DeviceMemoryError:
    return DeviceMemoryError(
        f"model {entry.source.name!r}",
        got=f"{needed:,} bytes for it and what cannot be unloaded",
        want=f"at most the server's {budget:,}",
        fix="Raise --memory, unpin a model, or load it with a smaller ctx.",
        wanted=needed,
        free=budget,
    )
