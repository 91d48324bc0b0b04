"""HTTP for Halflap: `halflap serve`."""

from __future__ import annotations

from collections.abc import Callable

import halflap


@halflap.hookimpl
def register_commands(register: Callable[..., None]) -> None:
    register("serve", "halflap_server.command:command", help="Serve models over HTTP, with a page to talk on.")


@halflap.hookimpl
def register_models(register: Callable[..., None]) -> None:
    register("hf:", "halflap_server.hub:path", about="GGUF files of the Hugging Face hub: hf:org/repo[:quant]")
