"""halflap chat: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from halflap.cli import common
from halflap.cli.run import open_model, show
from halflap.engine.request import check_option
from halflap.errors import HalflapError
from halflap.model import Model
from halflap.stream import Completion, Stream

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
@common.plan_file
@common.change_options
@common.beside_options
@common.sampling_options
@common.chat_options
@common.as_json
def command(model: str, system: str | None, as_json: bool, **options: Any) -> None:
    """Talk with MODEL. With --json each answer is one JSON line."""
    request, adapters = common.request_options(options), common.adapters(options)
    request |= {"adapters": adapters} if adapters else {}
    for name, value in request.items():
        check_option(name, value)
    with open_model(model, options, adapters) as loaded:
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
                line, command = read_message("> " if sys.stdin.isatty() else "")
            except EOFError:
                return
            except KeyboardInterrupt:
                click.echo(err=True)
                continue
            try:
                if command:
                    if not self._command(line):
                        return
                elif line.strip():
                    self._messages.append({"role": "user", "content": line})
                    self._answer()
            except HalflapError as error:
                self._fail(error.to_dict())

    def _answer(self) -> None:
        """Stream an answer to the last message; Ctrl-C keeps what there is. A message that fails is taken back."""
        try:
            self._last = self._finished(self._model.stream(self._messages, **self._request))
        except HalflapError:
            self._messages.pop()
            raise
        if self._as_json:
            common.print_json(self._last.to_dict())
            sys.stdout.flush()
        self._messages.append({"role": "assistant", "content": self._last.text})

    def _finished(self, stream: Stream) -> Completion:
        try:
            if self._as_json:
                return stream.result()
            show(stream)
        except KeyboardInterrupt:
            stream.cancel()
            click.echo(" [stopped]", err=True)
        return stream.result()

    def _fail(self, error: dict[str, Any]) -> None:
        """A mistake does not end the conversation: one line, and the next message."""
        if self._as_json:
            common.print_json({"error": error})
        said = error["message"]
        if error.get("fix") and error["fix"] not in said:
            said = f"{said.rstrip('.')}. {error['fix']}"
        click.echo(f"error: {' '.join(said.split())}", err=True)

    def _note(self, text: str) -> None:
        click.echo(text, err=True)

    def _command(self, line: str) -> bool:
        """Obey a /command; False to leave."""
        name, _, rest = line[1:].partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: click.echo(HELP, err=True),
            "clear": lambda _: self._clear(),
            "system": self._system,
            "set": self._set,
            "unset": self._unset,
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
            self._mistake("command", f"'/{name}'", f"one of /{', /'.join(commands)}, /exit")
        return True

    def _mistake(self, what: str, got: object, want: str) -> None:
        self._fail({"code": "usage", "message": f"{what}: got {got}, want {want}", "fix": None})

    def _clear(self) -> None:
        self._messages = [m for m in self._messages if m["role"] == "system"]
        self._note("forgotten")

    def _system(self, text: str) -> None:
        self._messages = [{"role": "system", "content": text}] if text else []

    def _set(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals:
            self._mistake("/set", repr(text), "NAME=VALUE")
            return
        try:
            parsed: Any = json.loads(value)
        except ValueError:
            parsed = value.strip()
        check_option(name.strip(), parsed)
        self._request[name.strip()] = parsed

    def _unset(self, name: str) -> None:
        if name not in self._request:
            self._mistake("/unset", repr(name), f"one of those that are set ({', '.join(self._request) or 'none'})")
        self._request.pop(name, None)

    def _undo(self) -> None:
        while self._messages and self._messages[-1]["role"] != "system":
            message = self._messages.pop()
            if message["role"] == "user":
                self._note(f"took back {str(message['content'])[:60]!r}")
                return
        self._mistake("/undo", "no message", "one to take back")

    def _retry(self) -> None:
        if self._messages and self._messages[-1]["role"] == "assistant":
            self._messages.pop()
        if self._messages and self._messages[-1]["role"] == "user":
            self._answer()
        else:
            self._mistake("/retry", "no message", "one to answer again")

    def _save(self, path: str) -> None:
        try:
            Path(path).write_text(json.dumps(self._messages, ensure_ascii=False, indent=1))
            self._note(f"wrote {len(self._messages)} messages to {path}")
        except OSError as cause:
            self._mistake(f"file {path!r}", cause.strerror, "a path that can be written")

    def _load(self, path: str) -> None:
        try:
            messages = json.loads(Path(path).read_text())
        except (OSError, ValueError) as cause:
            self._mistake(f"file {path!r}", getattr(cause, "strerror", None) or cause, "what /save wrote")
            return
        if not isinstance(messages, list) or not all(_is_message(m) for m in messages):
            self._mistake(f"file {path!r}", "no conversation", "what /save wrote")
            return
        self._messages = messages
        self._note(f"read {len(messages)} messages")

    def _stats(self) -> None:
        if self._last is None:
            self._mistake("/stats", "no answer yet", "one")
            return
        usage, times = self._last.usage, self._last.timings
        click.echo(
            f"prompt {usage.prompt_tokens} tokens at {times.prompt_per_second:.1f}/s, "
            f"answer {usage.completion_tokens} at {times.predicted_per_second:.1f}/s",
            err=True,
        )


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def read_message(prompt: str) -> tuple[str, bool]:
    """One message from the terminal: a line, lines joined by a final backslash, or a block between triple quotes.

    Returns:
        The message, and whether it is a /command; a block never is.
    """
    line = _line(prompt)
    if line.startswith('"""'):
        lines = [line[3:]]
        while not lines[-1].endswith('"""'):
            lines.append(_line("... " if prompt else ""))
        lines[-1] = lines[-1][:-3]
        return "\n".join(lines).strip("\n"), False
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(_line("... " if prompt else ""))
    return "\n".join(lines), line.startswith("/")


def _line(prompt: str) -> str:
    if prompt and not sys.stdout.isatty():
        click.echo(prompt, nl=False, err=True)  # stdout carries only results
        prompt = ""
    return input(prompt)
