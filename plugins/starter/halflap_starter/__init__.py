"""Halflap's bundled model, registered as `starter`."""

from pathlib import Path

import halflap


def path() -> Path:
    """The model file, which lies beside this one."""
    return Path(__file__).with_name("starter-q8_0.gguf")


def draft() -> Path:
    """The file of the small model that guesses its next words."""
    return Path(__file__).with_name("starter-draft-q8_0.gguf")


@halflap.hookimpl
def register_models(register):
    """Offer the model by name; its file is opened only when somebody asks for it."""
    register("starter", "halflap_starter:path", about="5.3M parameters: stories, small sums, remembering, JSON, tools")
    register("starter-draft", "halflap_starter:draft", about="1.3M parameters: guesses the next words of the starter")
