"""Devices behind `abi.h`: a shared library loaded by cffi, its handles closed in order, its errors made typed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from attrs import evolve

from halflap.device._abi import ffi
from halflap.device.graph_image import GraphImage, fill_groups, text
from halflap.device.interface import Array, Candidates, DeviceInfo, MemoryReport, Weight
from halflap.device.native_candidates import NativeCandidates
from halflap.errors import (
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    HalflapError,
    IncompatiblePluginError,
    ModelClosedError,
    UnsupportedOpError,
)
from halflap.graph.ir import Graph, Node, Segment, StateGroup
from halflap.graph.step import Limits, Step

ABI_MAJOR, ABI_MINOR = 1, 0
STATUS = ("ok", "invalid", "unsupported", "out_of_memory", "device_lost", "cancelled", "timeout", "forked", "internal")

_libraries: dict[Path, Any] = {}
"""Loaded for ever: dropping a dlopen handle while its table is used would crash the process."""


class NativeBackend:
    """A library that exports `halflap_backend`.

    Args:
        name: the plugin's name for messages.
        path: the shared library.
        options: passed to every device that is opened ("threads": "2").

    Raises:
        IncompatiblePluginError: the library speaks another ABI.
        DeviceError: it refused to start.
    """

    def __init__(self, name: str, path: Path, options: Mapping[str, str] | None = None) -> None:
        self.name, self.path, self._options = name, path, dict(options or {})
        if path not in _libraries:
            _libraries[path] = ffi.dlopen(str(path))
        host = ffi.new("hl_host *", {"abi_major": ABI_MAJOR, "abi_minor": ABI_MINOR})
        host.struct_size = ffi.sizeof("hl_host")
        error = new_error()
        self.api = _libraries[path].halflap_backend(host, error)
        if self.api == ffi.NULL:
            raise DeviceError(f"backend {name!r}", got=message(error), want="it to start", device=name)
        if self.api.abi_major != ABI_MAJOR or self.api.needs_minor > ABI_MINOR:
            needs = f"{self.api.abi_major}.{self.api.needs_minor}"
            raise IncompatiblePluginError(
                f"backend {name!r}",
                got=f"a library for ABI {needs}",
                want=f"ABI {ABI_MAJOR}.{ABI_MINOR} or older",
                fix="Install a build made for this halflap.",
                plugin=name,
                needs=needs,
                has=f"{ABI_MAJOR}.{ABI_MINOR}",
            )

    def extension(self, name: str, table: str) -> Any:
        """The table of an extension, as this struct; None if the backend has none, or one that is shorter."""
        keep: list[Any] = []
        found = self.api.get_extension(text(name, keep))
        made = ffi.cast(f"const {table} *", found)
        return made if found != ffi.NULL and made.struct_size >= ffi.sizeof(table) else None

    def devices(self) -> Sequence[NativeDevice]:
        count = ffi.new("int64_t *")
        check(self.name, self.api.device_count, count)
        return [NativeDevice(self, index, self._options) for index in range(count[0])]


class NativeDevice:
    """See `halflap.device.interface.Device`."""

    def __init__(self, backend: NativeBackend, index: int, options: Mapping[str, str]) -> None:
        self.api, self.backend, self._pid = backend.api, backend, os.getpid()
        self._name = backend.name
        keep: list[Any] = []
        array = ffi.new("hl_option[]", max(len(options), 1))
        for slot, (key, value) in zip(array, options.items(), strict=False):
            slot.struct_size, slot.key, slot.value = ffi.sizeof("hl_option"), text(key, keep), text(value, keep)
        handle = ffi.new("hl_device **")
        check(self._name, self.api.device_open, index, array, len(options), handle)
        self._handle = handle[0]
        self._name = self.info.id
        found = backend.extension("candidates", "hl_candidates_api")
        self.candidates: Candidates | None = None
        if found is not None:
            self.candidates = NativeCandidates(lambda asks: check(self._name, found.candidates, self.handle, asks))

    @property
    def handle(self) -> Any:
        """The open device.

        Raises:
            ModelClosedError: closed, or opened before a fork.
        """
        if os.getpid() != self._pid:
            raise ModelClosedError(
                f"device {self._name!r}",
                got=f"process {os.getpid()}",
                want=f"process {self._pid}, which opened it",
                fix="Load the model after forking.",
            )
        if self._handle is None:
            raise ModelClosedError(f"device {self._name!r}", got="a closed device", want="an open one")
        return self._handle

    def probe(self) -> Any:
        """The raw hl_device_info, with counters that only tests and metrics read (allocated, threads)."""
        info = ffi.new("hl_device_info *")
        info.struct_size = ffi.sizeof("hl_device_info")
        check(self._name, self.api.device_info, self.handle, info)
        return info

    @property
    def info(self) -> DeviceInfo:
        raw = self.probe()
        roundings = (raw.roundings[i] for i in range(raw.n_roundings))
        return DeviceInfo(
            id=string(raw.id),
            backend=self.backend.name,
            about=string(raw.about),
            memory_free=raw.memory_free,
            memory_total=raw.memory_total,
            largest_allocation=raw.largest_allocation,
            features=frozenset(string(raw.features).split()),
            rounding={string(r.type): string(r.rounding) for r in roundings},
        )

    def supports(self, node: Node, graph: Graph) -> str | None:
        error = new_error()
        # The backend reads the whole graph it is given: here, the node alone, what it reads being input or weight.
        values = {}
        for name in (*node.inputs, *node.outputs):
            if name:
                value = graph.values[name]
                made_before = value.kind == "result" and name in node.inputs
                values[name] = evolve(value, kind="input") if made_before else value
        named = {group for group, _ in node.states()}
        groups = [group for group in graph.groups if group.name in named]
        image = GraphImage(Graph(graph.name, values, (Segment("node", (node,)),), (), tuple(groups)))
        status = self.api.supports(self.handle, image.graph, 0, error)
        return None if status == 0 else message(error)

    def estimate(self, graph: Graph, limits: Limits) -> MemoryReport:
        image, keep = GraphImage(graph, limits), []  # type: ignore[var-annotated]
        report = ffi.new("hl_memory_report *")
        report.struct_size = ffi.sizeof("hl_memory_report")
        check(self._name, self.api.estimate, self.handle, image.graph, native_limits(limits, keep), report)
        weights = {"in place": report.weights_in_place, "packed": report.weights_packed}
        return MemoryReport({form: size for form, size in weights.items() if size}, report.state, report.scratch)

    def pack(self, weights: Mapping[str, Weight], graph: Graph) -> NativeWeights:
        return NativeWeights(self, weights, graph)

    def state(self, groups: Sequence[StateGroup], limits: Limits) -> NativeState:
        return NativeState(self, groups, limits)

    def compile(self, graph: Graph, weights: NativeWeights, state: NativeState, limits: Limits) -> NativeExecutable:
        return NativeExecutable(self, graph, weights, state, limits)

    def begin(self, step: Step) -> NativeStep:
        return NativeStep(step)

    def close(self) -> None:
        if self._handle is not None and os.getpid() == self._pid:
            self.api.device_close(self._handle)
        self._handle = None


class NativeWeights:
    """Packed weights; the file's mapping is kept alive here for as long as the device may read it."""

    def __init__(self, device: NativeDevice, weights: Mapping[str, Weight], graph: Graph) -> None:
        self._device, keep = device, []  # type: ignore[var-annotated]
        names = graph.weights()
        array = ffi.new("hl_weight[]", max(len(names), 1))
        lacking = next((name for name in names if name not in weights), None)
        if lacking is not None:
            raise DeviceError(f"weight {lacking!r}", got="none", want="every weight of the graph", status="invalid")
        given = [weights[name] for name in names]  # each asked for once: some are made when asked for
        self._mapped = [weight.data for weight in given]
        for slot, name, weight, data in zip(array, names, given, self._mapped, strict=False):
            slot.struct_size, slot.name, slot.dtype = (
                ffi.sizeof("hl_weight"),
                text(name, keep),
                text(weight.dtype, keep),
            )
            slot.dims, slot.n_dims = list(weight.shape), len(weight.shape)
            slot.data, slot.n_bytes = ffi.cast("void *", data.ctypes.data), data.nbytes
        handle = ffi.new("hl_weights **")
        image = GraphImage(graph)
        check(device.info.id, device.api.weights_pack, device.handle, image.graph, array, len(names), handle)
        self.handle = handle[0]

    def close(self) -> None:
        if self.handle is not None:
            self._device.api.weights_close(self.handle)
        self.handle, self._mapped = None, []


class NativeState:
    """State pools on the device."""

    def __init__(self, device: NativeDevice, groups: Sequence[StateGroup], limits: Limits) -> None:
        self._device, self.groups, keep = device, tuple(groups), []  # type: ignore[var-annotated]
        array = fill_groups(self.groups, limits, keep)
        handle = ffi.new("hl_state **")
        native = native_limits(limits, keep)
        check(device.info.id, device.api.state_new, device.handle, array, len(groups), native, handle)
        self.handle = handle[0]

    def export_block(self, group: str, layer: int, block: int) -> npt.NDArray[np.float32]:
        index, width = self._place(group, layer)
        rows = np.empty((self.groups[index].block_rows, width), np.float32)
        pointer = ffi.from_buffer("float[]", rows, require_writable=True)
        check(self._device.info.id, self._device.api.state_export, self.handle, index, layer, block, pointer)
        return rows

    def import_block(self, group: str, layer: int, block: int, rows: npt.NDArray[np.float32]) -> None:
        index, width = self._place(group, layer)
        rows = np.ascontiguousarray(rows, np.float32).reshape(self.groups[index].block_rows, width)
        pointer = ffi.from_buffer("float[]", rows)
        check(self._device.info.id, self._device.api.state_import, self.handle, index, layer, block, pointer)

    def export_slot(self, group: str, layer: int, slot: int) -> npt.NDArray[np.float32]:
        index, width = self._place(group, layer)
        values = np.empty(width, np.float32)
        pointer = ffi.from_buffer("float[]", values, require_writable=True)
        check(self._device.info.id, self._device.api.state_export, self.handle, index, layer, slot, pointer)
        return values

    def import_slot(self, group: str, layer: int, slot: int, values: npt.NDArray[np.float32]) -> None:
        index, width = self._place(group, layer)
        values = np.ascontiguousarray(values, np.float32).reshape(width)
        pointer = ffi.from_buffer("float[]", values)
        check(self._device.info.id, self._device.api.state_import, self.handle, index, layer, slot, pointer)

    def _place(self, group: str, layer: int) -> tuple[int, int]:
        index = next(i for i, g in enumerate(self.groups) if g.name == group)
        width = self.groups[index].layers[layer]
        return index, width.k + width.v

    def close(self) -> None:
        if self.handle is not None:
            self._device.api.state_close(self.handle)
        self.handle = None


class NativeStep:
    """A step's arrays as hl_step; made once per order of state groups and shared by all executables of the step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._made: dict[tuple[str, ...], tuple[Any, list[Any]]] = {}

    def native(self, groups: tuple[str, ...]) -> Any:
        if groups not in self._made:
            keep: list[Any] = []
            self._made[groups] = (self._make(groups, keep), keep)
        return self._made[groups][0]

    def _make(self, names: tuple[str, ...], keep: list[Any]) -> Any:
        def ints(array: Any) -> Any:
            buffer = ffi.from_buffer("int32_t[]", np.ascontiguousarray(array, np.int32))
            keep.append(buffer)
            return buffer

        step = self.step
        native = ffi.new("hl_step *")
        native.struct_size = ffi.sizeof("hl_step")
        native.n_tokens, native.n_sequences, native.n_rows = step.n_tokens, step.n_sequences, step.n_rows
        native.n_positions = len(step.position)
        native.ids, native.index, native.position = ints(step.ids), ints(step.index), ints(step.position)
        native.seq_start, native.rows = ints(step.seq_start), ints(step.rows)
        if step.span_end is not None:
            native.span_end = ints(step.span_end)
        native.groups = groups = ffi.new("hl_group_step[]", max(len(names), 1))
        for slot, name in zip(groups, names, strict=False):
            slot.struct_size = ffi.sizeof("hl_group_step")
            if name in step.slots:
                kept = step.slots[name]
                slot.slot_in, slot.slot_out, slot.emit = ints(kept.source), ints(kept.target), ints(kept.emit)
                slot.n_emit = len(kept.emit)
                continue
            table = step.groups[name]
            slot.n_blocks = len(table.blocks)
            slot.table_start, slot.blocks = ints(table.table_start), ints(table.blocks)
            slot.first_token, slot.length = ints(table.first_token), ints(table.length)
        copies = [c for c in step.copies if c.group in names]
        native.copies = array = ffi.new("hl_copy[]", max(len(copies), 1))
        for slot, copy in zip(array, copies, strict=False):
            slot.struct_size, slot.group = ffi.sizeof("hl_copy"), names.index(copy.group)
            slot.source, slot.target = copy.source, copy.target
        native.n_groups, native.n_copies = len(names), len(copies)
        keep += [groups, array]
        return native


class NativeExecutable:
    """A compiled graph."""

    def __init__(
        self, device: NativeDevice, graph: Graph, weights: NativeWeights, state: NativeState, limits: Limits
    ) -> None:
        self._device, self._device_id, self._graph = device, device.info.id, graph
        self._order = tuple(group.name for group in state.groups)
        self._image, keep = GraphImage(graph, limits), []  # type: ignore[var-annotated]
        handle = ffi.new("hl_executable **")
        native = native_limits(limits, keep)
        check(
            self._device_id,
            device.api.compile,
            device.handle,
            self._image.graph,
            weights.handle,
            state.handle,
            native,
            handle,
        )
        self._handle = handle[0]

    def run(self, begun: NativeStep, inputs: Mapping[str, Array], fetch: Sequence[str]) -> NativeFence:
        sizes = begun.step.sizes()
        fetched = {}
        for name in fetch:
            value = self._graph.values[name]
            shape = tuple(sizes[d] if isinstance(d, str) else d for d in value.shape)
            fetched[name] = np.empty(shape, np.float32 if value.dtype == "f32" else np.int32)
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        run = ffi.new("hl_run *")
        run.struct_size, run.wait = ffi.sizeof("hl_run"), 1
        run.step = begun.native(self._order)
        run.inputs, run.n_inputs = in_array = self._tensors(given), len(given)
        run.fetches, run.n_fetches = out_array = self._tensors(fetched), len(fetched)
        fence = ffi.new("hl_fence **")
        check(self._device_id, self._device.api.run, self._handle, run, fence)
        return NativeFence(self._device, self._device_id, fence[0], fetched, (run, in_array, out_array, given))

    def _tensors(self, arrays: Mapping[str, Array]) -> Any:
        tensors = ffi.new("hl_tensor[]", max(len(arrays), 1))
        for slot, (name, array) in zip(tensors, arrays.items(), strict=False):
            slot.struct_size, slot.value = ffi.sizeof("hl_tensor"), self._image.index[name]
            slot.data, slot.n_bytes = ffi.cast("void *", array.ctypes.data), array.nbytes
        return tensors

    def close(self) -> None:
        if self._handle is not None:
            self._device.api.executable_close(self._handle)
        self._handle = None


class NativeFence:
    """One run; holds the memory that the device writes to."""

    def __init__(
        self, device: NativeDevice, device_id: str, handle: Any, fetched: dict[str, Array], keep: object
    ) -> None:
        self._device, self._device_id, self._fetched, self._keep = device, device_id, fetched, keep
        self._handle = ffi.gc(handle, device.api.fence_close)

    @property
    def done(self) -> bool:
        return bool(self._device.api.fence_done(self._handle))

    def wait(self, timeout: float | None = None) -> Mapping[str, Array]:
        nanoseconds = -1 if timeout is None else int(timeout * 1e9)
        check(self._device_id, self._device.api.fence_wait, self._handle, nanoseconds)
        return self._fetched

    def cancel(self) -> None:
        self._device.api.fence_cancel(self._handle)


def new_error() -> Any:
    error = ffi.new("hl_error *")
    error.struct_size = ffi.sizeof("hl_error")
    return error


def message(error: Any) -> str:
    text: str = ffi.string(error.text).decode("utf-8", "replace")
    return text or "no reason"


def string(native: Any) -> str:
    return bytes(ffi.buffer(native.data, native.size)).decode() if native.size else ""


def native_limits(limits: Limits, keep: list[Any]) -> Any:
    native = ffi.new("hl_limits *")
    native.struct_size = ffi.sizeof("hl_limits")
    native.tokens, native.sequences, native.rows = limits.tokens, limits.sequences, limits.rows
    native.context, native.in_flight = limits.context, limits.in_flight
    native.k_type, native.v_type = (text(name, keep) for name in limits.kv_types)
    return native


def check(device: str, function: Any, *arguments: Any) -> None:
    """Call a function of the table and raise what its status says."""
    error = new_error()
    status = function(*arguments, error)
    if status == 0:
        return
    name = STATUS[status] if 0 < status < len(STATUS) else str(status)
    raise _failure(device, name, message(error), error)


def _failure(device: str, status: str, said: str, error: Any) -> HalflapError | TimeoutError:
    what = f"device {device!r}"
    head, got, rest = said.partition(": got ")
    found, _, want = rest.partition(", want ")
    if got and want:
        what, said = f"{what}: {head}", found
    else:
        want = "success"
    facts = {"device": device, "status": status, "detail": said}
    if status == "timeout":
        return TimeoutError(f"device {device!r}: still running")
    if status == "out_of_memory":
        return DeviceMemoryError(what, got=said, want=want, wanted=error.wanted, free=error.free, **facts)
    if status == "device_lost":
        return DeviceLostError(what, got=said, want=want, **facts)
    if status == "unsupported":
        return UnsupportedOpError(what, got=said, want=want, device=device)
    if status == "forked":
        return ModelClosedError(what, got=said, want=want, fix="Load the model after forking.")
    return DeviceError(what, got=said, want=want, **facts)
