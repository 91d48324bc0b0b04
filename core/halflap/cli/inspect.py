"""halflap inspect: what is in a model file."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from halflap import loading
from halflap.cli import common
from halflap.weights.inspect import summary, suspicious

TEMPLATE_LINES = 8
"""Of the chat template, without --template."""
BRIEF = 100
"""Characters of a long value."""


@click.command("inspect")
@click.argument("model", default="starter")
@click.option("--strict", is_flag=True, help="List everything suspicious; exit 1 if there is anything.")
@click.option("--tensors", is_flag=True, help="List every tensor.")
@click.option("--graph", is_flag=True, help="Print the model's graph.")
@common.change_options
@click.option("--template", is_flag=True, help="Print the chat template in full.")
@common.as_json
def command(model: str, strict: bool, tensors: bool, graph: bool, template: bool, as_json: bool, **options: Any) -> int:
    """Show metadata, tensors by type and size, and the chat template of MODEL."""
    with loading.open_model(model) as file:
        data = summary(file)
        if tensors:
            data["tensor_list"] = [
                {"name": t.name, "type": t.type, "shape": list(t.shape), "bytes": t.nbytes, "note": t.note}
                for t in file.tensors.values()
            ]
        if data["chat_template"] and (template or not as_json):
            data["template"] = file.metadata["tokenizer.chat_template"]
        if graph:
            data["graph"] = loading.open_architecture(file, common.changes(options)).graph.dump()
        if strict:
            data["suspicious"] = suspicious(file)
    if as_json:
        common.print_json(data)
    else:
        _show(data, whole_template=template)
    return 1 if data.get("suspicious") else 0


def _show(data: dict[str, Any], whole_template: bool) -> None:
    console = common.out()
    bits = f", {data['bits_per_weight']:.2f} bits per weight" if data["bits_per_weight"] else ""
    console.print(
        f"{escape(str(data['name'] or data['path']))}: {escape(str(data['architecture']))}, "
        f"{data['n_parameters'] / 1e6:,.2f} M parameters{bits}, {common.size(data['file_bytes'])}"
    )
    types = Table(box=None, pad_edge=False)
    for column in ("type", "tensors", "bytes"):
        types.add_column(column, justify="left" if column == "type" else "right")
    for name, row in data["tensors"].items():
        types.add_row(name, str(row["count"]), common.size(row["bytes"]))
    console.print(types)
    longest = max(map(len, data["metadata"]), default=0)
    for key, value in data["metadata"].items():
        room = max(min(console.width - longest - 2, BRIEF), 20)
        console.print(f"{key:{longest}}  {_brief(value, room)}", markup=False)
    for tensor in data.get("tensor_list", ()):
        note = f"  ({tensor['note']})" if tensor["note"] else ""
        console.print(f"{tensor['name']}  {tensor['type']}  {tensor['shape']}{note}", markup=False)
    if data.get("template"):
        lines = data["template"].splitlines()
        shown = lines if whole_template else [line[: console.width] for line in lines[:TEMPLATE_LINES]]
        more = "" if whole_template or len(lines) <= TEMPLATE_LINES else " (--template shows all)"
        console.print(f"chat template, {len(lines)} lines{more}:")
        console.print("\n".join(shown), markup=False)
    if data.get("graph"):
        console.print(data["graph"], markup=False)
    for finding in data.get("suspicious", ()):
        console.print(f"[yellow]suspicious:[/] {escape(finding)}")
    if data.get("suspicious") == []:
        console.print("nothing suspicious")


def _brief(value: Any, room: int = BRIEF) -> str:
    if isinstance(value, dict) and {"length", "first"} <= set(value):
        value = f"{value['length']:,} of them: {', '.join(map(repr, value['first']))}, …"
    text = " ".join(str(value).split())
    return text if len(text) <= room else f"{text[: room - 1]}…"
