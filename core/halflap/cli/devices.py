"""halflap devices: what there is to run on, and whether it computes right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from halflap import plugins
from halflap.cli import common
from halflap.cli.progress import Waiting
from halflap.device.opening import open_backend, open_devices
from halflap.errors import HalflapError
from halflap.testing import certificate, conformance


@click.command("devices")
@click.option("--check", metavar="DEVICE", help="Check that a device computes right here, and remember the outcome.")
@common.as_json
def command(check: str | None, as_json: bool) -> int:
    """List devices and what they can do; or check one."""
    if check is not None:
        return _check(check, as_json)
    found: list[dict[str, Any]] = []
    for entry in sorted(plugins.entries("backends"), key=lambda e: -e.facts.get("priority", 0)):
        try:
            for device in open_backend(entry.name).devices():
                checked = certificate.read(device, cache_folder())
                found.append({**device.info.to_dict(), "certificate": checked.to_dict() if checked else None})
                device.close()
        except HalflapError as error:
            found.append({"id": entry.name, "backend": entry.name, "error": str(error)})
    if as_json:
        common.print_json(found)
    else:
        _show(found)
    return 0


def cache_folder() -> Path:
    """Where certificates are kept: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halflap"


def _check(name: str, as_json: bool) -> int:
    common.device_names(name)
    (device,) = open_devices([name])
    try:
        with Waiting(f"checking {name}", total=len(conformance.cases(device.info))) as waiting:
            found = certificate.run_and_store(device, cache_folder(), lambda _: waiting.advance())
    finally:
        device.close()
    if as_json:
        common.print_json(found.to_dict())
    else:
        console = common.out()
        console.print(f"{found.device}: {found.about}", markup=False)
        for case, detail in found.failed.items():
            console.print(f"[red]failed[/] {escape(case)}: {escape(detail)}")
        console.print(_outcome(found.to_dict()), markup=False)
    return 0 if found.ok else 1


def _show(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    every = set(plugins.names("weight_types"))
    for data in found:
        if "error" in data:
            table.add_row(data["id"], f"[red]{escape(data['error'])}[/]")
            continue
        types = set(data["rounding"])
        features = ", ".join(data["features"])
        lines = [
            data["about"],
            f"{common.size(data['memory_free'])} of {common.size(data['memory_total'])} free"
            + (f"; {features}" if features else ""),
            f"weights: {f'all {len(every)} types' if types >= every else ' '.join(sorted(types))}",
            _outcome(data["certificate"]) if data["certificate"] else "",
        ]
        table.add_row(data["id"], escape("\n".join(filter(None, lines))))
    common.out().print(table)


def _outcome(checked: dict[str, Any]) -> str:
    failed, refused = len(checked["failed"]), checked["not_offered"]
    passed = checked["cases"] - failed - refused
    return f"checked {checked['date'][:10]}: {passed} cases passed, {failed} failed, {refused} not offered"
