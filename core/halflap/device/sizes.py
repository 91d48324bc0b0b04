"""Counting bytes, for devices written in Python."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from halflap import plugins
from halflap.errors import DeviceError, DeviceMemoryError
from halflap.graph.ir import Dim, StateGroup
from halflap.graph.step import Limits


def elements(shape: Sequence[Dim], limits: Limits) -> int:
    """Elements of a value with its free sizes at their limits."""
    sizes = {"T": limits.tokens, "S": limits.sequences, "R": limits.rows}
    return math.prod(sizes[dim] if isinstance(dim, str) else dim for dim in shape)


def weight_bytes(dtype: str, shape: Sequence[Dim], device: str) -> int:
    """Bytes of a weight as it lies in the file.

    Raises:
        DeviceError: its rows are not whole quantisation blocks.
    """
    kind = plugins.get("weight_types", dtype)
    width = shape[-1] if shape else 1
    if not isinstance(width, int) or width % kind.block:
        what = f"device {device!r}: width of a {dtype} weight"
        raise DeviceError(what, got=width, want=f"a multiple of {kind.block}", device=device, status="invalid")
    return math.prod(int(dim) for dim in shape) // int(kind.block) * int(kind.nbytes)


def state_bytes(groups: Sequence[StateGroup], limits: Limits, storage: Mapping[str, int], device: str) -> int:
    """Bytes of the pools of these groups.

    Args:
        storage: KV type -> bytes of one element, for those the device has.

    Raises:
        DeviceError: the limits ask for another KV type.
    """
    for name in limits.kv_types:
        if name not in storage:
            raise DeviceError(f"KV type on device {device!r}", got=repr(name), want=f"one of {list(storage)}",
                              device=device, status="unsupported")  # fmt: skip
    pools = [group for group in groups if group.kind == "blocks"]
    for place, name in enumerate(limits.kv_types):
        block = plugins.get("weight_types", name.upper()).block
        for width in {(layer.k, layer.v)[place] for group in pools for layer in group.layers}:
            if width % block:
                what = f"device {device!r}: width of {'KV'[place]} rows stored as {name}"
                raise DeviceError(what, got=width, want=f"a multiple of {block}", device=device, status="unsupported")
    k, v = (storage[name] for name in limits.kv_types)
    blocks = sum(
        limits.blocks[group.name] * group.block_rows * sum(layer.k * k + layer.v * v for layer in group.layers)
        for group in pools
    )
    return blocks + slot_bytes(groups, limits)


def slot_bytes(groups: Sequence[StateGroup], limits: Limits) -> int:
    """Bytes of the slots groups among these: f32, whatever the KV type."""
    return sum(
        4 * limits.slots[group.name] * sum(layer.k for layer in group.layers)
        for group in groups
        if group.kind == "slots"
    )


def host_memory() -> tuple[int, int]:
    """Bytes of this machine: free now, and in all."""
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page


def check_room(wanted: int, device: str) -> None:
    """For a device that uses the host's memory, before it allocates.

    Raises:
        DeviceMemoryError: the machine has not that much.
    """
    free, total = host_memory()
    if wanted > total:
        raise DeviceMemoryError(
            f"memory of device {device!r}", got=f"{free:,} bytes free of {total:,}", want=f"{wanted:,}", device=device,
            status="out_of_memory", wanted=wanted, free=free,
        )  # fmt: skip
