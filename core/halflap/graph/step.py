"""The few integer arrays that change from step to step.

A step feeds T tokens of S sequences and wants R rows of the result. Everything else about a model is fixed when it is
compiled. All arrays are int32 and live in one contiguous buffer, so that a step crosses an ABI or a wire as one copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

Ints = npt.NDArray[np.int32]


@frozen(eq=False)
class GroupStep:
    """Where the sequences of a step keep their rows of one blocks group.

    Attributes:
        table_start: (S+1,) slice of `blocks` that belongs to each sequence.
        blocks: block ids, in the order of the tokens they hold.
        first_token: (S,) position of the first token in the sequence's first listed block; a multiple of 32.
        length: (S,) tokens of each sequence after this step.
    """

    table_start: Ints
    blocks: Ints
    first_token: Ints
    length: Ints


@frozen(eq=False)
class SlotStep:
    """Where the sequences of a step keep their state of one slots group.

    A slot is written at most once in a step, and only the sequence that writes it may read it; `source` may equal
    `target`. So sequences are independent of each other.

    Attributes:
        source: (S,) slot that holds each sequence's state before this step; -1 reads as zero.
        target: (S,) slot that receives the state after it.
        emit: (n, 2) pairs (token of the step, slot), tokens ascending: the state after that token goes there too.
    """

    source: Ints
    target: Ints
    emit: Ints


@frozen(eq=False)
class Copy:
    """Copy one block, before anything else in the step."""

    group: str
    source: int
    target: int


@frozen(eq=False)
class Step:
    """One step of the model.

    Attributes:
        ids: (T,) token ids; -1-j means row j of the graph input "embeds".
        index: (T,) place of each token in its sequence: addressing and masks.
        position: (P, T) rotary positions; P is 1 but for multi-axis rope.
        seq_start: (S+1,) slice of the tokens that belongs to each sequence.
        rows: (R,) which of the T tokens have their result wanted.
        groups: one per blocks group of the graph, by name.
        slots: one per slots group of the graph, by name.
        span_end: (T,) the place after the last one of each token's span, within which attention may look ahead; 0
            where there is none. None: no token has one. A span never goes beyond its step.
    """

    ids: Ints
    index: Ints
    position: Ints
    seq_start: Ints
    rows: Ints
    groups: Mapping[str, GroupStep]
    copies: Sequence[Copy] = ()
    slots: Mapping[str, SlotStep] = field(factory=dict)
    span_end: Ints | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.ids)

    @property
    def n_sequences(self) -> int:
        return len(self.seq_start) - 1

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    def sizes(self) -> dict[str, int]:
        """The free sizes of the graph's shapes."""
        return {"T": self.n_tokens, "S": self.n_sequences, "R": self.n_rows}


@frozen
class Limits:
    """Bounds of the free sizes, known at compile time.

    Attributes:
        tokens: most tokens of one step (T).
        sequences: most sequences of one step (S).
        rows: most wanted rows of one step (R).
        context: most tokens of one sequence.
        blocks: group name -> KV blocks in its pool.
        kv_types: storage of K and of V rows: "f32", "f16", …
        in_flight: steps that may be under way at once.
        slots: slots group name -> slots in its pool.
    """

    tokens: int
    sequences: int
    rows: int
    context: int
    blocks: Mapping[str, int]
    kv_types: tuple[str, str] = ("f16", "f16")
    in_flight: int = 2
    slots: Mapping[str, int] = field(factory=dict)
