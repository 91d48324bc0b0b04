"""A device that behaves like a distant one: memory of its own, late answers, faults on demand. The mock transport.

It computes with another device, the reference one unless told otherwise, so that tokens stay equal; everything between
the host and that device is made as unlike a local CPU as the contract allows.

    backend = FakeBackend(seed=3, faults=[Fault("run", at=2, status="device_lost")])
    halflap.plugins.register(backend, "fake")
    model = halflap.load(path, devices=["reference", "fake"])
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from halflap.device.interface import Device, DeviceInfo, MemoryReport, State, Weight, Weights
from halflap.device.reference import ReferenceDevice
from halflap.errors import DeviceError, DeviceLostError, DeviceMemoryError, ModelClosedError
from halflap.graph.ir import Graph, Node, StateGroup
from halflap.graph.step import Limits, SlotStep, Step
from halflap.hookspecs import Register, hookimpl
from halflap.testing.fake_parts import FakeExecutable, FakeState, FakeWeights
from halflap.testing.fake_queue import Queue

T = TypeVar("T")

CALLS = ("supports", "estimate", "pack", "state", "compile", "begin", "run", "export", "import")
STATUSES = ("invalid", "unsupported", "out_of_memory", "device_lost", "cancelled", "internal")
UNLIMITED = 1 << 40


@frozen
class Fault:
    """One failure to be injected.

    Attributes:
        call: which call fails, one of CALLS.
        at: its count, from 1: at=3 fails the third such call.
        status: as in abi.h: "device_lost" is sticky, "out_of_memory" becomes DeviceMemoryError.
        late: a failing `run` shows at its fence; False makes `run` itself raise.
    """

    call: str = field()
    at: int = 1
    status: str = field(default="internal")
    late: bool = True

    @call.validator
    def _check_call(self, _: Any, value: str) -> None:
        if value not in CALLS:
            raise ValueError(f"call of a fault: got {value!r}, want one of {CALLS}")

    @status.validator
    def _check_status(self, _: Any, value: str) -> None:
        if value not in STATUSES:
            raise ValueError(f"status of a fault: got {value!r}, want one of {STATUSES}")


class FakeDevice:
    """See `halflap.device.interface.Device`.

    Args:
        inner: does the arithmetic; closed with this one. None: the reference device.
        id: what `info.id` says.
        memory: bytes it has, counted from the inner device's estimates.
        seed: of the delays.
        delay: most seconds a run is held back; 0 for none.
        faults: what fails, and when.
        poison: fill fresh state blocks with NaN.

    Attributes:
        calls: how often each of CALLS was made.
        allocated: bytes now taken.
    """

    def __init__(
        self,
        inner: Device | None = None,
        *,
        id: str = "fake",  # noqa: A002  named as DeviceInfo names it
        memory: int = UNLIMITED,
        seed: int = 0,
        delay: float = 0.002,
        faults: Iterable[Fault] = (),
        poison: bool = True,
    ) -> None:
        self.inner: Any = ReferenceDevice() if inner is None else inner
        self.calls: Counter[str] = Counter()
        self.allocated = 0
        self.poison = poison
        self._id, self._memory, self._faults, self._pid = id, memory, list(faults), os.getpid()
        self._lock = threading.RLock()  # the inner device is spoken to by one thread at a time
        self._lost: str | None = None
        self._closed = False
        self._queue = Queue(f"halflap-{id}", random.Random(seed), delay)

    @property
    def info(self) -> DeviceInfo:
        self._check_alive()
        free = self._memory - self.allocated
        real: DeviceInfo = self.inner.info
        return evolve(
            real, id=self._id, backend=self._id.partition(":")[0], about=f"fake over {real.about}",
            memory_free=free, memory_total=self._memory, largest_allocation=max(free, 1),
        )  # fmt: skip

    def supports(self, node: Node, graph: Graph) -> str | None:
        self.enter("supports")
        reason: str | None = self.locked(lambda: self.inner.supports(node, graph))
        return reason

    def estimate(self, graph: Graph, limits: Limits) -> MemoryReport:
        self.enter("estimate")
        report: MemoryReport = self.locked(lambda: self.inner.estimate(graph, limits))
        # The file's mapping is the host's memory: nothing is in place here.
        weights = {form: size for form, size in report.weights.items() if form != "in place"}
        if "in place" in report.weights:
            weights["copied"] = report.weights["in place"]
        return evolve(report, weights=weights)

    def pack(self, weights: Mapping[str, Weight], graph: Graph) -> Weights:
        self.enter("pack")
        size = sum(self.locked(lambda: self.inner.estimate(graph, smallest(graph))).weights.values())
        given = {name: weights[name] for name in graph.weights()}
        own = {name: evolve(weight, data=weight.data.copy()) for name, weight in given.items()}
        return FakeWeights(self, self.take(size, lambda: self.inner.pack(own, graph)), size)

    def state(self, groups: Sequence[StateGroup], limits: Limits) -> State:
        self.enter("state")
        graph = Graph("state", {}, (), (), tuple(groups))
        size = self.locked(lambda: self.inner.estimate(graph, limits)).state
        return FakeState(self, self.take(size, lambda: self.inner.state(groups, limits)), groups, limits, size)

    def compile(self, graph: Graph, weights: Weights, state: State, limits: Limits) -> FakeExecutable:
        self.enter("compile")
        assert isinstance(weights, FakeWeights)
        assert isinstance(state, FakeState)
        size = self.locked(lambda: self.inner.estimate(graph, limits)).scratch
        inner = self.take(size, lambda: self.inner.compile(graph, weights.inner, state.inner, limits))
        return FakeExecutable(self, inner, graph, state, size)

    def begin(self, step: Step) -> Step:
        self.enter("begin")
        groups = {name: evolve(g, table_start=g.table_start.copy(), blocks=g.blocks.copy(),
                               first_token=g.first_token.copy(), length=g.length.copy())
                  for name, g in step.groups.items()}  # fmt: skip
        slots = {name: SlotStep(s.source.copy(), s.target.copy(), s.emit.copy()) for name, s in step.slots.items()}
        return evolve(step, ids=step.ids.copy(), index=step.index.copy(), position=step.position.copy(),
                      seq_start=step.seq_start.copy(), rows=step.rows.copy(), groups=groups,
                      copies=tuple(step.copies), slots=slots,
                      span_end=None if step.span_end is None else step.span_end.copy())  # fmt: skip

    def hold(self) -> None:
        """Start no further run until `release`: whatever is queued stays not done."""
        self._queue.hold()

    def release(self) -> None:
        """Let queued runs go on."""
        self._queue.release()

    def close(self) -> None:
        """Finish what is queued, end the thread, close the inner device. May be called again."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._pid:
            self._queue.close()
            self.inner.close()

    # What the parts of this device call.

    def enter(self, call: str) -> Fault | None:
        """Count a call and fail it if that was asked for; a late fault of `run` is returned instead of raised."""
        self._check_alive()
        self.calls[call] += 1
        for fault in self._faults:
            if fault.call == call and fault.at == self.calls[call]:
                if call == "run" and fault.late:
                    return fault
                raise self.failure(fault.status, f"injected at {call} {fault.at}")
        return None

    def failure(self, status: str, detail: str) -> DeviceError:
        """The error of this status; from "device_lost" on every call fails."""
        if status == "device_lost":
            self._lost = self._lost or detail
            return DeviceLostError(f"device {self._id!r}", got=detail, want="an answer", device=self._id, status=status)
        if status == "out_of_memory":
            return self._too_little(self._memory - self.allocated + 1)
        return DeviceError(
            f"device {self._id!r}", got=f"{status} ({detail})", want="success", device=self._id, status=status,
            detail=detail,
        )  # fmt: skip

    @property
    def lost(self) -> str | None:
        """Why the device is lost, or None."""
        return self._lost

    @property
    def queue(self) -> Queue:
        return self._queue

    def locked(self, call: Callable[[], T]) -> T:
        with self._lock:
            return call()

    def take(self, size: int, make: Callable[[], T]) -> T:
        """Count bytes as taken and make what they are for.

        Raises:
            DeviceMemoryError: they do not fit.
        """
        with self._lock:
            if self.allocated + size > self._memory:
                raise self._too_little(size)
            made = make()
            self.allocated += size
            return made

    def give_back(self, size: int) -> None:
        with self._lock:
            self.allocated -= size

    def _too_little(self, wanted: int) -> DeviceMemoryError:
        free = self._memory - self.allocated
        return DeviceMemoryError(
            f"device {self._id!r}: memory", got=f"{free:,} bytes", want=f"{wanted:,}", device=self._id,
            status="out_of_memory", wanted=wanted, free=free,
        )  # fmt: skip

    def _check_alive(self) -> None:
        if os.getpid() != self._pid:
            raise ModelClosedError(f"device {self._id!r}", got=f"process {os.getpid()}",
                                   want=f"process {self._pid}, which opened it")  # fmt: skip
        if self._closed:
            raise ModelClosedError(f"device {self._id!r}", got="a closed device", want="an open one")
        if self._lost is not None:
            raise self.failure("device_lost", self._lost)


class FakeBackend:
    """A plugin and its backend in one object: `halflap.plugins.register(FakeBackend(), "fake")`.

    Args:
        name: backend's name, and its devices' id; with count above 1 they are "name:0", "name:1", …
        count: devices it has.
        inner: makes the device that computes, one for each fake.
        options: for every FakeDevice.

    Attributes:
        opened: every device it made, newest last.
    """

    def __init__(
        self, name: str = "fake", count: int = 1, *, inner: Callable[[], Any] = ReferenceDevice, **options: Any
    ) -> None:
        self.name, self._count, self._inner, self._options = name, count, inner, options
        self.opened: list[FakeDevice] = []

    @hookimpl
    def register_backends(self, register: Register) -> None:
        register(self.name, lambda: self, priority=-200)

    def devices(self) -> Sequence[FakeDevice]:
        ids = [self.name] if self._count == 1 else [f"{self.name}:{i}" for i in range(self._count)]
        made = [FakeDevice(self._inner(), id=name, **self._options) for name in ids]
        self.opened += made
        return made


def smallest(graph: Graph) -> Limits:
    """Limits under which only the weights of a graph count."""
    none = {group.name: 0 for group in graph.groups}
    return Limits(1, 1, 1, 1, none, ("f16", "f16"), slots=none)
