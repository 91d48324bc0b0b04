"""halflap run: one prompt, one answer."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from halflap.assembly import load
from halflap.cli import common
from halflap.cli.progress import Waiting
from halflap.cli.words import say
from halflap.errors import InvalidRequestError
from halflap.events import Prefill, Reasoning, Text, ToolCall
from halflap.model import Model
from halflap.stream import Stream


@click.command("run")
@click.argument("prompt", required=False)
@common.model_option
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the chat template.")
@click.option("--system", help="System message before the prompt.")
@click.option("--image", multiple=True, type=click.Path(dir_okay=False, path_type=Path), help="Show a picture.")
@common.placement_options
@common.plan_file
@common.change_options
@common.beside_options
@common.sampling_options
@common.chat_options
@common.constraint_options
@common.as_json
def command(
    prompt: str | None,
    model: str,
    raw: bool,
    system: str | None,
    image: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Answer PROMPT (or what comes on stdin) and print the answer as it is written."""
    if prompt is None:
        prompt = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode("utf-8", "replace")
        if not prompt:
            raise click.UsageError("prompt: got none, want it as an argument or on stdin")
    request = {**common.request_options(options), **common.constraint(options)}
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    pictures = [{"type": "image", "image": picture(path)} for path in image]
    messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": prompt}] if image else prompt})
    adapters = common.adapters(options)
    request |= {"adapters": adapters} if adapters else {}
    with open_model(model, options, adapters) as loaded:
        for note in loaded.plan.notes:
            common.notes().print(note, style="dim", markup=False)
        with loaded.stream(prompt if raw else messages, **request) as stream:
            if as_json:
                common.print_json(stream.result().to_dict())
            else:
                show(stream)


def picture(path: Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as cause:
        what = f"--image {str(path)!r}"
        raise InvalidRequestError(what, got=cause.strerror, want="a readable file", field="image") from cause


def open_model(model: str, options: dict[str, Any], adapters: Collection[str] = ()) -> Model:
    """Place and load a model as a command's options say, with a spinner if it takes long.

    Args:
        adapters: paths, which become their names.
    """
    changed, projector = common.changes(options), options.pop("mmproj")
    template = common.chat_template(options)
    with Waiting(f"loading {model}") as waiting:
        return load(
            model,
            plan=common.plan(model, options, changed, projector, adapters),
            projector=projector,
            draft=options.pop("draft"),
            adapters={path: path for path in adapters},
            overrides=changed.overrides,
            skip_layers=changed.skip_layers,
            chat_template=template,
            progress=lambda p: waiting.update(p.done, p.total),
        )


def show(stream: Stream) -> None:
    """Print an answer as it comes: words on stdout, thinking on stderr, tool calls marked."""
    thinking = False
    with Waiting("reading the prompt") as waiting:
        for event in stream:
            if isinstance(event, Prefill):
                waiting.update(event.done, event.total)
                continue
            waiting.end()
            if isinstance(event, Reasoning):
                say(event.text, err=True, dim=True)
                thinking = True
            elif isinstance(event, Text):
                if thinking and event.text:
                    click.echo("\n", err=True)
                    thinking = False
                say(event.text)
            elif isinstance(event, ToolCall):
                say(f"\n{event.name or ''}({event.arguments})")
            sys.stdout.flush()
    click.echo()
