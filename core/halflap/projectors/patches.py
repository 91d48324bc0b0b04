"""An image as a graph takes it: patches as tokens, in the order in which neighbours are merged."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from attrs import frozen

from halflap.errors import InvalidRequestError, ModelFormatError

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]


@frozen(eq=False)
class Arranged:
    """One image, ready to be one sequence of a step.

    Attributes:
        patches: (T, 3·p·p), each patch by channel, then row, then column.
        position: (P, T) where each token lies on the axes of rope; one axis of zeros where there is no rope.
        index: (T,) row of each token in a learned position table, where the graph looks it up itself.
        rows: (R,) which tokens give the rows of the image; with merging, only their number counts.
        grid: rows and columns of those R rows.
        added: (T, E) what the graph adds to the embedded patches, where the host works out the positions; else None.
        ids: (T,) as of a step: -1-t is the token's own patch, 0 the tower's class token.
    """

    patches: F32
    position: I32
    index: I32
    rows: I32
    grid: tuple[int, int]
    added: F32 | None = None
    ids: I32 | None = None


def cells(pixels: F32, patch: int, merge: int) -> tuple[F32, I32, I32]:
    """Cut an image into patches, cell by cell of merge · merge patches, rows before columns in and over the cells.

    Args:
        pixels: (H, W, 3), sides that patch · merge divides.

    Returns:
        patches (T, 3·p·p), and the row and column (T,) of each in the grid of patches.

    Raises:
        InvalidRequestError: other sides.
    """
    side = patch * merge
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.shape[0] % side or pixels.shape[1] % side:
        raise InvalidRequestError(
            "image", got=f"pixels of shape {list(pixels.shape)}", want=f"(H, W, 3), sides in multiples of {side}",
            field="image",
        )  # fmt: skip
    height, width = pixels.shape[0] // side, pixels.shape[1] // side
    parts = np.asarray(pixels, np.float32).reshape(height, merge, patch, width, merge, patch, 3)
    patches = np.ascontiguousarray(parts.transpose(0, 3, 1, 4, 6, 2, 5)).reshape(-1, 3 * patch * patch)
    places = np.indices((height * merge, width * merge), np.int32).reshape(2, height, merge, width, merge)
    row, column = places.transpose(0, 1, 3, 2, 4).reshape(2, -1)
    return patches, row, column


def exactly(pixels: F32, side: int) -> None:
    """For a tower over a fixed square.

    Raises:
        InvalidRequestError: the image has another size.
    """
    if pixels.shape != (side, side, 3):
        raise InvalidRequestError(
            "image", got=f"pixels of shape {list(pixels.shape)}", want=[side, side, 3], field="image"
        )


def resampled(table: F32, side: int, row: I32, column: I32, height: int, width: int) -> F32:
    """Rows of a square position table (side · side, E) for a grid of another size, bilinear, corners on corners."""

    def taps(place: I32, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], F32]:
        at = place.astype(np.float32) * np.float32(side - 1) / np.float32(max(count - 1, 1))
        low = np.floor(at).astype(np.int64)
        return low, np.minimum(low + 1, side - 1), (at - low).astype(np.float32)[:, None]

    top, bottom, down = taps(row, height)
    left, right, along = taps(column, width)
    one = np.float32(1)
    upper = table[top * side + left] * (one - along) + table[top * side + right] * along
    lower = table[bottom * side + left] * (one - along) + table[bottom * side + right] * along
    return np.asarray(upper * (one - down) + lower * down, np.float32)


def square(rows: int, name: str) -> int:
    """The side of a square table.

    Raises:
        ModelFormatError: its rows are no square.
    """
    side = math.isqrt(rows)
    if side * side != rows:
        raise ModelFormatError(f"tensor {name!r}", got=f"{rows} rows", want="a square number", field=name)
    return side
