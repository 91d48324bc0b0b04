"""From scheduled chunks to the integer arrays of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halflap.engine.given import Rows, combined
from halflap.engine.scheduler import Chunk
from halflap.engine.work import Work
from halflap.graph.step import GroupStep, SlotStep, Step


def build_step(chunks: Sequence[Chunk]) -> tuple[Step, list[Rows]]:
    """One Step for these chunks, whose blocks are in place, and the rows that its ids below zero name."""
    held = chunks[0].sequence.blocks
    ids: list[int] = []
    index: list[int] = []
    rows: list[int] = []
    ends: list[int] = []
    embeds: list[Rows] = []
    seq_start = [0]
    for chunk in chunks:
        images = chunk.sequence.images
        rows += [len(ids) + place - chunk.start for place in chunk.wanted]
        own = [*chunk.sequence.ids[chunk.start : chunk.stop], *chunk.draft]
        images.fill(chunk.start, chunk.stop, own, embeds)
        ids += own
        index += range(chunk.start, chunk.end)
        ends += images.span_ends(chunk.start, chunk.end)
        seq_start.append(len(ids))
    step = Step(
        ids=_ints(ids),
        index=_ints(index),
        position=combined([chunk.sequence.images.positions(chunk.start, chunk.end) for chunk in chunks]),
        seq_start=_ints(seq_start),
        rows=_ints(rows),
        groups={name: _group_step(chunks, name) for name in (held.tables if held else ())}
        | {name: _source_step([chunk.sequence for chunk in chunks], name) for name in (held.source if held else ())},
        slots={name: _slot_step(chunks, name, seq_start) for name in (held.slots if held else ())},
        span_end=_ints(ends) if any(ends) else None,
    )
    return step, embeds


def build_source_step(works: Sequence[Work]) -> Step:
    """One Step in which an encoder reads the source texts of these sequences, whole."""
    held = [work.blocks for work in works if work.blocks is not None]
    seq_start = np.cumsum([0, *(len(work.source) for work in works)])
    index = np.concatenate([np.arange(len(work.source)) for work in works])
    none = GroupStep(*(_ints([0] * n) for n in (len(works) + 1, 0, len(works), len(works))))
    slots = {
        name: SlotStep(
            _ints([b.sources[name] for b in held]), _ints([b.slots[name] for b in held]), np.zeros((0, 2), np.int32)
        )
        for name in held[0].slots
    }
    return Step(
        ids=_ints([token for work in works for token in work.source]),
        index=_ints(index),
        position=_ints(index)[None],
        seq_start=_ints(seq_start),
        rows=_ints([]),
        groups=dict.fromkeys(held[0].tables, none) | {name: _source_step(works, name) for name in held[0].source},
        slots=slots,
    )


def _source_step(works: Sequence[Work], name: str) -> GroupStep:
    """Where the rows of source texts lie."""
    blocks = [work.blocks.source[name] for work in works if work.blocks is not None]
    table_start = np.cumsum([0, *map(len, blocks)])
    lengths = [len(work.source) for work in works]
    return GroupStep(
        _ints(table_start), _ints([block for held in blocks for block in held]), _ints([0] * len(works)), _ints(lengths)
    )


def _group_step(chunks: Sequence[Chunk], name: str) -> GroupStep:
    table_start, blocks, first_token, length = [0], [], [], []
    for chunk in chunks:
        assert chunk.sequence.blocks is not None
        table = chunk.sequence.blocks.tables[name]
        blocks += table.blocks
        table_start.append(len(blocks))
        first_token.append(table.first_token)
        length.append(chunk.end)
    return GroupStep(_ints(table_start), _ints(blocks), _ints(first_token), _ints(length))


def _slot_step(chunks: Sequence[Chunk], name: str, seq_start: Sequence[int]) -> SlotStep:
    """From where each sequence's state is to where it will be, and copies of it on the way."""
    source, target, emit = [], [], []
    for chunk, first in zip(chunks, seq_start, strict=False):
        blocks = chunk.sequence.blocks
        assert blocks is not None
        source.append(blocks.sources[name])
        target.append(blocks.slots[name])
        for (place, group), slot in sorted(blocks.snapshots.items()):
            if group == name:
                emit.append((first + place - 1 - chunk.start, slot))
    return SlotStep(_ints(source), _ints(target), _ints(emit).reshape(-1, 2))


def _ints(values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.asarray(values, np.int32)
