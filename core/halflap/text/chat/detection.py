"""Which chat format a template speaks."""

from __future__ import annotations

from halflap import plugins
from halflap.text.chat.hermes import ChatFormat
from halflap.text.chat.template import ChatTemplate

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For files that carry no template."""


def detect(template: ChatTemplate, name: str | None = None) -> ChatFormat:
    """The named format, or the one with most of its marks in the template (ties: first name); "plain" has none.

    Raises:
        NotRegisteredError: no format of that name.
    """
    if name is None:
        scores = [
            (sum(mark in template.source for mark in entry.facts.get("detect", ())), entry.owner, entry.name)
            for entry in plugins.entries("chat_formats")
        ]
        best = max((score for score, _, _ in scores), default=0)
        winners = sorted((n, f"{owner}:{n}") for score, owner, n in scores if score == best and best > 0)
        name = winners[0][1] if winners else "plain"
    made: ChatFormat = plugins.get("chat_formats", name)(template)
    return made
