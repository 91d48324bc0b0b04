"""Qwen 3 VL and Qwen 3.5: positions learned and rotated, cells merged by an MLP, some layers' rows sent deeper down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from attrs import evolve, frozen

from halflap.architectures.keys import Shape
from halflap.errors import InvalidRequestError, ModelFormatError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.projectors.keys import VisionKeys
from halflap.projectors.patches import F32, Arranged, cells, resampled, square

FILTER = "bicubic"
ROPE_BASE = 10000.0
"""No key of the file says it."""
TABLES = ("v.position_embd.weight",)
FEWEST, MOST = 1 << 16, 1 << 24
"""Pixels of an image where the file has no say: the published processor's."""
LONGEST = 200
"""Times its other side that a side may be."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    eps: float
    patch: int
    merge: int
    fewest: int
    most: int
    table: int
    deep_layers: tuple[int, ...]
    projected: int

    @property
    def deepstack(self) -> int:
        return len(self.deep_layers)

    @classmethod
    def read(cls, keys: VisionKeys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        if width % heads or width // heads % 4:
            raise ModelFormatError(
                "metadata 'clip.vision.attention.head_count'", got=f"{heads} heads of width {width}",
                want="heads whose width 4 divides", field="clip.vision.attention.head_count",
            )  # fmt: skip
        layers = keys.integer("block_count", least=1, most=1 << 12)
        fewest = keys.integer("image_min_pixels", FEWEST, least=1)
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            eps=keys.positive("attention.layer_norm_epsilon"),
            patch=keys.integer("patch_size", least=1, most=1 << 10),
            merge=keys.integer("spatial_merge_size", least=1, most=1 << 10),
            fewest=fewest,
            most=keys.integer("image_max_pixels", max(MOST, fewest), least=fewest),
            table=square(keys.rows("v.position_embd.weight"), "v.position_embd.weight"),
            deep_layers=keys.marked("is_deepstack_layers", layers),
            projected=keys.integer("projection_dim", least=1),
        )

    @property
    def most_patches(self) -> int:
        return max(1, self.most // (self.patch * self.merge) ** 2) * self.merge**2

    def limited(self, rows: int) -> Config:
        """Images of at most this many rows."""
        most = min(self.most, max(1, rows) * (self.patch * self.merge) ** 2)
        return evolve(self, most=most, fewest=min(self.fewest, most))


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        yield name, (c.width, 3 * c.patch**2)
    yield "v.patch_embd.bias", (c.width,)
    yield "v.position_embd.weight", (c.table**2, c.width)
    for i in range(c.layers):
        b = f"v.blk.{i}."
        for name, rows, columns in (
            ("attn_qkv", 3 * c.width, c.width),
            ("attn_out", c.width, c.width),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"{b}{name}.weight", (rows, columns)
            yield f"{b}{name}.bias", (rows,)
        for name in ("ln1", "ln2"):
            yield f"{b}{name}.weight", (c.width,)
            yield f"{b}{name}.bias", (c.width,)
    cell = c.width * c.merge**2
    for norm, width, first, last in (
        ("v.post_ln", c.width, "mm.0", "mm.2"),
        *((f"v.deepstack.{i}.norm", cell, f"v.deepstack.{i}.fc1", f"v.deepstack.{i}.fc2") for i in c.deep_layers),
    ):
        yield norm + ".weight", (width,)
        yield norm + ".bias", (width,)
        yield first + ".weight", (cell, cell)
        yield first + ".bias", (cell,)
        yield last + ".weight", (c.projected, cell)
        yield last + ".bias", (c.projected,)


def build(c: Config, g: GraphBuilder) -> Graph:
    head_dim = c.width // c.heads
    steps = tuple(ROPE_BASE ** (-4 * i / head_dim) for i in range(head_dim // 4))
    rope = {
        "head_dim": head_dim,
        "layout": "half",
        "frequencies": steps + steps,
        "axes": (0,) * len(steps) + (1,) * len(steps),
    }
    g.segment("patches")
    patches = g.input("patches", "f32", "T", 3 * c.patch**2)
    # The tower looks at pairs of frames; a still image is a pair of the same.
    x = g.add(
        g.linear(patches, g.weight("v.patch_embd.weight"), g.weight("v.patch_embd.bias")),
        g.linear(patches, g.weight("v.patch_embd.weight.1")),
    )
    x = g.add(x, g.input("added", "f32", "T", c.width))
    deep = []
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"v.blk.{i}."
        h = g.layer_norm(x, g.weight(b + "ln1.weight"), g.weight(b + "ln1.bias"), eps=c.eps)
        h = g.linear(h, g.weight(b + "attn_qkv.weight"), g.weight(b + "attn_qkv.bias"))
        q, k, v = g.split(h, sizes=(c.width,) * 3)
        h = g.self_attention(
            g.rope(q, **rope), g.rope(k, **rope), v, heads=c.heads, kv_heads=c.heads, head_dim=head_dim,
            v_head_dim=head_dim, scale=head_dim**-0.5,
        )  # fmt: skip
        x = g.add(x, g.linear(h, g.weight(b + "attn_out.weight"), g.weight(b + "attn_out.bias")))
        h = g.layer_norm(x, g.weight(b + "ln2.weight"), g.weight(b + "ln2.bias"), eps=c.eps)
        h = g.activate(g.linear(h, g.weight(b + "ffn_up.weight"), g.weight(b + "ffn_up.bias")), activation="gelu_tanh")
        x = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight"), g.weight(b + "ffn_down.bias")))
        if i in c.deep_layers:
            d = f"v.deepstack.{i}."
            h = g.join_rows(x, count=c.merge**2)
            h = g.layer_norm(h, g.weight(d + "norm.weight"), g.weight(d + "norm.bias"), eps=c.eps)
            h = g.activate(g.linear(h, g.weight(d + "fc1.weight"), g.weight(d + "fc1.bias")), activation="gelu")
            deep.append(g.linear(h, g.weight(d + "fc2.weight"), g.weight(d + "fc2.bias")))
    g.segment("projector")
    x = g.layer_norm(x, g.weight("v.post_ln.weight"), g.weight("v.post_ln.bias"), eps=c.eps)
    x = g.join_rows(x, count=c.merge**2)
    x = g.activate(g.linear(x, g.weight("mm.0.weight"), g.weight("mm.0.bias")), activation="gelu")
    g.output(g.linear(x, g.weight("mm.2.weight"), g.weight("mm.2.bias")), "embeds")
    for place, rows in enumerate(deep):
        g.output(rows, f"embeds.{place + 1}")
    return g.finish()


def fit(c: Config, height: int, width: int) -> tuple[int, int]:
    """The nearest whole cells, then scaled into the fewest and most pixels."""
    if max(height, width) > LONGEST * min(height, width):
        raise InvalidRequestError(
            "image", got=f"{width}x{height} pixels", want=f"a side at most {LONGEST} times the other", field="image"
        )
    side = c.patch * c.merge
    rows, columns = round(height / side), round(width / side)
    if rows * columns * side**2 > c.most:
        shrink = math.sqrt(height * width / c.most)
        rows, columns = (max(1, math.floor(n / shrink / side)) for n in (height, width))
    elif rows * columns * side**2 < c.fewest:
        grow = math.sqrt(c.fewest / (height * width))
        rows, columns = math.ceil(height * grow / side), math.ceil(width * grow / side)
    most = max(1, c.most // side**2)  # strips of one cell may have passed it
    if rows * columns > most:
        rows, columns = (rows, most // rows) if rows <= columns else (most // columns, columns)
    return rows * side, columns * side


def arrange(c: Config, pixels: F32, tables: Mapping[str, F32]) -> Arranged:
    patches, row, column = cells(pixels, c.patch, c.merge)
    height, width = pixels.shape[0] // c.patch, pixels.shape[1] // c.patch
    added = resampled(tables["v.position_embd.weight"], c.table, row, column, height, width)
    rows = np.arange(len(row) // c.merge**2, dtype=np.int32)
    grid = height // c.merge, width // c.merge
    return Arranged(patches, np.stack([row, column]), np.arange(len(row), dtype=np.int32), rows, grid, added)
