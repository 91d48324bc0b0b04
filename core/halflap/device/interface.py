"""What a device is to the rest of Halflap. `include/halflap/abi.h` says the same to native backends.

A device is an in-order queue: begin, run, copy, export and import take effect in call order, and blocks that the host
frees may be reused at once. Host arrays are read before `run` returns. One thread at a time speaks to a device; several
devices work at once; `info`, `Fence` and `cancel` may be used from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from attrs import asdict, field, frozen

from halflap.graph.candidates import Ask, Highest
from halflap.graph.ir import Graph, Node, StateGroup
from halflap.graph.step import Limits, Step

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


@frozen
class DeviceInfo:
    """What a device says of itself.

    Attributes:
        id: "cpu", "cuda:0", "rpc://host:port/cuda:0": how users name it.
        backend: name of the plugin's backend.
        about: hardware, instruction set, driver: one line for people.
        memory_free: bytes that can be had now, as probed.
        memory_total: bytes there are.
        largest_allocation: bytes of the largest single allocation.
        features: promises such as "row_invariant".
        rounding: weight type -> rounding of the activations that meet it: "none", "f16", "bf16" or "i8x256"
            (one f32 scale per 256 along K). A type that is absent is not supported.
    """

    id: str
    backend: str
    about: str
    memory_free: int
    memory_total: int
    largest_allocation: int
    features: frozenset[str] = frozenset()
    rounding: Mapping[str, str] = field(factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "features": sorted(self.features)}


@frozen
class Weight:
    """A tensor as it lies in the file: bytes stay mapped until `Weights.close()`.

    Attributes:
        shape: row-major, (n_out, n_in) for a linear weight.
        data: uint8 view of the file's bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Bytes = field(repr=False, eq=False)


@frozen
class MemoryReport:
    """Exact bytes a graph would take on a device.

    Attributes:
        weights: packed form ("in place", "f32", …) -> bytes. In place means the file's own mapping.
    """

    weights: Mapping[str, int]
    state: int
    scratch: int

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.state + self.scratch


class Weights(Protocol):
    """Tensors in the form a device computes with, shared by all its executables."""

    def close(self) -> None: ...


class State(Protocol):
    """The pools behind state groups. A block is canonical f32: (its rows, k width + v width) after rope.

    A slot is f32 too, in the order that the definition of its op gives it: (elements,).
    """

    def export_block(self, group: str, layer: int, block: int) -> npt.NDArray[np.float32]: ...
    def import_block(self, group: str, layer: int, block: int, rows: npt.NDArray[np.float32]) -> None: ...
    def export_slot(self, group: str, layer: int, slot: int) -> npt.NDArray[np.float32]: ...
    def import_slot(self, group: str, layer: int, slot: int, values: npt.NDArray[np.float32]) -> None: ...
    def close(self) -> None: ...


class Fence(Protocol):
    """One run under way."""

    @property
    def done(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> Mapping[str, Array]:
        """The fetched values by name.

        Raises:
            DeviceError: the run failed, was cancelled, or its device died.
            TimeoutError: not done in time; wait again.
        """

    def cancel(self) -> None:
        """Stop before the next op. A later wait raises DeviceError with status "cancelled"."""


class Executable(Protocol):
    """A graph compiled for a device."""

    def run(self, begun: Any, inputs: Mapping[str, Array], fetch: Sequence[str]) -> Fence:
        """Queue the graph. `inputs` holds the graph's inputs other than the step's own arrays (ids, rows)."""

    def close(self) -> None: ...


@runtime_checkable
class Device(Protocol):
    """One piece of hardware, local or remote."""

    @property
    def info(self) -> DeviceInfo: ...

    def supports(self, node: Node, graph: Graph) -> str | None:
        """None, or why this node cannot run here."""

    def estimate(self, graph: Graph, limits: Limits) -> MemoryReport:
        """Bytes for this graph; allocates nothing."""

    def pack(self, weights: Mapping[str, Weight], graph: Graph) -> Weights: ...

    def state(self, groups: Sequence[StateGroup], limits: Limits) -> State: ...

    def compile(self, graph: Graph, weights: Weights, state: State, limits: Limits) -> Executable: ...

    def begin(self, step: Step) -> Any:
        """Take the step's arrays once, for all executables of this step on this device."""

    def close(self) -> None: ...


class Candidates(Protocol):
    """What a device may have as its attribute `candidates`: the few highest of rows of logits, without the rows."""

    def __call__(self, logits: npt.NDArray[np.float32], asks: Sequence[tuple[int, Ask]]) -> list[Highest]:
        """What each ask wants of one of the rows of `logits` (n, vocab), which stay as they are.

        Returns what `halflap.graph.candidates.highest` defines: ids and logits to the bit.
        """


class Backend(Protocol):
    """A plugin's way to devices."""

    def devices(self) -> Sequence[Device]: ...
