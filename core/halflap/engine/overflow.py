"""What a sequence drops when it has grown as long as the context: tokens are computed again, never shifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Overflow = Literal["drop_oldest", "drop_middle"]


LEAST = 4
"""Tokens of the newest that stay, however many of the oldest are to."""


def shortened(ids: Sequence[int], limit: int, how: Overflow, keep: int = 0) -> list[int]:
    """Half of the tokens that a sequence may have, the newest among them, beside those of its beginning that stay.

    Args:
        how: "drop_oldest" keeps the newest; "drop_middle" as many of the oldest as of the newest.
        keep: tokens of the beginning that stay; the very first always does.
    """
    keep = min(keep, max(limit - LEAST, 0))
    length = max(keep + (limit - keep) // 2, 1)
    if len(ids) <= length:
        return list(ids)
    head = max(1, keep, length // 2 if how == "drop_middle" else 0)
    return [*ids[:head], *ids[len(ids) - (length - head) :]]
