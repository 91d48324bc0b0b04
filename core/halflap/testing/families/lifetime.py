"""Family "lifetime": what is closed is given back, and importing the plugin costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from halflap import plugins
from halflap.device.interface import Device, DeviceInfo
from halflap.device.opening import open_devices
from halflap.errors import HalflapError
from halflap.testing.cases import Case, Failed, NotOffered, require_support
from halflap.testing.rig import Rig, Tables, allocated, limits_for
from halflap.testing.tiny import tiny_model

TIMES = 20

IMPORT_CHECK = """
import importlib, json, sys
import halflap.builtin, halflap.plugins
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for what in ("parts-20-times", "device-20-times", "close-twice", "import"):
        yield Case(f"lifetime/{what}", "lifetime", 19, {"check": what})


def check(case: Case, device: Device) -> None:
    checks = {"parts-20-times": _parts, "device-20-times": _devices, "close-twice": _twice, "import": _import}
    checks[case.facts["check"]](device)


def _parts(device: Device) -> None:
    import numpy as np

    model = tiny_model("llama")
    require_support(device, model.graph)
    limits = limits_for(model.graph)
    before, threads = allocated(device), 0
    for time in range(TIMES):
        with Rig(device, model.graph, model.weights, limits) as rig:
            rig.run(Tables(model.graph, limits, np.random.default_rng(0)).step({0: [1, 2, 3]}))
        if time == 0:
            threads = threading.active_count()  # a device may start its own with the first run
    if allocated(device) != before:
        raise Failed(f"bytes held after {TIMES} models: got {allocated(device)}, want {before}")
    if threading.active_count() > threads:
        raise Failed(f"threads after {TIMES} models: got {threading.active_count()}, want {threads}")


def _devices(device: Device) -> None:
    name, threads, tasks = device.info.id, threading.active_count(), _tasks()
    _require_registered(name)
    for _ in range(TIMES):
        (opened,) = open_devices([name])
        if opened.info.id != name:
            raise Failed(f"id of the opened device: got {opened.info.id!r}, want {name!r}")
        held = allocated(opened)
        opened.close()
        if held not in (None, 0):
            raise Failed(f"bytes held by a device just opened: got {held}, want 0")
    if threading.active_count() > threads:
        raise Failed(f"threads after {TIMES} devices: got {threading.active_count()}, want {threads}")
    if _tasks() - tasks >= TIMES:  # fewer may be anybody's
        raise Failed(f"the process's threads after {TIMES} devices: got {_tasks()}, want {tasks}")


def _tasks() -> int:
    """Threads of this process, native ones too, where the system says."""
    folder = Path("/proc/self/task")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _twice(device: Device) -> None:
    """`close` of each part, and of a device, may be called again."""
    model = tiny_model("llama")
    require_support(device, model.graph)
    limits = limits_for(model.graph)
    weights, state = device.pack(model.weights, model.graph), device.state(model.graph.groups, limits)
    executable = device.compile(model.graph, weights, state, limits)
    for part in (executable, executable, state, state, weights, weights):
        part.close()
    _require_registered(device.info.id)
    (opened,) = open_devices([device.info.id])
    opened.close()
    opened.close()


def _import(device: Device) -> None:
    """The plugin's module imports the standard library and halflap only; a process of its own shows it."""
    backend = device.info.backend
    _require_registered(backend)
    owner = plugins.find("backends", backend.partition(":")[0]).owner
    point = next((p for p in metadata.entry_points(group=plugins.GROUP) if p.name == owner), None)
    module = "halflap.builtin" if owner == plugins.BUILT_IN else point.module if point else owner
    try:
        found = util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise NotOffered(f"a module for plugin {owner!r}, which was registered as an object")
    script = f"import sys; sys.path[:] = {sys.path!r}\n{IMPORT_CHECK}"
    done = subprocess.run([sys.executable, "-c", script, module], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"import of {module}: got {done.stderr.strip().splitlines()[-1:]}, want it to work")
    allowed = sys.stdlib_module_names | {"halflap", module.partition(".")[0]}
    foreign = sorted({name.partition(".")[0] for name in json.loads(done.stdout)} - allowed)
    if foreign:
        raise Failed(
            f"modules imported by {module}: got {', '.join(foreign)}, want only halflap and the standard library"
        )


def _require_registered(name: str) -> None:
    try:
        plugins.find("backends", name.partition(":")[0])
    except HalflapError:
        raise NotOffered(f"a registered backend {name!r}") from None
