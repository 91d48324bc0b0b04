"""A model's words on the way to a person: on a terminal they are shown, and cannot give it orders."""

from __future__ import annotations

import sys
from typing import Final

import click

_SHOWN: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"),
}
"""Control characters (C0 but line break and tab, C1) and what turns the direction of writing, and signs for them."""


def shown(text: str) -> str:
    """Text in which nothing moves a terminal's cursor, colours it, renames it or turns what is read."""
    return text.translate(_SHOWN)


def say(text: str, *, err: bool = False, dim: bool = False) -> None:
    """Print words of a model: to a terminal as `shown`, elsewhere as they are."""
    if (sys.stderr if err else sys.stdout).isatty():
        click.echo(click.style(shown(text), dim=dim) if dim else shown(text), nl=False, err=err)
    else:
        click.echo(text, nl=False, err=err, color=True)  # which leaves escape sequences in
