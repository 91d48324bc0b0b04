"""The extension "candidates" of `abi.h`: the few highest of many rows of logits, in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from halflap.device._abi import ffi
from halflap.device.interface import Array
from halflap.graph.candidates import Ask, Edits, Highest


class NativeCandidates:
    """See `halflap.device.interface.Candidates`. Keeps its arrays from call to call.

    Args:
        call: takes a filled `hl_candidates`, raises what its status says.
    """

    def __init__(self, call: Callable[[Any], None]) -> None:
        self._call, self._room, self._width = call, 0, 0
        self._asks = ffi.new("hl_candidates *")
        self._asks.struct_size = ffi.sizeof("hl_candidates")

    def __call__(self, logits: Array, asks: Sequence[tuple[int, Ask]]) -> list[Highest]:
        if not asks:
            return []
        n, native, vocab = len(asks), self._asks, logits.shape[1]
        width = min(max(ask.count for _, ask in asks), vocab)
        if n > self._room or width > self._width:
            self._make_room(max(n, self._room), max(width, self._width))
        logits = np.ascontiguousarray(logits, np.float32)
        keep: list[Any] = [ffi.from_buffer("float[]", logits)]
        native.logits, native.n_rows, native.vocab, native.n_asks = keep[0], len(logits), vocab, n
        edits: list[Edits] = []
        masks, total = ffi.NULL, 0
        for place, (row, ask) in enumerate(asks):
            self._row[place], self._count[place] = row, min(ask.count, vocab)
            self._temperature[place] = ask.temperature
            for part in ask.edits:
                edits.append(part)
                total += len(part.ids)
            self._edit_start[place + 1] = total
            if ask.mask is not None:
                if masks == ffi.NULL:
                    masks = ffi.new("uint8_t *[]", n)
                keep.append(_mask(ask.mask, vocab))
                masks[place] = keep[-1]
        native.masks = masks
        if edits:
            self._take_edits(edits, keep)
        self._call(native)
        return [self._told(place, ask, vocab) for place, (_, ask) in enumerate(asks)]

    def _take_edits(self, edits: Sequence[Edits], keep: list[Any]) -> None:
        native = self._asks
        for name in ("ids", "bias", "repeat", "offset"):
            parts = [getattr(part, name) for part in edits]
            kind = np.int32 if name == "ids" else np.float32
            whole = np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts), kind)
            keep.append(ffi.from_buffer("int32_t[]" if name == "ids" else "float[]", whole))
            setattr(native, "edit_id" if name == "ids" else f"edit_{name}", keep[-1])

    def _told(self, place: int, ask: Ask, vocab: int) -> Highest:
        found, nans = int(self._found[place]), int(self._nans[place])
        sums = self._log_sums[place].tolist() if ask.temperature else (np.nan, np.nan)
        ids, logits = self._ids[place, :found].copy(), self._values[place, :found].copy()
        return Highest(ids, logits, found == vocab, sums[0], sums[1], nans)

    def _make_room(self, asks: int, width: int) -> None:
        """Arrays for so many, and the pointers to them."""
        self._room, self._width, native = asks, width, self._asks
        self._row, self._count = np.zeros(asks, np.int32), np.zeros(asks, np.int32)
        self._temperature, self._edit_start = np.zeros(asks, np.float32), np.zeros(asks + 1, np.int32)
        self._ids, self._values = np.zeros((asks, width), np.int32), np.zeros((asks, width), np.float32)
        self._found, self._nans = np.zeros(asks, np.int32), np.zeros(asks, np.int64)
        self._log_sums = np.zeros((asks, 2))
        self._pointers = [
            (field, ffi.from_buffer(f"{kind}[]", array))
            for field, kind, array in (
                ("row", "int32_t", self._row),
                ("count", "int32_t", self._count),
                ("temperature", "float", self._temperature),
                ("edit_start", "int32_t", self._edit_start),
                ("ids", "int32_t", self._ids),
                ("values", "float", self._values),
                ("found", "int32_t", self._found),
                ("log_sums", "double", self._log_sums),
                ("nans", "int64_t", self._nans),
            )
        ]
        for field, pointer in self._pointers:
            setattr(native, field, pointer)
        native.width = width


def _mask(mask: Array, vocab: int) -> Any:
    if mask.dtype != np.uint8 or mask.ndim != 1 or 8 * len(mask) < vocab:
        raise ValueError(f"mask: got {mask.dtype} {mask.shape}, want uint8 with a bit for each of {vocab} tokens")
    return ffi.from_buffer("uint8_t[]", np.ascontiguousarray(mask))
