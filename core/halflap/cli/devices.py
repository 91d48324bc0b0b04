"""halflap devices: what there is to run on."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from halflap import plugins
from halflap.cli import common
from halflap.device.opening import open_backend
from halflap.errors import HalflapError


@click.command("devices")
@common.as_json
def command(as_json: bool) -> None:
    """List devices and what they can do."""
    found: list[dict[str, Any]] = []
    for entry in sorted(plugins.entries("backends"), key=lambda e: -e.facts.get("priority", 0)):
        try:
            for device in open_backend(entry.name).devices():
                found.append(device.info.to_dict())
                device.close()
        except HalflapError as error:
            found.append({"id": entry.name, "backend": entry.name, "error": str(error)})
    if as_json:
        common.print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("device", "about", "free", "total", "features", "weight types"):
        table.add_column(column)
    for data in found:
        if "error" in data:
            table.add_row(data["id"], f"[red]{data['error']}[/]")
        else:
            table.add_row(
                data["id"],
                data["about"],
                common.size(data["memory_free"]),
                common.size(data["memory_total"]),
                " ".join(data["features"]),
                " ".join(data["rounding"]),
            )
    common.out().print(table)
