"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from halflap import loading, placement
from halflap.architectures.changes import NO_CHANGES, Changes, parse_override
from halflap.errors import InvalidRequestError, PlanError
from halflap.placement import Plan, Wishes

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


UNWRAPPED = 1000
"""Columns of a result that goes to a pipe or a file: a line stays a line, for grep."""


class Results(Console):
    """A console that leaves it to `main` when the reader of stdout has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def out() -> Console:
    """Results for people: as wide as the terminal, unwrapped elsewhere."""
    return Results(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else UNWRAPPED)


def notes() -> Console:
    """Progress and remarks, on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else list(value) if hasattr(value, "__iter__") else str(value)


def size(count: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def together(*decorators: Decorator) -> Decorator:
    """Several decorators as one, in the order they are written."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


model_option = click.option("-m", "--model", default="starter", show_default=True, help="Name or path of a model.")

placement_options = together(
    click.option("--devices", help="Devices in order, such as cpu or cpu,cuda:0."),
    click.option("-ts", "--tensor-split", help="Share of the layers per device, such as 63,37."),
    click.option("--caps", help="Most bytes per device, such as 2e9,8e9 written out: 2000000000,8000000000."),
    click.option("--layers", help="Layers per device, counted from the first."),
    click.option("--pin", multiple=True, metavar="PATTERN=DEVICE", help="Put matching tensors on a device."),
    click.option("-c", "--ctx", type=click.IntRange(1), help="Most tokens of one sequence."),
    click.option("--kv-type", help="Storage of the KV cache: f32, f16, bf16, q8_0, q4_0; or K,V as q8_0,f16."),
    click.option("--kv-rotation/--no-kv-rotation", default=None, help="Store K and V rotated; default: if quantised."),
    click.option("-t", "--threads", type=click.IntRange(1, 1024), help="CPU threads."),
)

sampling_options = together(
    click.option("-n", "--max-tokens", type=int, help="Most tokens to generate."),
    click.option("--temp", "temperature", type=float, help="Temperature; 0 is greedy."),
    click.option("--top-k", type=int),
    click.option("--top-p", type=float),
    click.option("--min-p", type=float),
    click.option("--seed", type=int, help="The same seed gives the same answer."),
    click.option("--stop", multiple=True, help="End the answer where this text appears."),
    click.option("-o", "--option", multiple=True, metavar="NAME=VALUE", help="Any other request option; JSON or text."),
)

constraint_options = together(
    click.option("--json-schema", metavar="FILE|TEXT", help="Answer with JSON that fits this schema."),
    click.option("--grammar", metavar="FILE|TEXT", help="Answer with text that fits this grammar, GBNF or Lark."),
    click.option(
        "--grammar-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, always from a file."
    ),
    click.option("--regex", help="Answer with text that this regular expression matches from end to end."),
)

chat_options = together(
    click.option(
        "--chat-template", metavar="NAME|TEXT", help="Another chat template: chatml, llama3, … or Jinja text."
    ),
    click.option(
        "--chat-template-file", type=click.Path(dir_okay=False, path_type=Path), help="The same, from a file."
    ),
    click.option("--reasoning", type=click.Choice(["on", "off", "auto"]), help="Have the model think first, or not."),
    click.option("--reasoning-budget", type=int, help="Tokens of thought; -1: as many as it likes."),
    click.option("--reasoning-effort", help="How hard to think, for models that ask: low, medium, high."),
)

change_options = together(
    click.option(
        "--override-kv", multiple=True, metavar="KEY=TYPE:VALUE", help="Read metadata otherwise; int, float, bool, str."
    ),
    click.option("--skip-layers", help="Layers to leave out, counted from 0, such as 3,4."),
)


def changes(options: dict[str, Any]) -> Changes:
    """Takes --override-kv and --skip-layers out of a command's arguments.

    Raises:
        InvalidRequestError: names the part that is wrong.
    """
    skipped = options.pop("skip_layers")
    parts = skipped.split(",") if skipped else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidRequestError(
            "--skip-layers", got=repr(skipped), want="whole numbers between commas", field="skip_layers"
        )
    layers = tuple(map(int, parts))
    return Changes(dict(map(parse_override, options.pop("override_kv"))), layers)


projector_option = click.option(
    "-mm", "--mmproj", type=click.Path(path_type=Path), help="File of the model's image projector."
)

beside_options = together(
    projector_option,
    click.option("-md", "--draft", help="Guess ahead: lookup, or a smaller model with the same vocabulary."),
    click.option("--lora", multiple=True, metavar="FILE[:SCALE]", help="A LoRA adapter; the scale is 1 unless given."),
)

plan_file = click.option(
    "--plan", type=click.Path(path_type=Path), help="A plan that `halflap plan --save` wrote; instead of placing anew."
)

PLACEMENT = ("devices", "tensor_split", "caps", "layers", "pin", "ctx", "kv_type", "kv_rotation", "threads")
SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed")
REASONING = ("reasoning", "reasoning_budget", "reasoning_effort")


def wishes(options: dict[str, Any]) -> Wishes:
    """Takes the placement options out of a command's arguments.

    Raises:
        PlanError: names the option and the character that cannot stand there.
    """
    devices = device_names(options.pop("devices"))
    count = len(devices) or 1
    split = options.pop("tensor_split")
    caps, layers = options.pop("caps"), options.pop("layers")
    kinds = (options.pop("kv_type") or "f16").split(",")
    if len(kinds) > 2:
        raise PlanError("--kv-type", got=f"{len(kinds)} types", want="one, or one for K and one for V")
    return Wishes(
        devices=devices,
        split=placement.parse_numbers("--tensor-split", split, count) if split else (),
        caps=placement.parse_integers("--caps", caps, count) if caps else (),
        layers=placement.parse_integers("--layers", layers, count) if layers else (),
        pins=dict(_pair("--pin", pin) for pin in options.pop("pin")),
        ctx=options.pop("ctx"),
        kv_type=(kinds[0], kinds[-1]),
        kv_rotation=options.pop("kv_rotation"),
        threads=options.pop("threads"),
    )


def plan(
    model: str,
    options: dict[str, Any],
    changed: Changes = NO_CHANGES,
    projector: Path | None = None,
    adapters: Iterable[str] = (),
) -> Plan:
    """Takes the placement options, or --plan instead of them, out of a command's arguments.

    Raises:
        PlanError: both are given, or either is wrong.
    """
    saved = options.pop("plan")
    asked = sorted(name for name in PLACEMENT if options[name] not in (None, (), ""))
    wished = wishes(options)
    if saved is None:
        return loading.make_plan(model, wished, changed, projector, {path: path for path in adapters})
    if asked:
        raise PlanError(
            "--plan", got=f"--{asked[0].replace('_', '-')} beside it", want="one of them", fix="The plan has it all."
        )
    return Plan.read(saved)


def request_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options of requests out of a command's arguments."""
    chosen = {name: value for name in (*SAMPLING, *REASONING) if (value := options.pop(name)) is not None}
    stop = options.pop("stop")
    if stop:
        chosen["stop"] = list(stop)
    for text in options.pop("option"):
        name, value = _pair("--option", text)
        try:
            chosen[name] = json.loads(value)
        except ValueError:
            chosen[name] = value
    return chosen


def constraint(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the options that constrain the answer out of a command's arguments.

    Raises:
        InvalidRequestError: a file that cannot be read, or two grammars.
    """
    schema, grammar, path, regex = (options.pop(n) for n in ("json_schema", "grammar", "grammar_file", "regex"))
    if grammar is not None and path is not None:
        want = "one of them"
        raise InvalidRequestError("grammar", got="--grammar and --grammar-file", want=want, field="grammar")
    if path is not None:
        grammar = _file(path, "--grammar-file")
    elif grammar is not None:
        grammar = _text_or_file(grammar, "--grammar")
    if schema is not None:
        schema = _text_or_file(schema, "--json-schema")
    chosen = {"json_schema": schema, "grammar": grammar, "regex": regex}
    return {name: value for name, value in chosen.items() if value is not None}


def chat_template(options: dict[str, Any]) -> str | None:
    """Takes --chat-template and --chat-template-file out of a command's arguments.

    Raises:
        InvalidRequestError: both are given, or a file that cannot be read.
    """
    template: str | None = options.pop("chat_template", None)
    path: Path | None = options.pop("chat_template_file", None)
    if template is not None and path is not None:
        got, want = "--chat-template and --chat-template-file", "one of them"
        raise InvalidRequestError("chat template", got=got, want=want, field="chat_template")
    return template if path is None else _file(path, "--chat-template-file")


def _text_or_file(value: str, option: str) -> str:
    """The text of a file of that name, if there is one; else the value itself."""
    try:
        found = Path(value).is_file()
    except (OSError, ValueError):  # too long for a name
        found = False
    return _file(Path(value), option) if found else value


def _file(path: Path, option: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeError) as cause:
        got = f"{str(path)!r}: {cause}"
        raise InvalidRequestError(option, got=got, want="a file of UTF-8 text", field=option) from cause


def adapters(options: dict[str, Any]) -> dict[str, float]:
    """Takes --lora out of a command's arguments: path -> scale."""
    found = {}
    for text in options.pop("lora"):
        path, colon, scale = text.rpartition(":")
        try:
            found[path if colon else text] = float(scale) if colon else 1.0
        except ValueError:  # a colon of the path's own
            found[text] = 1.0
    return found


def _pair(option: str, text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals or not left or not right:
        raise InvalidRequestError(option, got=repr(text), want="two parts around '='", field=option)
    return left.strip(), right.strip()


def device_names(text: str | None) -> tuple[str, ...]:
    """Names between commas, strictly; none: ().

    Raises:
        PlanError: names the first character that cannot stand there.
    """
    if text is None:
        return ()
    for place, char in enumerate(text):
        if not (char.isascii() and (char.isalnum() or char in ",:/._-[]@ ")):
            raise PlanError(
                "--devices", got=f"{char!r} at character {place + 1}", want="names between commas", char=place
            )
    parts = text.split(",")
    for index, part in enumerate(parts):
        if not part.strip():
            place = len(",".join(parts[:index])) + (index > 0)
            raise PlanError(
                "--devices", got=f"nothing at character {place + 1}", want="names between commas", char=place
            )
    return tuple(part.strip() for part in parts)
