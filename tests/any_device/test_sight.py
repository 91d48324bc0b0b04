"""Chats with images, end to end on an oracle's text model and projector: the same rows, however they are named."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halflap
from halflap import loading
from halflap.errors import InvalidRequestError
from halflap.images import FRAMES, taken_out
from halflap.weights.gguf_writer import write

CASES = {
    "gemma3": "gemma3",
    "gemma4v": "gemma4v",
    "mistral3": "pixtral",
    "qwen35": "qwen3vl_merger",
    "qwen3vl": "qwen3vl_merger",
}
TEMPLATE = """{%- for message in messages %}{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content %}{% if part.type == 'image' %}MARKER{% else %}{{ part.text }}{% endif %}{% endfor %}
{%- endif %}{% endfor %}"""
"""What templates of models that see look like."""


def picture(width: int = 70, height: int = 50, seed: int = 0) -> bytes:
    image = pytest.importorskip("PIL.Image", reason="Pillow is an optional extra")
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def text_model(shared: Path, case: str, folder: Path) -> Path:
    """The oracle's text model with the words of its family's frame in the vocabulary, and a template."""
    frame = FRAMES[CASES[case]]
    path = folder / f"{case}.gguf"
    with loading.open_model(shared / "oracle" / "families" / f"mm-{case}-text.gguf") as file:
        tokens, types = list(file.metadata["tokenizer.ggml.tokens"]), list(file.metadata["tokenizer.ggml.token_type"])
        words = {frame.marker, frame.row, *(w for w in (frame.before.strip(), frame.after.strip(), frame.row_end) if w)}
        for place, word in zip(range(319, 0, -1), sorted(words), strict=False):
            tokens[place], types[place] = word, 3
        metadata = {
            **file.metadata,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": [],
            "tokenizer.chat_template": TEMPLATE.replace("MARKER", frame.marker),
        }
        tensors = {name: file.dequantize(name) for name in file.tensors}  # all are F32
        write(path, metadata, tensors)
    return path


def projector_of(shared: Path, case: str, folder: Path) -> Path:
    """The oracle's projector, for small pictures: its position table is small."""
    path = folder / f"mm-{case}.gguf"
    with loading.open_model(shared / "oracle" / "families" / path.name) as file:
        metadata = {**file.metadata, "clip.vision.image_max_pixels": 96 * 96, "clip.vision.image_min_pixels": 32 * 32}
        write(path, metadata, {name: file.dequantize(name) for name in file.tensors})
    return path


@pytest.fixture(params=CASES)
def model(request: Any, shared: Path, tmp_path: Path) -> Any:
    projector = projector_of(shared, request.param, tmp_path)
    path = text_model(shared, request.param, tmp_path)
    with halflap.load(path, projector=projector, media_path=tmp_path, kv_type="f32", ctx=400) as loaded:
        yield loaded


def ask(model: Any, *parts: Any) -> list[int]:
    messages = [{"role": "user", "content": list(parts)}]
    return [t.id for t in model.chat(messages, max_tokens=6, temperature=0, ignore_eos=True).tokens]


def test_an_image_is_the_same_however_it_comes(model: Any, tmp_path: Path) -> None:
    data = picture()
    (tmp_path / "a picture.png").write_bytes(data)
    words = {"type": "text", "text": "what is it"}
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    ways = [
        {"type": "image", "image": data},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"type": "image_url", "image_url": {"url": (tmp_path / "a picture.png").as_uri()}},
    ]
    answers = [ask(model, way, words) for way in ways]
    assert all(answer == answers[0] for answer in answers)
    assert ask(model, {"type": "image", "image": picture(seed=1)}, words) != answers[0] or len(answers[0]) == 6


def test_rows_of_an_image_change_the_logits_and_only_behind_it(model: Any) -> None:
    before, behind = [40, 41, 42], [50, 51]
    one = model.logits([*before, -1, *behind], images=[picture(seed=1)])
    other = model.logits([*before, -1, *behind], images=[picture(seed=2)])
    assert np.array_equal(one[:3], other[:3])
    assert not np.array_equal(one[-1], other[-1])
    again = model.logits([*before, -1, *behind], images=[picture(seed=1)])
    assert np.array_equal(one, again)


def test_several_images_and_turns_at_once(model: Any) -> None:
    pictures = [{"type": "image", "image": picture(seed=i)} for i in range(3)]
    words = {"type": "text", "text": "and"}
    parts = (pictures[0], words, pictures[1], words)
    alone = ask(model, *parts)
    streams = [
        model.stream([{"role": "user", "content": list(parts)}], max_tokens=6, temperature=0, ignore_eos=True)
        for _ in range(4)
    ]
    assert all([t.id for t in stream.result().tokens] == alone for stream in streams)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "data: URL"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@@"}}, "base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "base64"),
        ({"type": "image_url", "image_url": {}}, "'url'"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "below the allowed folder"),
        ({"type": "image_url", "image_url": {"url": "file:../../etc/passwd"}}, "below the allowed folder"),
        ({"type": "image", "image": b"not a picture"}, r"messages\[0\]\.content\[1\]"),
        ({"type": "image", "image": b""}, "no bytes"),
    ],
)
def test_a_bad_image_is_an_error_that_names_its_part(shared: Path, tmp_path: Path, part: Any, message: str) -> None:
    path = text_model(shared, "gemma3", tmp_path)
    with (
        halflap.load(path, projector=shared / "oracle" / "families" / "mm-gemma3.gguf", media_path=tmp_path) as model,
        pytest.raises(InvalidRequestError, match=message),
    ):
        ask(model, {"type": "text", "text": "x"}, part)


def test_a_model_without_eyes_says_so(shared: Path, tmp_path: Path) -> None:
    with halflap.load(text_model(shared, "gemma3", tmp_path)) as model:
        with pytest.raises(InvalidRequestError, match="cannot see"):
            ask(model, {"type": "image", "image": picture()})
        with pytest.raises(InvalidRequestError, match="cannot see"):
            model.logits([1, -1], images=[picture()])


def test_a_users_marker_stands_for_no_image(shared: Path, tmp_path: Path) -> None:
    path = text_model(shared, "gemma3", tmp_path)
    with halflap.load(path, projector=shared / "oracle" / "families" / "mm-gemma3.gguf") as model:
        marker = {"type": "text", "text": FRAMES["gemma3"].marker}
        assert ask(model, marker, {"type": "image", "image": picture()})


def test_messages_keep_their_other_parts() -> None:
    text = {"type": "text", "text": "a"}
    messages = [{"role": "user", "content": [text, {"type": "image", "image": b"1"}]}, {"role": "user", "content": "b"}]
    clean, images = taken_out(messages, None)
    assert clean[0]["content"] == [text, {"type": "image"}]
    assert clean[1] is messages[1]
    assert images == [("messages[0].content[1]", b"1")]


def test_a_picture_seen_before_is_not_read_again_and_another_is(model: Any) -> None:
    words = {"type": "text", "text": "what is it, and what is it doing there in the middle of the night"}

    def cached(*parts: Any) -> tuple[int, int, list[int]]:
        done = model.chat([{"role": "user", "content": list(parts)}], max_tokens=4, temperature=0, ignore_eos=True)
        return done.usage.cached_tokens, done.usage.prompt_tokens, [t.id for t in done.tokens]

    one, other = ({"type": "image", "image": picture(seed=i)} for i in (7, 8))
    _, total, answer = cached(one, words)
    found, _, again = cached(one, words)
    assert found >= min(total - 64, 32 * (total // 64))
    assert again == answer
    different, _, _ = cached(other, words)
    assert different < found
    fresh = model.chat([{"role": "user", "content": [other, words]}], max_tokens=4, temperature=0, cache=False,
                       ignore_eos=True)  # fmt: skip
    assert cached(other, words)[2] == [t.id for t in fresh.tokens]
