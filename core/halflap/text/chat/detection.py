"""Which chat format a template speaks."""

from __future__ import annotations

from halflap import plugins
from halflap.text.chat.contract import ChatFormat
from halflap.text.chat.template import ChatTemplate

PLAIN = "plain"


def detected(source: str) -> str:
    """Name of the format with most of its marks in a template (ties: first name); "plain" has none."""
    scores = [
        (sum(mark in source for mark in entry.facts.get("detect", ())), entry.owner, entry.name)
        for entry in plugins.entries("chat_formats")
    ]
    best = max((score for score, _, _ in scores), default=0)
    winners = sorted((name, f"{owner}:{name}") for score, owner, name in scores if score == best and best > 0)
    return winners[0][1] if winners else PLAIN


def detect(template: ChatTemplate, name: str | None = None) -> ChatFormat:
    """The named format, or the detected one, made for a template.

    Raises:
        NotRegisteredError: no format of that name.
    """
    made: ChatFormat = plugins.get("chat_formats", name or detected(template.source))(template)
    return made
