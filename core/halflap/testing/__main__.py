"""python -m halflap.testing --device X [--json] [--only PATTERN] [--seed N]: exit code 0 if no case failed."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click
from rich.console import Console
from rich.table import Table

from halflap.device.opening import open_devices
from halflap.errors import HalflapError
from halflap.testing.cases import Result
from halflap.testing.conformance import run_all


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--device", required=True, help='Which device to check, such as "cpu" or "reference".')
@click.option("--only", default="*", help="Part of a case's name, or a pattern with * and ?.")
@click.option("--seed", default=0, show_default=True, help="Draws other shapes and numbers; a failure names its own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--all", "show_all", is_flag=True, help="List passed cases too.")
def main(device: str, only: str, seed: int, as_json: bool, show_all: bool) -> None:
    """Run the conformance cases against a device."""
    try:
        (opened,) = open_devices([device])
    except HalflapError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    try:
        results = list(run_all(opened, only, seed))
        about = opened.info.about
    finally:
        opened.close()
    failed = [result for result in results if not result.ok]
    if as_json:
        click.echo(json.dumps({"device": device, "about": about, "ok": bool(results) and not failed,
                               "results": [result.to_dict() for result in results]}))  # fmt: skip
    else:
        _print(device, about, results, show_all)
    if not results:
        click.echo(f"error: cases: got none for {only!r}, want at least one", err=True)
        sys.exit(2)
    sys.exit(1 if failed else 0)


def _print(device: str, about: str, results: list[Result], show_all: bool) -> None:
    console = Console(highlight=False)
    shown = [r for r in results if show_all or not r.ok]
    if shown:
        listing = Table(box=None, pad_edge=False)
        for column in ("case", "", "error", "detail"):
            listing.add_column(column, overflow="fold")
        for result in shown:
            error = "" if result.error is None else f"{result.error:.2g}"
            listing.add_row(result.case.name, _word(result), error, result.detail)
        console.print(listing, markup=True)
    summary = Table(box=None, pad_edge=False, title=f"{device}: {about}", title_justify="left")
    for column in ("family", "passed", "failed", "not offered", "largest error"):
        summary.add_column(column, justify="left" if column == "family" else "right")
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result.case.family, []).append(result)
    for family, group in families.items():
        counts = Counter(_word(result) for result in group)
        errors = [result.error for result in group if result.error is not None]
        worst = f"{max(errors):.2g}" if errors else ""
        summary.add_row(family, str(counts["passed"]), str(counts["failed"]), str(counts["not offered"]), worst)
    console.print(summary)


def _word(result: Result) -> str:
    return "failed" if not result.ok else "passed" if result.offered else "not offered"


if __name__ == "__main__":
    main()
