"""What every part of the generator makes: one conversation, and how it is put together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass
class Document:
    """One conversation in OpenAI's form; its last assistant message is the answer that a check expects."""

    kind: str
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)
    thinking: bool = False
    hero: str = ""  # whom a story must keep to its end


def ask(question: str, answer: str, thoughts: str | None = None) -> list[Message]:
    """One exchange; with `thoughts`, the answer was reasoned out first."""
    reply: Message = {"role": "assistant", "content": answer}
    if thoughts:
        reply["reasoning_content"] = thoughts
    return [{"role": "user", "content": question}, reply]


def system(text: str | None) -> list[Message]:
    """The system message, or none."""
    return [{"role": "system", "content": text}] if text else []


def dumps(value: Any) -> str:
    """JSON on one line, every letter as itself."""
    return json.dumps(value, ensure_ascii=False)
