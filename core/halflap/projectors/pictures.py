"""From the bytes of a PNG, JPEG or WebP file to the pixels that a projector takes, as the published processors do it.

Needs Pillow: `pip install 'halflap[images]'`. The bytes are hostile until decoded: what they claim is bounded first.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from halflap.errors import InvalidRequestError
from halflap.projectors.loading import Projection
from halflap.projectors.patches import F32

U8 = npt.NDArray[np.uint8]

MOST_BYTES = 1 << 26
MOST_PIXELS = 1 << 26
"""Of the image as it comes, and as it is resampled: 200 MB of red, green and blue."""
# By their first bytes and not through Image.open, whose own limit warns where ours must refuse.
PLUGINS = (
    (b"\x89PNG\r\n\x1a\n", "PngImagePlugin", "PngImageFile"),
    (b"\xff\xd8\xff", "JpegImagePlugin", "JpegImageFile"),
    (b"RIFF", "WebPImagePlugin", "WebPImageFile"),
)


def decode(data: bytes, *, where: str = "image") -> U8:
    """Red, green and blue of every pixel, (H, W, 3), upright; what is transparent shows white.

    Args:
        data: a PNG, JPEG or WebP file with one still image.
        where: the part of the request that holds it, for errors.

    Raises:
        InvalidRequestError: another format, a damaged, cut, animated or too large image; or Pillow is not installed.
    """
    if len(data) > MOST_BYTES:
        raise _wrong(where, f"{len(data):,} bytes", f"at most {MOST_BYTES:,}")
    plugin = next((found for magic, *found in PLUGINS if data.startswith(magic)), None)
    if plugin is None or (plugin[0].startswith("WebP") and data[8:12] != b"WEBP"):
        raise _wrong(where, f"a file that begins with {data[:12]!r}" if data else "no bytes", "PNG, JPEG or WebP")
    module, class_name = plugin
    if module.startswith("WebP"):
        _check_size(webp_size(data), where)  # Pillow's decoder takes memory for it at once
    ops = _pillow("ImageOps", where)
    try:
        image = getattr(_pillow(module, where), class_name)(io.BytesIO(data))
        _check_size(image.size, where)
        if getattr(image, "is_animated", False):
            raise _wrong(where, f"an animation of {image.n_frames} frames", "one still image")
        return np.asarray(_rgb(ops.exif_transpose(image), where), np.uint8)
    except InvalidRequestError:
        raise
    except Exception as cause:  # whatever a decoder trips over is the file's fault
        said = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise _wrong(where, f"a damaged file ({said})", "a whole PNG, JPEG or WebP file") from cause


def preprocess(projection: Projection, image: U8, *, where: str = "image") -> F32:
    """An image as `Projector.encode` takes it: resampled to a size of the family's, rescaled and normalised.

    Args:
        image: (H, W, 3) red, green and blue from 0 to 255.

    Raises:
        InvalidRequestError: an image of another shape, or one that cannot be shown to this model.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise _wrong(where, f"{image.dtype} of shape {list(image.shape)}", "uint8 of shape (height, width, 3)")
    _check_size((image.shape[1], image.shape[0]), where)
    height, width = projection.fit(image.shape[0], image.shape[1])
    _check_size((width, height), where)
    pillow = _pillow("Image", where)
    kind = pillow.Resampling[projection.filter.upper()]
    resampled = pillow.fromarray(np.ascontiguousarray(image)).resize((width, height), resample=kind)
    # In the processors' order and precision, so that the last bit is theirs.
    scaled = (np.asarray(resampled, np.float64) * (1 / 255)).astype(np.float32)
    return np.asarray(
        (scaled - np.array(projection.mean, np.float32)) / np.array(projection.std, np.float32), np.float32
    )


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that a WebP file claims; (0, 0) where it is cut.

    Source: RFC 9649, sections 2.5 to 2.7.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _rgb(image: Any, where: str) -> Any:
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    white = _pillow("Image", where).new("RGBA", image.size, (255, 255, 255, 255))
    return _pillow("Image", where).alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _check_size(size: tuple[int, int], where: str) -> None:
    width, height = size
    if not 0 < width * height <= MOST_PIXELS:
        raise _wrong(where, f"{width}x{height} pixels", f"1 to {MOST_PIXELS:,} of them")


def _pillow(module: str, where: str) -> Any:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as cause:
        raise InvalidRequestError(
            where, got="an image, and no Pillow to read it with", want="Pillow",
            fix="Install it: pip install 'halflap[images]'.", field=where,
        ) from cause  # fmt: skip


def _wrong(where: str, got: str, want: str) -> InvalidRequestError:
    return InvalidRequestError(where, got=got, want=want, field=where)
