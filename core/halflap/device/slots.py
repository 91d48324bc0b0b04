"""State of slots groups in numpy, for devices written in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from halflap.graph.ir import StateGroup
from halflap.graph.step import Limits

F32 = npt.NDArray[np.float32]


class SlotRows:
    """One layer: (slots, elements). What the definitions of ops read and write."""

    def __init__(self, slots: int, elements: int) -> None:
        self.values = np.zeros((slots, elements), np.float32)

    def read(self, slot: int) -> F32:
        """A copy of a slot's row; slot -1 is all zero."""
        return self.values[slot].copy() if slot >= 0 else np.zeros(self.values.shape[1], np.float32)

    def write(self, slot: int, values: F32) -> None:
        self.values[slot] = values.reshape(-1)


class SlotAccess(dict[str, list[Any]]):
    """Export and import for a state that is a mapping: group -> its layers in order."""

    def export_slot(self, group: str, layer: int, slot: int) -> F32:
        values: F32 = self[group][layer].read(slot)
        return values

    def import_slot(self, group: str, layer: int, slot: int, values: F32) -> None:
        self[group][layer].write(slot, values)


def slot_layers(group: StateGroup, limits: Limits) -> list[SlotRows]:
    """The pool of a slots group: its layers in order. Empty for a blocks group."""
    if group.kind != "slots":
        return []
    return [SlotRows(limits.slots[group.name], layer.k) for layer in group.layers]
