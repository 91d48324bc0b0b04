"""halflap plan: where a model would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from halflap import loading
from halflap.cli import common
from halflap.placement import Plan


@click.command("plan")
@click.argument("model", default="starter")
@common.placement_options
@common.change_options
@common.projector_option
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan for `--plan`.")
@common.as_json
def command(model: str, save: Path | None, as_json: bool, **options: Any) -> None:
    """Show where MODEL would run, before anything is allocated."""
    plan = loading.make_plan(model, common.wishes(options), common.changes(options), options.pop("mmproj"))
    if save:
        plan.save(save)
    if as_json:
        common.print_json(plan.to_dict())
    else:
        show(plan)


def show(plan: Plan) -> None:
    """The plan as a table."""
    table = Table(box=None, pad_edge=False)
    slots = any(placed.slots for placed in plan.placed)
    columns = ("device", "runs", "weights", "KV cache", *(["slots"] if slots else []), "scratch", "total", "free")
    for column in columns:
        table.add_column(column, justify="left" if column in ("device", "runs", "weights") else "right")
    for placed in plan.placed:
        weights = ", ".join(f"{common.size(n)} {form}" for form, n in placed.weights.items())
        table.add_row(
            escape(placed.device),
            _ranges(placed.segments),
            weights,
            common.size(placed.state - placed.slots),
            *([common.size(placed.slots)] if slots else []),
            common.size(placed.scratch),
            common.size(placed.total),
            common.size(placed.free),
        )
    console = common.out()
    kinds = "/".join(plan.kv_type) + (" rotated" if plan.kv_rotation else "")
    cache = (
        f"KV cache {kinds} for {plan.kv_tokens:,} tokens ({common.size(plan.kv_bytes)}), "
        f"{plan.sequences_at_full_length} full-length sequences"
    )
    console.print(f"{escape(plan.model)}: context {plan.ctx:,} tokens, {cache if plan.kv_bytes else 'no KV cache'}")
    console.print(table)
    for note in plan.notes:
        console.print(f"note: {note}", markup=False)


def _ranges(segments: tuple[str, ...]) -> str:
    """embed 0-21 head: layers by number."""
    shown: list[str] = []
    layers: list[int] = []
    for name in (*segments, ""):
        number = name.removeprefix("layer.")
        if name != number and number.isdigit():
            layers.append(int(number))
            continue
        if layers:
            shown.append(f"{layers[0]}-{layers[-1]}" if len(layers) > 1 else f"{layers[0]}")
            layers = []
        if name:
            shown.append(name)
    return " ".join(shown)
