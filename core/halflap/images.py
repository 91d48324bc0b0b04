"""Images in a request: found in its messages, encoded once, and placed among the prompt's tokens."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from attrs import frozen

from halflap.device.interface import Device
from halflap.engine.given import Given, Images
from halflap.errors import InvalidRequestError
from halflap.graph.ir import Graph
from halflap.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # projectors are loaded with the first one, the template engine with the first chat
    from halflap.projectors.loading import ImageEmbedding, Projection
    from halflap.text.chat.template import Piece

IMAGE_BYTES = 32 << 20
"""Most bytes of one encoded image."""
KEPT_BYTES = 64 << 20
"""Of rows kept for images that come again, as in every later turn of a chat."""


@frozen
class Frame:
    """How a family's prompts hold an image.

    Attributes:
        marker: what the chat template writes for one.
        row: the token that each row stands for.
        before, after: what surrounds the rows.
        row_end: between two rows of the grid, if anything.
    """

    marker: str
    row: str
    before: str = ""
    after: str = ""
    row_end: str = ""

    def text(self, height: int, width: int) -> str:
        """What stands in the prompt for an image of this grid."""
        return self.before + self.row_end.join([self.row * width] * height) + self.after


FRAMES = {
    "gemma3": Frame("<start_of_image>", "<image_soft_token>", "\n\n<start_of_image>", "<end_of_image>\n\n"),
    "gemma4v": Frame("<|image|>", "<|image|>", "<|image>", "<image|>"),
    "mlp": Frame("<image>", "<image>"),
    "pixtral": Frame("[IMG]", "[IMG]", "", "[IMG_END]", "[IMG_BREAK]"),
    "qwen3vl_merger": Frame("<|image_pad|>", "<|image_pad|>"),
}
"""By the projector file's word for its kind."""


class Eyes:
    """A projector, and the images it has seen lately. Any thread may call it.

    Args:
        device: the projector's alone; used, never closed.
        graph: of the text model, which says how its tokens see images.
        longest: most tokens of a step, and so of an image whose tokens see each other.
    """

    def __init__(self, projection: Projection, device: Device, graph: Graph, longest: int) -> None:
        from halflap.projectors.loading import Projector

        self.projection, self.frame = projection, FRAMES[projection.kind]
        self._projector = Projector(projection, device)
        self._whole = any(node.attributes.get("spans") for node in graph.nodes())
        self._axes = 3 if any(node.attributes.get("axes") for node in graph.nodes()) else 1
        self._longest = longest
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, ImageEmbedding] = OrderedDict()

    def see(self, images: Sequence[tuple[str, bytes]]) -> list[ImageEmbedding]:
        """Rows of each image.

        Args:
            images: (the part of the request that holds it, a PNG, JPEG or WebP file).

        Raises:
            InvalidRequestError: one is damaged, too large, or of a shape that the model does not take.
        """
        from halflap.projectors.pictures import decode, preprocess

        found = []
        with self._lock:
            for where, data in images:
                seen = self._kept.pop(data, None)
                if seen is None:
                    picture = preprocess(self.projection, decode(data, where=where), where=where)
                    (seen,) = self._projector.encode([picture])
                if self._whole and len(seen.rows) > self._longest:
                    raise InvalidRequestError(
                        where, got=f"{len(seen.rows)} tokens", want=f"at most {self._longest}", field=where
                    )
                self._kept[data] = seen
                found.append(seen)
            while sum(len(key) + value.rows.nbytes for key, value in self._kept.items()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return found

    def framed(self, pieces: Sequence[Piece], seen: Sequence[ImageEmbedding]) -> list[tuple[str, bool]]:
        """A rendered prompt with its markers replaced by what stands for each image.

        Raises:
            InvalidRequestError: the template wrote another number of markers than there are images.
        """
        count = sum(piece.text.count(self.frame.marker) for piece in pieces if piece.special)
        if count != len(seen):
            raise InvalidRequestError(
                "chat template",
                got=f"{count} times {self.frame.marker!r}",
                want=f"one for each of {len(seen)} images",
                field="messages",
            )
        waiting, woven = iter(seen), []
        for piece in pieces:
            first, *rest = piece.text.split(self.frame.marker) if piece.special else [piece.text]
            text = first + "".join(self.frame.text(*next(waiting).grid[1:]) + part for part in rest)
            woven.append((text, piece.special))
        return woven

    def place(self, ids: Sequence[int], seen: Sequence[ImageEmbedding], tokenizer: Tokenizer) -> Images:
        """Where the rows stand in a prompt that holds the frame's row tokens.

        Raises:
            InvalidRequestError: the vocabulary has no such token, or the prompt holds another number of them.
        """
        token = tokenizer.token_to_id(self.frame.row)
        places = [place for place, own in enumerate(ids) if own == token]
        wanted = sum(len(image.rows) for image in seen)
        if len(places) != wanted:
            raise InvalidRequestError(
                f"prompt's tokens {self.frame.row!r}", got=len(places), want=f"{wanted}, one a row", field="messages"
            )
        given: list[Given] = []
        for image in seen:
            own, places = places[: len(image.rows)], places[len(image.rows) :]
            whole = own[-1] - own[0] + 1 == len(own)
            first = 0
            for i in range(1, len(own) + 1):  # runs of neighbours
                if i == len(own) or own[i] != own[i - 1] + 1:
                    grid = (image.grid[1], image.grid[2]) if whole else None
                    given.append(Given(own[first], image.rows[first:i], grid))
                    first = i
        return Images(tuple(given), self._whole, self._axes)

    def insert(self, ids: Sequence[int], seen: Sequence[ImageEmbedding]) -> tuple[list[int], Images]:
        """A prompt of ids in which -1 stands for an image: ids with its rows' places, and what stands there.

        Raises:
            InvalidRequestError: another number of -1 than of images.
        """
        if list(ids).count(-1) != len(seen):
            raise InvalidRequestError(
                "prompt",
                got=f"{list(ids).count(-1)} times -1",
                want=f"one for each of {len(seen)} images",
                field="prompt",
            )
        waiting, woven, given = list(seen), [], []
        for token in ids:
            if token != -1:
                woven.append(token)
                continue
            image = waiting.pop(0)
            given.append(Given(len(woven), image.rows, (image.grid[1], image.grid[2])))
            woven += [0] * len(image.rows)
        return woven, Images(tuple(given), self._whole, self._axes)

    def close(self) -> None:
        with self._lock:
            self._projector.close()


def taken_out(
    messages: Sequence[Mapping[str, Any]], folder: Path | None
) -> tuple[list[Mapping[str, Any]], list[tuple[str, bytes]]]:
    """Messages as templates take them, and the images of their parts in order, each with its part's name.

    Parts are OpenAI's `image_url` (a `data:` URL, or `file:` below the allowed folder), or {"type": "image",
    "image": bytes}. Nothing is ever fetched from a network.

    Raises:
        InvalidRequestError: names the part.
    """
    clean: list[Mapping[str, Any]] = []
    images: list[tuple[str, bytes]] = []
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, str) or not isinstance(content, Sequence):
            clean.append(message)
            continue
        parts: list[Any] = []
        for j, part in enumerate(content):
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind not in ("image", "image_url", "input_image"):
                parts.append(part)
                continue
            where = f"messages[{i}].content[{j}]"
            images.append((where, _image(part, where, folder)))
            parts.append({"type": "image"})
        clean.append({**message, "content": parts})
    return clean, images


def _image(part: Mapping[str, Any], field: str, folder: Path | None) -> bytes:
    data = part.get("image")
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    url = part.get("image_url")
    url = url.get("url") if isinstance(url, Mapping) else url
    if not isinstance(url, str):
        raise InvalidRequestError(field, got="no image", want="'image_url' with a 'url'", field=field)
    if url.startswith("data:"):
        return _from_data(url, field)
    if url.startswith("file:"):
        return _from_file(url, field, folder)
    raise InvalidRequestError(
        field, got=f"{url:.40}", want="a data: URL", field=field, fix="Images are not fetched; send their bytes."
    )


def _from_data(url: str, field: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InvalidRequestError(field, got=f"{head:.40}", want="data:image/…;base64,…", field=field)
    if len(body) > IMAGE_BYTES * 4 // 3 + 4:
        raise InvalidRequestError(field, got=f"{len(body):,} characters", want=f"{IMAGE_BYTES:,} bytes", field=field)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError(field, got="bytes that are not base64", want="base64", field=field) from None


def _from_file(url: str, field: str, folder: Path | None) -> bytes:
    if folder is None:
        raise InvalidRequestError(
            field, got="a file: URL", want="a data: URL", field=field, fix="Load with media_path to allow a folder."
        )
    parts = urlsplit(url)
    path = Path(unquote(parts.path)).resolve()
    inside = parts.netloc in ("", "localhost") and path.is_relative_to(folder.resolve())
    if not inside or not path.is_file() or path.stat().st_size > IMAGE_BYTES:
        raise InvalidRequestError(
            field,
            got=f"{url:.80}",
            want=f"a file below the allowed folder, of at most {IMAGE_BYTES:,} bytes",
            field=field,
        )
    return path.read_bytes()
