"""A certificate: this device, with this driver and backend, was checked here by this suite, and these cases failed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

import halflap
from halflap import plugins
from halflap.device.interface import Device
from halflap.errors import HalflapError
from halflap.testing.cases import Result
from halflap.testing.conformance import run_all


@frozen
class Certificate:
    """The outcome of one run of the suite. Every field but `date` and the counts must still hold for it to be valid.

    Attributes:
        device: id of the device.
        about: hardware, instruction set and driver as the device names them.
        backend: backend's name, its distribution's version, and the hash of its library if it is one.
        suite: version of halflap and hash of the suite's and the definitions' source.
        date: UTC, ISO 8601.
        cases: how many ran; `not_offered` of them the device refuses through its interface.
        failed: name -> what was wrong.
    """

    device: str
    about: str
    backend: str
    suite: str
    date: str
    cases: int
    not_offered: int
    failed: dict[str, str]

    @property
    def ok(self) -> bool:
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_and_store(
    device: Device, folder: str | os.PathLike[str], progress: Callable[[Result], None] | None = None
) -> Certificate:
    """Check an open device and keep the outcome under `folder`: what `halflap devices --check` calls.

    Args:
        folder: cache folder of the user; made if it is missing.
        progress: called with each result as it comes.
    """
    failed, count, not_offered = {}, 0, 0
    for result in run_all(device):
        count += 1
        not_offered += not result.offered
        if not result.ok:
            failed[result.case.name] = result.detail
        if progress is not None:
            progress(result)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    certificate = Certificate(**_identity(device), date=date, cases=count, not_offered=not_offered, failed=failed)
    path = _path(device, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as file:
        json.dump(certificate.to_dict(), file, indent=1)
    Path(name).replace(path)  # whole or not at all, also with two processes
    return certificate


def read(device: Device, folder: str | os.PathLike[str]) -> Certificate | None:
    """The stored certificate of an open device; None if there is none, or anything it names has changed."""
    try:
        found = Certificate(**json.loads(_path(device, folder).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if all(getattr(found, key) == value for key, value in _identity(device).items()) else None


def suite_version() -> str:
    """Changes with every change of the suite or of what ops mean."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.rglob("*.py"), here.parent / "graph" / "reference.py", here.parent / "graph" / "ops.py"]):
        if path.is_file():
            digest.update(path.read_bytes())
    return f"{halflap.__version__} {digest.hexdigest()[:16]}"


def _identity(device: Device) -> dict[str, str]:
    info = device.info
    return {"device": info.id, "about": info.about, "backend": _backend(info.backend), "suite": suite_version()}


def _backend(name: str) -> str:
    try:
        entry = plugins.find("backends", name)
        version = next((p.version for p in plugins.plugins() if p.name == entry.owner), "")
        made = entry.resolve()()
    except HalflapError:
        return name  # opened without being registered, as tests do
    described = f"{name} {version}".strip()
    if isinstance(made, str | Path):
        described += f" {hashlib.sha256(Path(made).read_bytes()).hexdigest()[:16]}"
    return described


def _path(device: Device, folder: str | os.PathLike[str]) -> Path:
    return Path(folder) / "certificates" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', device.info.id)}.json"
