"""Halflap: an embeddable LLM runtime whose devices, models and samplers are plugins.

    import halflap

    with halflap.load("starter") as model:
        for text in model.stream([{"role": "user", "content": "Hello"}]).text():
            print(text, end="")

Importing this package loads nothing heavy: numpy, tokenizers, jinja2 and cffi wait for `halflap.load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from halflap import errors, plugins
from halflap.errors import HalflapError
from halflap.hookspecs import hookimpl

if TYPE_CHECKING:
    from halflap.assembly import load, load_tokenizer, plan
    from halflap.engine.request import Options, Request
    from halflap.events import Event, Finish, Prefill, Progress, Reasoning, Text, Token, ToolCall
    from halflap.model import Completion, Model, Stream
    from halflap.placement import Plan
    from halflap.sampling.chain import Use
    from halflap.text.tokenizer import Tokenizer

__version__ = "0.1.0"

__all__ = [
    "Completion",
    "Event",
    "Finish",
    "HalflapError",
    "Model",
    "Options",
    "Plan",
    "Prefill",
    "Progress",
    "Reasoning",
    "Request",
    "Stream",
    "Text",
    "Token",
    "Tokenizer",
    "ToolCall",
    "Use",
    "__version__",
    "errors",
    "get_include",
    "hookimpl",
    "load",
    "load_tokenizer",
    "plan",
    "plugins",
]

_LAZY = {
    "Completion": "halflap.model",
    "Event": "halflap.events",
    "Finish": "halflap.events",
    "Model": "halflap.model",
    "Options": "halflap.engine.request",
    "Plan": "halflap.placement",
    "Prefill": "halflap.events",
    "Progress": "halflap.events",
    "Reasoning": "halflap.events",
    "Request": "halflap.engine.request",
    "Stream": "halflap.model",
    "Text": "halflap.events",
    "Token": "halflap.events",
    "Tokenizer": "halflap.text.tokenizer",
    "ToolCall": "halflap.events",
    "Use": "halflap.sampling.chain",
    "load": "halflap.assembly",
    "load_tokenizer": "halflap.assembly",
    "plan": "halflap.assembly",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a host that only lists plugins never pays for numpy (PEP 562)."""
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'halflap' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def get_include() -> str:
    """Folder that holds `halflap/abi.h`, for building a native backend."""
    return str(Path(__file__).with_name("include"))
