"""Image projectors equal the published models' towers; hostile projector files are refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from halflap import loading
from halflap.device.interface import Device
from halflap.device.opening import open_devices
from halflap.device.reference import ReferenceDevice
from halflap.errors import InvalidRequestError, ModelFormatError, UnsupportedModelError
from halflap.projectors.loading import Projection, Projector, read
from halflap.projectors.patches import cells, resampled
from halflap.testing.fake import FakeDevice
from halflap.weights.gguf_writer import write

F32 = npt.NDArray[np.float32]

# Gemma 3's file holds its last matrix in half precision; the published answer does not.
BOUNDS = {"gemma3": 3e-4, "gemma4v": 1e-5, "mistral3": 1e-5, "qwen35": 1e-5, "qwen3vl": 1e-5}
# Sides in cells of an image other than the oracle's, where the family takes any.
ODD = {"gemma4v": (1, 5), "mistral3": (3, 1), "qwen35": (5, 3), "qwen3vl": (1, 7)}


@pytest.fixture(params=["reference", "fake", "cpu"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if request.param == "cpu":
        pytest.importorskip("halflap_cpu", reason="halflap-cpu is not installed")
        (opened,) = open_devices(["cpu"])
        yield opened
        opened.close()
    elif request.param == "fake":
        yield FakeDevice()
    else:
        yield ReferenceDevice()


def projection(shared: Path, case: str) -> tuple[Projection, F32, F32]:
    """A projector of the oracle, with an image and its rows."""
    path = shared / "oracle" / "families" / f"mm-{case}.gguf"
    answers = np.load(path.with_suffix(".npz"))
    return read(loading.open_model(path), 64), answers["pixels"], answers["embd_hf"]


def drawn(case: str, pixels: F32) -> list[F32]:
    """Images of other content and, where the family takes any, of an odd size."""
    rng, side = np.random.default_rng(1), {"gemma4v": 24}.get(case, 16)
    shapes = [pixels.shape]
    if case in ODD:
        shapes.append((ODD[case][0] * side, ODD[case][1] * side, 3))
    return [rng.uniform(0, 1, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("case", BOUNDS)
def test_rows_equal_the_oracle(shared: Path, device: Device, case: str) -> None:
    found, pixels, wanted = projection(shared, case)
    projector = Projector(found, device, tokens=600)
    (image,) = projector.encode([pixels])
    assert image.rows.shape == wanted.shape
    assert image.grid[0] * image.grid[1] * image.grid[2] == len(wanted)
    assert np.abs(image.rows - wanted).max() / np.abs(wanted).max() < BOUNDS[case]
    projector.close()


@pytest.mark.parametrize("case", BOUNDS)
def test_images_side_by_side_equal_each_alone(shared: Path, device: Device, case: str) -> None:
    found, pixels, _ = projection(shared, case)
    images = [*drawn(case, pixels), pixels]
    together, apart = Projector(found, device, tokens=600), Projector(found, device, tokens=600, images=1)
    tight = Projector(found, device, tokens=max(len(found.arrange(image).patches) for image in images))
    alone = apart.encode(images)
    for several in (together.encode(images), tight.encode(images)):
        for a, b in zip(several, alone, strict=True):
            assert (a.grid, a.hash) == (b.grid, b.hash)
            if "row_invariant" in device.info.features:
                assert np.array_equal(a.rows, b.rows)
            assert np.abs(a.rows - b.rows).max() < 1e-5 * np.abs(b.rows).max()
    assert len({image.hash for image in alone}) == len(images)
    for image in (together, apart, tight):
        image.close()


def test_patches_go_cell_by_cell() -> None:
    pixels = np.random.default_rng(0).normal(size=(12, 20, 3)).astype(np.float32)
    patches, rows, columns = cells(pixels, 2, 2)
    places = [(4 * y + dy * 2, 4 * x + dx * 2) for y in range(3) for x in range(5) for dy in (0, 1) for dx in (0, 1)]
    assert [(2 * row, 2 * column) for row, column in zip(rows, columns, strict=True)] == places
    for patch, (top, left) in zip(patches, places, strict=True):
        wanted = [pixels[top + y, left + x, colour] for colour in range(3) for y in range(2) for x in range(2)]
        assert patch.tolist() == wanted


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 5), (9, 4)])
def test_a_position_table_is_resampled_corners_on_corners(height: int, width: int) -> None:
    table = np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32)
    row, column = np.indices((height, width), np.int32).reshape(2, -1)
    found = resampled(table, 5, row, column, height, width)
    for place, (y, x) in enumerate(zip(row.tolist(), column.tolist(), strict=True)):
        v, u = (n * 4 / max(count - 1, 1) for n, count in ((y, height), (x, width)))
        wanted = np.zeros(3)
        for i in range(5):
            for j in range(5):
                wanted += max(0, 1 - abs(v - i)) * max(0, 1 - abs(u - j)) * table[5 * i + j]
        assert np.abs(found[place] - wanted).max() < 1e-5


LLAVA = {
    "general.architecture": "clip",
    "clip.has_vision_encoder": True,
    "clip.projector_type": "mlp",
    "clip.vision.projection_dim": 10,
    "clip.vision.image_size": 12,
    "clip.vision.patch_size": 4,
    "clip.vision.embedding_length": 8,
    "clip.vision.feed_forward_length": 14,
    "clip.vision.block_count": 3,
    "clip.vision.attention.head_count": 2,
    "clip.vision.attention.layer_norm_epsilon": 1e-5,
    "clip.vision.image_mean": [0.5, 0.4, 0.3],
    "clip.vision.image_std": [0.2, 0.3, 0.4],
}


def llava_tensors(class_token: bool) -> dict[str, F32]:
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (8, 3, 4, 4), "v.position_embd.weight": (9 + class_token, 8), "v.pre_ln.weight": (8,),
        "v.pre_ln.bias": (8,), "mm.0.weight": (10, 8), "mm.0.bias": (10,), "mm.2.weight": (10, 10), "mm.2.bias": (10,),
    }  # fmt: skip
    if class_token:
        shapes["v.class_embd"] = (8,)
    for i in range(3):
        for name, rows, columns in (("attn_q", 8, 8), ("attn_k", 8, 8), ("attn_v", 8, 8), ("attn_out", 8, 8),
                                    ("ffn_up", 14, 8), ("ffn_down", 8, 14)):  # fmt: skip
            shapes[f"v.blk.{i}.{name}.weight"], shapes[f"v.blk.{i}.{name}.bias"] = (rows, columns), (rows,)
        for name in ("ln1", "ln2"):
            shapes[f"v.blk.{i}.{name}.weight"] = shapes[f"v.blk.{i}.{name}.bias"] = (8,)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def llava_rows(w: dict[str, F32], pixels: F32, activation: str) -> F32:
    """The tower of Radford et al. 2021 and the projector of Liu et al. 2023, token by token."""

    def norm(x: Any, name: str) -> Any:
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]

    def linear(x: Any, name: str) -> Any:
        return x @ w[name + ".weight"].T.astype(np.float64) + w[name + ".bias"]

    def gelu(x: Any) -> Any:
        return np.vectorize(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2)(x)

    acts: dict[str, Any] = {
        "quick": lambda x: x / (1 + np.exp(-1.702 * x)),
        "gelu": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    }
    tokens = [] if "v.class_embd" not in w else [w["v.class_embd"].astype(np.float64)]
    for y in range(3):
        for x in range(3):
            window = pixels[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].astype(np.float64)
            tokens.append(np.einsum("yxc,ecyx->e", window, w["v.patch_embd.weight"]))
    x = norm(np.stack(tokens) + w["v.position_embd.weight"], "v.pre_ln")
    for i in range(2):
        b = f"v.blk.{i}."
        h = norm(x, b + "ln1")
        q, k, v = (linear(h, f"{b}attn_{name}").reshape(-1, 2, 4) for name in "qkv")
        scores = np.einsum("thd,shd->hts", q, k) / 2
        shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        x = x + linear(np.einsum("hts,shd->thd", shares, v).reshape(-1, 8), b + "attn_out")
        x = x + linear(acts[activation](linear(norm(x, b + "ln2"), b + "ffn_up")), b + "ffn_down")
    return np.asarray(linear(gelu(linear(x[-9:], "mm.0")), "mm.2"), np.float32)


@pytest.mark.parametrize(("class_token", "activation"), [(True, "quick"), (False, "gelu")])
def test_llava_equals_its_mathematics(tmp_path: Path, device: Device, class_token: bool, activation: str) -> None:
    tensors = llava_tensors(class_token)
    write(tmp_path / "llava.gguf", LLAVA | {"clip.use_gelu": activation == "gelu"}, tensors)
    pixels = np.random.default_rng(4).normal(size=(12, 12, 3)).astype(np.float32)
    with loading.open_model(tmp_path / "llava.gguf") as file:
        projector = Projector(read(file, 10), device, tokens=40)
        first, second = projector.encode([pixels, pixels[::-1]])
        projector.close()
    for found, given in ((first, pixels), (second, pixels[::-1])):
        wanted = llava_rows(tensors, given, activation)
        assert np.abs(found.rows - wanted).max() < 1e-5 * np.abs(wanted).max()


def opened(path: Path, metadata: dict[str, Any], tensors: dict[str, F32], width: int = 10) -> Projection:
    write(path / "hostile.gguf", metadata, tensors)
    with loading.open_model(path / "hostile.gguf") as file:
        return read(file, width)


def test_a_projector_that_lacks_a_key_or_tensor_is_refused_by_its_name(tmp_path: Path) -> None:
    tensors = llava_tensors(True)
    for key in LLAVA:
        if key not in ("general.architecture", "clip.has_vision_encoder"):
            with pytest.raises(ModelFormatError, match=key.rpartition("clip.")[2]):
                opened(tmp_path, {k: v for k, v in LLAVA.items() if k != key}, tensors)
    for name in (
        "v.patch_embd.weight",
        "v.position_embd.weight",
        "v.blk.0.ln1.bias",
        "v.blk.1.ffn_up.weight",
        "mm.2.weight",
    ):
        with pytest.raises(ModelFormatError, match=name):
            opened(tmp_path, LLAVA, {k: v for k, v in tensors.items() if k != name})
        with pytest.raises(ModelFormatError, match=name):
            opened(tmp_path, LLAVA, tensors | {name: tensors[name][:-1]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("projection_dim", 0),
        ("projection_dim", 11),
        ("image_size", 13),
        ("image_size", 1 << 30),
        ("patch_size", 0),
        ("patch_size", "four"),
        ("attention.head_count", 3),
        ("attention.head_count", 0),
        ("block_count", 1 << 31),
        ("block_count", 5),
        ("image_mean", [0.5, 0.5]),
        ("image_std", [0.5, 0.5, 0.0]),
        ("image_std", [0.5, 0.5, float("nan")]),
        ("attention.layer_norm_epsilon", -1.0),
    ],
)
def test_a_contradictory_projector_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ModelFormatError):
        opened(tmp_path, LLAVA | {f"clip.vision.{key}": value}, llava_tensors(True))


def test_what_is_no_projector_known_here_is_unsupported(tmp_path: Path) -> None:
    tensors = llava_tensors(True)
    for wrong in (
        {"clip.projector_type": "resampler"},
        {"general.architecture": "llama"},
        {"clip.vision.image_grid_pinpoints": [336, 672]},
    ):
        with pytest.raises(UnsupportedModelError):
            opened(tmp_path, LLAVA | wrong, tensors)


def test_a_projector_of_another_text_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="of width 10, want 12"):
        opened(tmp_path, LLAVA, llava_tensors(True), width=12)


def test_pixels_that_do_not_fit_are_a_request_error(shared: Path) -> None:
    for case in BOUNDS:
        found, pixels, _ = projection(shared, case)
        projector = Projector(found, ReferenceDevice(), tokens=600)
        broken = pixels.copy()
        broken[3, 4, 1] = np.nan
        wrong = [
            pixels[:-1],
            pixels[:, :-3],
            pixels[..., :1],
            pixels[:0],
            pixels[0],
            broken,
            np.tile(pixels, (8, 8, 1)),
        ]
        for given in wrong:
            with pytest.raises(InvalidRequestError):
                projector.encode([given])
        projector.close()
