"""What a process holds, and rounds of load, generate and close that must not add to it."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

import halflap
from halflap.device.opening import open_devices


@frozen
class Held:
    """Counts of this process as of now."""

    files: int
    maps: int
    threads: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        maps = Path("/proc/self/maps").read_text().splitlines()
        mapped = sum(line.endswith(".gguf") for line in maps)
        return cls(len(os.listdir("/proc/self/fd")), mapped, len(os.listdir("/proc/self/task")))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def resident() -> int:
    """Bytes of memory that are this process's own; a file's mapping does not count."""
    gc.collect()
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def allocated(device_name: str) -> int | None:
    """What the device's counted allocator holds in the whole process; None if it does not count."""
    (device,) = open_devices([device_name])
    try:
        probe: Any = getattr(device, "probe", None)
        return None if probe is None else int(probe().allocated)
    finally:
        device.close()


def one_round(path: Path, device_name: str) -> None:
    """Load, answer, leave one answer unfinished, score, close."""
    with halflap.load(path, devices=[device_name], ctx=64) as model:
        model.generate([5, 6, 7], max_tokens=4, temperature=0.8, ignore_eos=True)
        next(iter(model.stream([5, 6, 7], max_tokens=50, ignore_eos=True)))
        model.logits([5, 6, 7])
