"""Images: decoded within bounds, brought to the pixels that the published processors give."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from attrs import evolve

from halflap import loading
from halflap.errors import InvalidRequestError
from halflap.projectors.loading import Projection, read
from halflap.projectors.pictures import MOST_BYTES, MOST_PIXELS, decode, preprocess, webp_size

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
U8 = npt.NDArray[np.uint8]


def drawn(height: int, width: int, seed: int = 0) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def saved(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def projection(shared: Path, case: str) -> Projection:
    with loading.open_model(shared / "oracle" / "families" / f"mm-{case}.gguf") as file:
        return read(file, 64)


def resampled(image: U8, height: int, width: int, filter_name: str, rows_first: bool) -> U8:
    """Separable resampling as Pillow documents and does it: 22-bit weights, rounded to whole numbers after each pass.

    Old versions begin with the columns, new ones with what is cheaper.
    """

    def bilinear(x: float) -> float:
        return max(0.0, 1 - abs(x))

    def bicubic(x: float) -> float:
        x = abs(x)
        return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    shape, support = (bilinear, 1.0) if filter_name == "bilinear" else (bicubic, 2.0)

    def along_rows(source: U8, count: int) -> U8:
        if source.shape[0] == count:
            return source
        scale = source.shape[0] / count
        wide = max(scale, 1.0)
        out = np.zeros((count, *source.shape[1:]), np.uint8)
        for i in range(count):
            centre = (i + 0.5) * scale
            first = max(0, int(centre - support * wide + 0.5))
            last = min(source.shape[0], int(centre + support * wide + 0.5))
            weights = np.array([shape((j - centre + 0.5) / wide) for j in range(first, last)])
            fixed = weights / weights.sum() * (1 << 22)
            fixed = np.trunc(fixed + np.where(fixed < 0, -0.5, 0.5)).astype(np.int64)
            total = np.tensordot(fixed, source[first:last].astype(np.int64), 1) + (1 << 21)
            out[i] = np.clip(total >> 22, 0, 255)
        return out

    image = along_rows(image, height) if rows_first else image
    return along_rows(along_rows(image.transpose(1, 0, 2), width).transpose(1, 0, 2), height)


@pytest.mark.parametrize("case", ["gemma3", "gemma4v", "mistral3", "qwen35", "qwen3vl"])
@pytest.mark.parametrize("size", [(37, 53), (91, 30), (1, 40), (64, 64), (200, 3)])
def test_pixels_equal_a_computation_by_hand(shared: Path, case: str, size: tuple[int, int]) -> None:
    found, image = projection(shared, case), drawn(*size)
    if case == "gemma4v":
        found = evolve(found, config=evolve(found.config, most_rows=9))
    found = evolve(found, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
    if case.startswith("qwen"):
        found = evolve(found, config=evolve(found.config, fewest=1 << 10, most=1 << 12))
    pixels = preprocess(found, image)
    off = []
    for rows_first in (False, True):
        by_hand = resampled(image, *found.fit(*size), found.filter, rows_first).astype(np.float64) / 255
        off.append(np.abs(pixels - (by_hand - found.mean) / found.std).max())
    assert pixels.dtype == np.float32
    assert min(off) < 1e-6
    found.arrange(pixels)


@pytest.mark.parametrize(
    ("case", "facts", "size", "wanted"),
    [
        ("gemma3", {"image": 896, "patch": 14, "pool": 4}, (1, 1000), (896, 896)),
        ("mistral3", {"image": 1540, "patch": 14, "merge": 2}, (1000, 500), (1008, 504)),
        ("mistral3", {"image": 1540, "patch": 14, "merge": 2}, (2000, 3000), (1036, 1540)),
        ("mistral3", {"image": 1540, "patch": 14, "merge": 2}, (1, 1000), (28, 1008)),
        ("mistral3", {"image": 1540, "patch": 14, "merge": 2}, (100000, 1), (1540, 28)),
        ("qwen3vl", {"patch": 16, "merge": 2}, (1080, 1920), (1088, 1920)),
        ("qwen3vl", {"patch": 16, "merge": 2}, (100, 100), (256, 256)),
        ("qwen3vl", {"patch": 16, "merge": 2}, (8000, 6000), (4704, 3520)),
        ("qwen3vl", {"patch": 16, "merge": 2}, (5, 1000), (32, 3648)),
        ("gemma4v", {"patch": 16, "pool": 3}, (1000, 1000), (768, 768)),
        ("gemma4v", {"patch": 16, "pool": 3}, (1, 1000), (48, 13440)),
        ("gemma4v", {"patch": 16, "pool": 3}, (1000, 30), (4608, 96)),
    ],
)
def test_sizes_are_those_of_the_published_processors(
    shared: Path, case: str, facts: dict[str, int], size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    found = projection(shared, case)
    if case == "qwen3vl":
        facts = facts | {"fewest": 1 << 16, "most": 1 << 24}
    assert evolve(found, config=evolve(found.config, **facts)).fit(*size) == wanted


@pytest.mark.parametrize("case", ["mistral3", "qwen3vl", "gemma4v"])
def test_an_image_has_at_most_the_rows_that_the_caller_allows(shared: Path, case: str) -> None:
    with loading.open_model(shared / "oracle" / "families" / f"mm-{case}.gguf") as file:
        found = read(file, 64, most_rows=7)
    for size in ((300, 200), (1, 150), (2000, 2000), (7, 5)):
        height, width = found.fit(*size)
        image = found.arrange(np.zeros((height, width, 3), np.float32))
        assert 0 < len(image.rows) <= 7
        assert len(image.patches) <= found.most_patches


def test_a_side_may_be_only_so_much_longer(shared: Path) -> None:
    with pytest.raises(InvalidRequestError, match="want a side at most 200 times the other"):
        preprocess(projection(shared, "qwen3vl"), drawn(1, 1000), where="messages[0].content[1]")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_format_is_read(kind: str) -> None:
    image, options = drawn(9, 14), {"lossless": True} if kind == "WEBP" else {}
    found = decode(saved(Image.fromarray(image), kind, **options))
    assert found.shape == image.shape
    assert kind == "JPEG" or np.array_equal(found, image)


def test_what_is_transparent_shows_white() -> None:
    image = np.zeros((2, 3, 4), np.uint8)
    image[0] = (10, 20, 30, 255)
    image[1] = (10, 20, 30, 51)
    found = decode(saved(Image.fromarray(image, "RGBA"), "PNG"))
    assert np.array_equal(found[0], [[10, 20, 30]] * 3)
    assert np.abs(found[1].astype(int) - [206, 208, 210]).max() <= 1
    assert np.array_equal(decode(saved(Image.fromarray(image[..., [0, 3]], "LA"), "PNG"))[0], [[10] * 3] * 3)


def test_palettes_greys_and_inks_become_red_green_and_blue() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert decode(saved(palette, "PNG")).tolist() == [[[0, 0, 0], [200, 100, 50]]]
    assert decode(saved(palette, "PNG", transparency=0)).tolist() == [[[255, 255, 255], [200, 100, 50]]]
    grey = np.array([[0, 77, 255]], np.uint8)
    assert decode(saved(Image.fromarray(grey), "PNG")).tolist() == [[[0] * 3, [77] * 3, [255] * 3]]
    assert decode(saved(Image.fromarray(grey).convert("1"), "PNG"))[0, 2].tolist() == [255] * 3
    assert decode(saved(Image.new("CMYK", (8, 8)), "JPEG")).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_camera_on_its_side_gives_an_upright_image(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the left: show it turned to the right
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :8] = 255
    found = decode(saved(Image.fromarray(image), kind, exif=exif))
    assert found.shape == (16, 8, 3)
    assert found[:7].min() > 200
    assert found[9:].max() < 50


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind: str) -> None:
    frames = [Image.fromarray(drawn(8, 8, seed)) for seed in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidRequestError, match=r"part: got an animation of 3 frames, want one still image"):
        decode(data, where="part")


def huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(b"\0" * 1000), b"IEND"]
    packed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def huge_jpeg() -> bytes:
    data = bytearray(saved(Image.fromarray(drawn(8, 8)), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(data)


def huge_webp() -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + (16382).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("make", [huge_png, huge_jpeg, huge_webp])
def test_a_file_that_claims_too_many_pixels_is_refused_before_they_are_decoded(make: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"want 1 to {MOST_PIXELS:,}"):
        decode(make())


def test_no_resampled_image_is_larger_than_one_that_is_sent(shared: Path) -> None:
    found = projection(shared, "gemma3")
    tall = evolve(found, family=evolve_fit(lambda config, height, width: (height * 336, 336)))
    with pytest.raises(InvalidRequestError, match="336x336000 pixels"):
        preprocess(tall, drawn(1000, 1))


def evolve_fit(fit: Any) -> Any:
    class Family:
        def fit(self, config: Any, height: int, width: int) -> Any:
            return fit(config, height, width)

    return Family()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_every_cut_or_damaged_file_are_told(kind: str) -> None:
    rng, whole = np.random.default_rng(5), saved(Image.fromarray(drawn(24, 31)), kind)
    for stop in (1, 4, 9, 15, 24, 29, 60, len(whole) // 2, len(whole) - 30):
        with pytest.raises(InvalidRequestError, match=r"image|part"):
            decode(whole[:stop], where="part")
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        with contextlib.suppress(InvalidRequestError):  # a flipped pixel may as well be a good one
            assert decode(bytes(data)).shape[2] == 3


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"lossless": True, "exif": Image.Exif()}])
def test_the_size_in_a_webp_header_is_the_images(options: dict[str, Any]) -> None:
    for height, width in ((1, 1), (37, 260), (300, 5)):
        data = saved(Image.fromarray(drawn(height, width)), "WEBP", **options)
        assert webp_size(data) == (width, height)


def test_other_formats_and_no_bytes_are_refused() -> None:
    gif = saved(Image.fromarray(drawn(4, 4)), "GIF")
    for data in (b"", b"<svg/>", gif, saved(Image.fromarray(drawn(4, 4)), "TIFF"), b"RIFF....WAVE", b"\0" * MOST_BYTES):
        with pytest.raises(InvalidRequestError, match="want PNG, JPEG or WebP"):
            decode(data)
    with pytest.raises(InvalidRequestError, match="want at most"):
        decode(b"\xff\xd8\xff" + b"\0" * MOST_BYTES)


def test_arrays_of_other_kinds_are_refused(shared: Path) -> None:
    found = projection(shared, "gemma3")
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), drawn(0, 4)):
        with pytest.raises(InvalidRequestError, match="want uint8 of shape"):
            preprocess(found, wrong)


def test_without_pillow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.fromarray(drawn(4, 4)), "PNG")
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'halflap\[images\]'"):
        decode(data)
