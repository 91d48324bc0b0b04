"""halflap chat: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from halflap import loading
from halflap.cli import common
from halflap.cli.run import show
from halflap.engine.request import check_option
from halflap.errors import HalflapError
from halflap.model import Model, load
from halflap.stream import Completion

HELP = """\
/help               this list
/clear              forget the conversation
/system TEXT        set the system message and start anew
/set NAME=VALUE     set a request option, such as /set temperature=0.2
/unset NAME         back to the default
/retry              answer the last message again
/undo               take back the last message and its answer
/save FILE          write the conversation as JSON
/load FILE          read one
/stats              speed and length of the last answer
/exit               leave (so does Ctrl-D)
A line that ends in \\ goes on in the next; \"\"\" begins and ends a block. Ctrl-C stops an answer."""


@click.command("chat")
@click.argument("model", default="starter")
@click.option("--system", help="System message.")
@common.placement_options
@common.sampling_options
@common.as_json
def command(model: str, system: str | None, as_json: bool, **options: Any) -> None:
    """Talk with MODEL. With --json each answer is one JSON line."""
    wishes, request = common.wishes(options), common.request_options(options)
    with load(model, plan=loading.make_plan(model, wishes)) as loaded:
        chat = Chat(loaded, request, system, as_json)
        if sys.stdin.isatty():
            click.echo(f"{loaded.info.name}: /help for commands, Ctrl-D to leave", err=True)
        chat.loop()


class Chat:
    """One conversation.

    Args:
        request: options of every answer, changed by /set.
    """

    def __init__(self, model: Model, request: dict[str, Any], system: str | None, as_json: bool) -> None:
        self._model, self._request, self._as_json = model, request, as_json
        self._messages: list[dict[str, Any]] = []
        self._last: Completion | None = None
        if system:
            self._system(system)

    def loop(self) -> None:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() history and editing
        while True:
            try:
                line = read_message("> " if sys.stdin.isatty() else "")
            except EOFError:
                return
            except KeyboardInterrupt:
                click.echo(err=True)
                continue
            try:
                if line.startswith("/"):
                    if not self._command(line):
                        return
                elif line.strip():
                    self._messages.append({"role": "user", "content": line})
                    self._answer()
            except HalflapError as error:
                click.echo(f"error: {error}", err=True)

    def _answer(self) -> None:
        """Stream an answer to the last message; Ctrl-C keeps what there is."""
        try:
            stream = self._model.stream(self._messages, **self._request)
        except HalflapError:
            self._messages.pop()
            raise
        try:
            if not self._as_json:
                show(stream)
        except KeyboardInterrupt:
            stream.cancel()
            click.echo(" [stopped]", err=True)
        self._last = stream.result()
        if self._as_json:
            common.print_json(self._last.to_dict())
        self._messages.append({"role": "assistant", "content": self._last.text})

    def _command(self, line: str) -> bool:
        """Obey a /command; False to leave."""
        name, _, rest = line[1:].partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: click.echo(HELP, err=True),
            "clear": lambda _: self._clear(),
            "system": self._system,
            "set": self._set,
            "unset": lambda key: self._request.pop(key.strip(), None),
            "retry": lambda _: self._retry(),
            "undo": lambda _: self._undo(),
            "save": self._save,
            "load": self._load,
            "stats": lambda _: self._stats(),
        }
        if name in ("exit", "quit", "bye"):
            return False
        if name in commands:
            commands[name](rest.strip())
        else:
            click.echo(f"error: command: got '/{name}', want one of /{', /'.join(commands)}, /exit", err=True)
        return True

    def _clear(self) -> None:
        self._messages = [m for m in self._messages if m["role"] == "system"]

    def _system(self, text: str) -> None:
        self._messages = [{"role": "system", "content": text}] if text else []

    def _set(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals:
            click.echo("error: /set: got no '=', want NAME=VALUE", err=True)
            return
        try:
            parsed: Any = json.loads(value)
        except ValueError:
            parsed = value.strip()
        check_option(name.strip(), parsed)
        self._request[name.strip()] = parsed

    def _undo(self) -> None:
        while self._messages and self._messages[-1]["role"] != "system":
            if self._messages.pop()["role"] == "user":
                return

    def _retry(self) -> None:
        if self._messages and self._messages[-1]["role"] == "assistant":
            self._messages.pop()
        if self._messages and self._messages[-1]["role"] == "user":
            self._answer()

    def _save(self, path: str) -> None:
        try:
            Path(path).write_text(json.dumps(self._messages, ensure_ascii=False, indent=1))
        except OSError as cause:
            click.echo(f"error: file {path!r}: got {cause.strerror}, want a path that can be written", err=True)

    def _load(self, path: str) -> None:
        try:
            messages = json.loads(Path(path).read_text())
            assert isinstance(messages, list)
            assert all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages)
            self._messages = messages
        except (OSError, ValueError, AssertionError) as cause:
            click.echo(f"error: file {path!r}: got {cause or 'no conversation'}, want what /save wrote", err=True)

    def _stats(self) -> None:
        if self._last is None:
            return
        usage, times = self._last.usage, self._last.timings
        click.echo(
            f"prompt {usage.prompt_tokens} tokens at {times.prompt_per_second:.1f}/s, "
            f"answer {usage.completion_tokens} at {times.predicted_per_second:.1f}/s",
            err=True,
        )


def read_message(prompt: str) -> str:
    """One message from the terminal: a line, lines joined by a final backslash, or a block between triple quotes."""
    line = input(prompt)
    if line.startswith('"""'):
        lines = [line[3:]]
        while not lines[-1].endswith('"""'):
            lines.append(input("... " if prompt else ""))
        lines[-1] = lines[-1][:-3]
        return "\n".join(lines).strip("\n")
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("... " if prompt else ""))
    return "\n".join(lines)
