"""halflap plugins: what is registered, by whom, and what failed."""

from __future__ import annotations

import click
from rich.table import Table

from halflap import plugins
from halflap.cli import common


@click.command("plugins")
@click.option("--traceback", is_flag=True, help="Show why each failed plugin failed, in full.")
@common.as_json
def command(traceback: bool, as_json: bool) -> None:
    """List plugins, what they registered, and what failed."""
    if as_json:
        common.print_json([_data(plugin, traceback) for plugin in plugins.plugins()])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("plugin", "distribution", "version", "registered"):
        table.add_column(column)
    for plugin in plugins.plugins():
        kinds: dict[str, list[str]] = {}
        for entry in plugin.entries:
            kinds.setdefault(entry.kind.replace("_", " "), []).append(entry.name)
        lines = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items()]
        if plugin.error:
            lines = [f"[red]failed:[/] {plugin.error}"]
        table.add_row(plugin.name, plugin.distribution, plugin.version, "\n".join(lines))
        if traceback and plugin.traceback:
            table.add_row("", "", "", f"[dim]{plugin.traceback}[/]")
    common.out().print(table)


def _data(plugin: plugins.Plugin, traceback: bool) -> dict[str, object]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "registered": [
            {"kind": e.kind, "name": e.name, "facts": {k: str(v) for k, v in e.facts.items()}} for e in plugin.entries
        ],
        "error": plugin.error or None,
        **({"traceback": plugin.traceback} if traceback else {}),
    }
