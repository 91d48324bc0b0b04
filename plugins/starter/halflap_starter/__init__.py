"""Halflap's bundled model, registered as `starter`."""

from pathlib import Path

import halflap


def path() -> Path:
    """The model file, which lies beside this one."""
    return Path(__file__).with_name("starter-q8_0.gguf")


@halflap.hookimpl
def register_models(register):
    """Offer the model by name; its file is opened only when somebody asks for it."""
    register("starter", "halflap_starter:path", about="5.3M parameters: stories, small sums, remembering, JSON, tools")
