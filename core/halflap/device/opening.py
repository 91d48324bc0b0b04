"""From a user's words ("cpu", "cuda:1") to open devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halflap import plugins
from halflap.device.interface import Device
from halflap.errors import PlanError


def open_backend(name: str, options: Mapping[str, str] | None = None) -> Any:
    """The backend a plugin registered under this name.

    Raises:
        NotRegisteredError: nobody did.
    """
    made = plugins.get("backends", name)()
    if isinstance(made, str | Path):
        from halflap.device.native import NativeBackend

        return NativeBackend(name, Path(made), options)
    return made


def open_devices(names: Sequence[str], options: Mapping[str, str] | None = None) -> list[Device]:
    """One open device per name; the same name twice gives two devices with state of their own.

    Raises:
        PlanError: a backend has no such device.
        NotRegisteredError: no such backend.
    """
    opened: list[Device] = []
    try:
        for name in names:
            opened.append(_open(name, options))
    except BaseException:
        for device in opened:
            device.close()
        raise
    return opened


def _open(name: str, options: Mapping[str, str] | None) -> Device:
    backend, _, _ = name.partition(":")
    devices: list[Device] = list(open_backend(backend, options).devices())
    chosen = next((d for d in devices if d.info.id == name), None)
    if chosen is None and name == backend and devices:
        chosen = devices[0]
    known = [d.info.id for d in devices]
    for device in devices:
        if device is not chosen:
            device.close()
    if chosen is None:
        raise PlanError(
            "device", got=repr(name), want=f"one of {known}" if known else f"a device of {backend!r}", device=name
        )
    return chosen
