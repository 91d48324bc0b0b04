"""Halflap's CPU device: this module only says where its library is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import halflap

NAME = "libhalflap_cpu.so"


@halflap.hookimpl
def register_backends(register: Callable[..., None]) -> None:
    register("cpu", "halflap_cpu:library", priority=0)


def library() -> Path:
    """The shared library that exports `halflap_backend`.

    Raises:
        FileNotFoundError: the package was not built.
    """
    beside = Path(__file__).with_name(NAME)
    if beside.exists():
        return beside
    # An editable install keeps built files in its build folder; its import hook knows where.
    from importlib.resources import as_file, files

    found = files(__name__).joinpath(NAME)
    with as_file(found) as path:
        if path.exists():
            return path
    raise FileNotFoundError(f"{NAME}: got none beside {__file__}, want a built package: pip install halflap-cpu")
