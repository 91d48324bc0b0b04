"""From scheduled chunks to the integer arrays of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halflap.engine.given import Rows, combined
from halflap.engine.scheduler import Chunk
from halflap.graph.step import GroupStep, SlotStep, Step


def build_step(chunks: Sequence[Chunk]) -> tuple[Step, list[Rows]]:
    """One Step for these chunks, and the rows that its ids below zero name.

    Takes the blocks that the tokens need and frees those behind every window.
    """
    held = [chunk.sequence.blocks for chunk in chunks]
    groups = list(held[0].tables) if held[0] else []
    slots = list(held[0].slots) if held[0] else []
    ids: list[int] = []
    index: list[int] = []
    rows: list[int] = []
    ends: list[int] = []
    embeds: list[Rows] = []
    seq_start = [0]
    for chunk in chunks:
        images = chunk.sequence.images
        rows += [len(ids) + place - chunk.start for place in chunk.wanted]
        own = chunk.sequence.ids[chunk.start : chunk.stop]
        images.fill(chunk.start, chunk.stop, own, embeds)
        ids += own
        index += range(chunk.start, chunk.stop)
        ends += images.span_ends(chunk.start, chunk.stop)
        seq_start.append(len(ids))
    step = Step(
        ids=_ints(ids),
        index=_ints(index),
        position=combined([chunk.sequence.images.positions(chunk.start, chunk.stop) for chunk in chunks]),
        seq_start=_ints(seq_start),
        rows=_ints(rows),
        groups={name: _group_step(chunks, name) for name in groups},
        slots={name: _slot_step(chunks, name) for name in slots},
        span_end=_ints(ends) if any(ends) else None,
    )
    return step, embeds


def _group_step(chunks: Sequence[Chunk], name: str) -> GroupStep:
    table_start, blocks, first_token, length = [0], [], [], []
    for chunk in chunks:
        assert chunk.sequence.blocks is not None
        table = chunk.sequence.blocks.tables[name]
        table.forget(chunk.start)
        table.cover(chunk.stop)
        blocks += table.blocks
        table_start.append(len(blocks))
        first_token.append(table.first_token)
        length.append(chunk.stop)
    return GroupStep(_ints(table_start), _ints(blocks), _ints(first_token), _ints(length))


def _slot_step(chunks: Sequence[Chunk], name: str) -> SlotStep:
    """State stays where it is; a sequence's first tokens find none."""
    target = [chunk.sequence.blocks.slots[name] for chunk in chunks if chunk.sequence.blocks is not None]
    source = [slot if chunk.start else -1 for slot, chunk in zip(target, chunks, strict=True)]
    return SlotStep(_ints(source), _ints(target), np.zeros((0, 2), np.int32))


def _ints(values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.asarray(values, np.int32)
