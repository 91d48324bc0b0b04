"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from halflap import placement
from halflap.errors import InvalidRequestError, PlanError
from halflap.placement import Wishes

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def out() -> Console:
    """Results for people."""
    return Console(highlight=False, soft_wrap=True)


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
    click.option("--kv-type", help="Storage of the KV cache: f16, or K,V as f16,f32."),
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

SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "seed")


def wishes(options: dict[str, Any]) -> Wishes:
    """Takes the placement options out of a command's arguments.

    Raises:
        PlanError: names the option and the character that cannot stand there.
    """
    text = options.pop("devices")
    devices = tuple(part.strip() for part in text.split(",")) if text else ()
    if text:
        _check_devices(text)
    count = len(devices) or 1
    split = options.pop("tensor_split")
    caps, layers = options.pop("caps"), options.pop("layers")
    kinds = (options.pop("kv_type") or "f16").split(",")
    if len(kinds) > 2:
        raise PlanError("--kv-type", got=f"{len(kinds)} types", want="one, or one for K and one for V")
    return Wishes(
        devices=devices,
        split=placement.parse_numbers("--tensor-split", split, count) if split else (),
        caps=tuple(int(n) for n in placement.parse_numbers("--caps", caps, count)) if caps else (),
        layers=tuple(int(n) for n in placement.parse_numbers("--layers", layers, count)) if layers else (),
        pins=dict(_pair("--pin", pin) for pin in options.pop("pin")),
        ctx=options.pop("ctx"),
        kv_type=(kinds[0], kinds[-1]),
        threads=options.pop("threads"),
    )


def request_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the sampling options out of a command's arguments."""
    chosen = {name: value for name in SAMPLING if (value := options.pop(name)) is not None}
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


def _pair(option: str, text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals or not left or not right:
        raise InvalidRequestError(option, got=repr(text), want="two parts around '='", field=option)
    return left.strip(), right.strip()


def _check_devices(text: str) -> None:
    for place, char in enumerate(text):
        if not (char.isascii() and (char.isalnum() or char in ",:/._-[]@ ")):
            raise PlanError(
                "--devices", got=f"{char!r} at character {place + 1}", want="names between commas", char=place
            )
    if any(not part.strip() for part in text.split(",")):
        raise PlanError("--devices", got=repr(text), want="a name between commas", char=text.find(",,") + 1)
