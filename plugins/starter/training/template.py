"""The chat template, rendered exactly as the runtime renders it: same environment, same `tojson`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from documents import Document
from jinja2.sandbox import ImmutableSandboxedEnvironment

SOURCE = Path(__file__).with_name("template.jinja").read_text(encoding="utf-8")


def _tojson(value: Any, indent: int | None = None) -> str:
    # Hugging Face's filter: plain JSON, nothing escaped for HTML.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise ValueError(message)


class Template:
    """Callable: a document (or bare messages) in, the text that the model sees out."""

    def __init__(self) -> None:
        env = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        env.filters["tojson"] = _tojson
        env.globals["raise_exception"] = _raise
        self._template = env.from_string(SOURCE)

    def __call__(self, document: Document, prompt_only: bool = False) -> str:
        """The whole conversation, or with `prompt_only` all but the last message, ready to be answered."""
        return self._template.render(
            messages=document.messages[:-1] if prompt_only else document.messages,
            tools=document.tools or None,
            add_generation_prompt=prompt_only,
            enable_thinking=document.thinking,
            bos_token="<|endoftext|>",
            eos_token="<|im_end|>",
        )
