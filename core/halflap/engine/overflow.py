"""What a sequence drops when it has grown as long as the context: tokens are computed again, never shifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Overflow = Literal["drop_oldest", "drop_middle"]


def shortened(ids: Sequence[int], length: int, how: Overflow) -> list[int]:
    """At most `length` tokens of a sequence, the newest among them; its very first token always stays.

    Args:
        how: "drop_oldest" keeps the newest; "drop_middle" as many of the oldest as of the newest.
    """
    if len(ids) <= length:
        return list(ids)
    head = 1 if how == "drop_oldest" else max(1, length // 2)
    return [*ids[:head], *ids[len(ids) - (length - head) :]]
