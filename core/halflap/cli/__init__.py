"""The shell: one file per command. stdout carries only results; progress, notes and errors go to stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from halflap import __version__, plugins
from halflap.errors import HalflapError, NotRegisteredError, UsageError


class _ReaderLeftError(Exception):
    """Whoever read stdout is gone, as `head` is after its lines."""


class Commands(click.Group):
    """Commands come from plugins, core's own included; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return plugins.names("commands")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            command: click.Command = plugins.get("commands", cmd_name)
        except NotRegisteredError as error:
            raise click.UsageError(str(error)) from None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise _ReaderLeftError from error  # click would make it exit code 1
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(entry.name, str(entry.facts.get("help", ""))) for entry in plugins.entries("commands")]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))


@click.group(cls=Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="halflap")
@click.pass_context
def halflap(context: click.Context) -> None:
    """Run language models on this machine's devices."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Entry point: a mistake is one line on stderr and exit code 2, a model's or device's fault exit code 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = halflap.main(arguments, prog_name="halflap", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "halflap"
        _fail({"code": "usage", "message": _said(error), "fix": f"See `{usage} --help`."}, 2, arguments)
    except HalflapError as error:
        _fail(error.to_dict(), 2 if isinstance(error, UsageError) else 1, arguments)
    except _ReaderLeftError:  # nothing more to say, and nowhere to flush to at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _said(error: click.ClickException) -> str:
    """Click's message in the one form in which Halflap speaks."""
    if isinstance(error, click.NoSuchOption):
        near = f", such as {', '.join(sorted(error.possibilities))}" if error.possibilities else ""
        return f"option: got {error.option_name!r}, want one that the command has{near}"
    return error.format_message()


def _fail(error: dict[str, Any], code: int, arguments: list[str]) -> None:
    if "--json" in arguments:
        click.echo(json.dumps({"error": error}))
    message = error["message"]
    if error["fix"] and error["fix"] not in message:
        message = f"{message.rstrip('.')}. {error['fix']}"
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)
