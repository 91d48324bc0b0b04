"""halflap plugins: what is registered, by whom, and what failed."""

from __future__ import annotations

import click
from rich.markup import escape
from rich.table import Table

from halflap import plugins
from halflap.cli import common

MANY = 24
"""Names of one kind that are listed without --all."""


@click.command("plugins")
@click.option("--all", "everything", is_flag=True, help="List every name, also where there are many of a kind.")
@click.option("--traceback", is_flag=True, help="Show why each failed plugin failed, in full.")
@common.as_json
def command(everything: bool, traceback: bool, as_json: bool) -> None:
    """List plugins, what they registered, and what failed."""
    if as_json:
        common.print_json([_data(plugin, traceback) for plugin in plugins.plugins()])
        return
    console = common.out()
    for plugin in plugins.plugins():
        source = " ".join(filter(None, (plugin.distribution, plugin.version)))
        console.print(f"[bold]{escape(plugin.name)}[/]" + (f" ({escape(source)})" if source else ""))
        kinds: dict[str, list[str]] = {}
        for entry in plugin.entries:
            kinds.setdefault(entry.kind.replace("_", " "), []).append(entry.name)
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
        for kind, names in kinds.items():
            more = 0 if everything else max(len(names) - MANY, 0)
            listed = ", ".join(names[: len(names) - more]) + (f", and {more} more (--all)" if more else "")
            table.add_row(kind, escape(listed))
        if plugin.error:
            table.add_row("[red]failed[/]", escape(plugin.error))
        if table.row_count:
            console.print(table)
        if traceback and plugin.traceback:
            console.print(plugin.traceback, style="dim", markup=False)


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
