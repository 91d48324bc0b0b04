"""llama-server's slots, as far as they mean something here: places for answers under way, and what each was last about.

Sequences here own no place of their own: any request may resume behind anything computed before. A slot is therefore
only a number under which an answer can be watched, and its text saved and restored.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from halflap import Request


@define
class Slot:
    """One place.

    Attributes:
        task: number of the answer that has or had it; -1: none yet.
        request: what that answer was asked.
        said: tokens of its answer.
        lines: the answer holds a line break.
    """

    id: int
    task: int = -1
    busy: bool = False
    request: Request | None = None
    said: list[int] = field(factory=list)
    used: int = 0
    lines: bool = False

    def to_dict(self, n_ctx: int, speculative: bool) -> dict[str, Any]:
        options: Mapping[str, Any] = self.request.options if self.request else {}
        most = options.get("max_tokens")
        return {
            "id": self.id,
            "id_task": self.task,
            "n_ctx": n_ctx,
            "speculative": speculative,
            "is_processing": self.busy,
            "params": plain(options),
            "next_token": {
                "has_next_token": self.busy,
                "has_new_line": self.lines,
                "n_remain": -1 if most is None else max(most - len(self.said), 0),
                "n_decoded": len(self.said),
            },
        }


class Slots:
    """The slots of one model."""

    def __init__(self, count: int) -> None:
        self.all = [Slot(i) for i in range(count)]
        self._tasks = itertools.count()
        self._uses = itertools.count(1)

    def take(self, wished: int | None, request: Request) -> Slot | None:
        """The wished slot if it is free, else the one longest unused; None: all are busy, the answer waits unseen."""
        free = [slot for slot in self.all if not slot.busy]
        task = next(self._tasks)
        if not free:
            return None
        slot = next((slot for slot in free if slot.id == wished), min(free, key=lambda slot: slot.used))
        slot.task, slot.busy, slot.request, slot.said, slot.used = task, True, request, [], next(self._uses)
        slot.lines = False
        return slot

    def of(self, request: Request) -> int:
        """The number of the slot in which a request is answered; -1: none was free."""
        return next((slot.id for slot in self.all if slot.request is request), -1)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON can hold them."""
    return {name: _plain(value) for name, value in options.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
