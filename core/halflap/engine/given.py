"""Rows that stand in a prompt where an image is: which tokens they are, where they turn, what may look ahead."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from attrs import field, frozen

Rows = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


@frozen(eq=False)
class Given:
    """One image in a sequence.

    Attributes:
        start: place of its first row in the sequence.
        rows: (N, width) what the projector made of it.
        grid: rows and columns of the image, row by row in `rows`; None: a plain run of tokens.
    """

    start: int
    rows: Rows = field(repr=False)
    grid: tuple[int, int] | None = None

    @property
    def stop(self) -> int:
        return self.start + len(self.rows)

    @cached_property
    def digest(self) -> bytes:
        """Of what the image is to the model: its rows and how they lie."""
        return hashlib.blake2b(self.rows.tobytes() + repr(self.grid).encode(), digest_size=16).digest()


@frozen(eq=False)
class Images:
    """The images of a sequence, in order.

    Attributes:
        whole: tokens of an image see each other, so a step computes all of them or none.
        axes: position axes of the model's rope; with more than one, an image's tokens turn by their row and column.
    """

    given: tuple[Given, ...] = ()
    whole: bool = False
    axes: int = 1

    def __attrs_post_init__(self) -> None:
        assert all(a.stop <= b.start for a, b in pairwise(self.given))

    def covers(self, place: int) -> bool:
        """Whether a row of an image stands here, and no token."""
        return any(image.start <= place < image.stop for image in self.given)

    def inside(self, place: int) -> bool:
        """Whether a step that begins here would part an image that must stay whole."""
        return self.whole and any(image.start < place < image.stop for image in self.given)

    def key(self, start: int, stop: int) -> bytes:
        """What stands in tokens [start, stop) beside their ids."""
        parts = [
            image.digest + (image.start - start).to_bytes(8, "little", signed=True)
            for image in self.given
            if image.start < stop and start < image.stop
        ]
        return b"".join(parts)

    def cut(self, start: int, stop: int) -> int:
        """The last place up to `stop` at which a step that begins at `start` may end."""
        if self.whole:
            for image in self.given:
                if image.start < stop < image.stop:
                    return max(image.start, start)
        return stop

    def fill(self, start: int, stop: int, ids: list[int], embeds: list[Rows]) -> None:
        """Replace the ids of tokens [start, stop) that are rows of images, and append these rows."""
        for image in self.given:
            first, end = max(start, image.start), min(stop, image.stop)
            if first < end:
                before = sum(map(len, embeds))
                ids[first - start : end - start] = [-1 - before - j for j in range(end - first)]
                embeds.append(image.rows[first - image.start : end - image.start])

    def span_ends(self, start: int, stop: int) -> list[int]:
        """For each token of [start, stop) the end of the image that it is in, or 0."""
        ends = [0] * (stop - start)
        if self.whole:
            for image in self.given:
                for place in range(max(start, image.start), min(stop, image.stop)):
                    ends[place - start] = image.stop
        return ends

    def positions(self, start: int, stop: int) -> Ints:
        """Rotary positions (axes, stop - start): time, row, column (Qwen2-VL's M-RoPE, Wang et al. 2024)."""
        places = np.arange(start, stop, dtype=np.int32)
        turned = np.broadcast_to(places, (self.axes, len(places))).copy()
        if self.axes == 1:
            return turned
        saved = 0  # an image takes as many positions as its longer side
        for image in self.given:
            if image.grid is None or image.start >= stop:
                continue
            height, width = image.grid
            first = image.start - saved
            inside = (places >= image.start) & (places < image.stop)
            at = places[inside] - image.start
            turned[:, inside] = first
            turned[1, inside] = first + at // width
            turned[2, inside] = first + at % width
            saved += height * width - max(height, width)
            turned[:, places >= image.stop] = places[places >= image.stop] - saved
        return turned


NO_IMAGES = Images()


def combined(parts: Sequence[Ints]) -> Ints:
    """Positions of several sequences side by side; those with one axis repeat it."""
    axes = max(len(part) for part in parts)
    return np.concatenate([np.broadcast_to(part, (axes, part.shape[1])) for part in parts], axis=1)
