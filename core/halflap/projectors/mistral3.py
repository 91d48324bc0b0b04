"""Pixtral's tower with 2-D rope, as Mistral Small 3 and Ministral 3 use it: cells of patches merged by a matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from attrs import evolve, frozen

from halflap.architectures.keys import Shape
from halflap.errors import ModelFormatError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.projectors.keys import VisionKeys
from halflap.projectors.patches import F32, Arranged, cells

FILTER = "bicubic"
ROPE_BASE = 10000.0
"""No key of the file says it."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    eps: float
    patch: int
    image: int
    merge: int
    activation: str
    projected: int
    deepstack: int = 0

    @classmethod
    def read(cls, keys: VisionKeys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        if width % heads or width // heads % 4:
            raise ModelFormatError(
                "metadata 'clip.vision.attention.head_count'", got=f"{heads} heads of width {width}",
                want="heads whose width 4 divides", field="clip.vision.attention.head_count",
            )  # fmt: skip
        return cls(
            layers=keys.integer("block_count", least=1, most=1 << 12),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            eps=keys.positive("attention.layer_norm_epsilon"),
            patch=keys.integer("patch_size", least=1, most=1 << 10),
            image=keys.integer("image_size", least=1, most=1 << 14),
            merge=keys.integer("spatial_merge_size", 1, least=1, most=1 << 10),
            activation="gelu" if keys.uses("gelu") else "silu",
            projected=keys.integer("projection_dim", least=1),
        )

    @property
    def most_patches(self) -> int:
        return (-(-self.image // (self.patch * self.merge)) * self.merge) ** 2

    def limited(self, rows: int) -> Config:
        """Images of at most this many rows."""
        return evolve(self, image=min(self.image, max(1, math.isqrt(rows)) * self.patch * self.merge))


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "v.patch_embd.weight", (c.width, 3 * c.patch**2)
    yield "v.patch_embd.bias?", (c.width,)
    yield "v.pre_ln.weight", (c.width,)
    for i in range(c.layers):
        b = f"v.blk.{i}."
        for name in ("ln1", "ln2"):
            yield f"{b}{name}.weight", (c.width,)
        for name in ("q", "k", "v", "out"):
            yield f"{b}attn_{name}.weight", (c.width, c.width)
        for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
            yield f"{b}ffn_{name}.weight", (rows, columns)
    if c.merge > 1:
        yield "mm.input_norm.weight", (c.width,)
        yield "mm.patch_merger.weight", (c.width, c.width * c.merge**2)
    yield "mm.1.weight", (c.projected, c.width)
    yield "mm.1.bias?", (c.projected,)
    yield "mm.2.weight", (c.projected, c.projected)
    yield "mm.2.bias?", (c.projected,)


def build(c: Config, g: GraphBuilder) -> Graph:
    head_dim = c.width // c.heads
    # Rows take every other frequency from the first on, columns the ones between.
    steps = [ROPE_BASE ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    rope = {
        "head_dim": head_dim,
        "layout": "interleaved",
        "frequencies": (*steps[0::2], *steps[1::2]),
        "axes": (0,) * (head_dim // 4) + (1,) * (head_dim // 4),
    }
    g.segment("patches")
    patches = g.input("patches", "f32", "T", 3 * c.patch**2)
    x = g.linear(patches, g.weight("v.patch_embd.weight"), g.optional("v.patch_embd.bias"))
    x = g.rms_norm(x, g.weight("v.pre_ln.weight"), eps=c.eps)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"v.blk.{i}."
        h = g.rms_norm(x, g.weight(b + "ln1.weight"), eps=c.eps)
        q = g.rope(g.linear(h, g.weight(b + "attn_q.weight")), **rope)
        k = g.rope(g.linear(h, g.weight(b + "attn_k.weight")), **rope)
        v = g.linear(h, g.weight(b + "attn_v.weight"))
        h = g.self_attention(
            q, k, v, heads=c.heads, kv_heads=c.heads, head_dim=head_dim, v_head_dim=head_dim, scale=head_dim**-0.5
        )
        x = g.add(x, g.linear(h, g.weight(b + "attn_out.weight")))
        h = g.rms_norm(x, g.weight(b + "ln2.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        x = g.add(x, g.linear(g.glu(gate, up, activation=c.activation), g.weight(b + "ffn_down.weight")))
    g.segment("projector")
    if c.merge > 1:
        x = g.rms_norm(x, g.weight("mm.input_norm.weight"), eps=c.eps)
        x = g.join_rows(x, count=c.merge**2, interleaved=True)
        x = g.linear(x, g.weight("mm.patch_merger.weight"))
    else:
        x = g.take(x, g.input("rows", "i32", "R"))
    x = g.activate(g.linear(x, g.weight("mm.1.weight"), g.optional("mm.1.bias")), activation="gelu")
    g.output(g.linear(x, g.weight("mm.2.weight"), g.optional("mm.2.bias")), "embeds")
    return g.finish()


def fit(c: Config, height: int, width: int) -> tuple[int, int]:
    """Down to the longest edge the tower takes, if it is longer; then up to whole cells."""
    ratio = max(height, width) / c.image
    if ratio > 1:
        height, width = math.floor(height / ratio), math.floor(width / ratio)
    side = c.patch * c.merge
    return max(1, -(-height // side)) * side, max(1, -(-width // side)) * side


def arrange(c: Config, pixels: F32, tables: Mapping[str, F32]) -> Arranged:
    patches, row, column = cells(pixels, c.patch, c.merge)
    height, width = pixels.shape[0] // (c.patch * c.merge), pixels.shape[1] // (c.patch * c.merge)
    rows = np.arange(height * width, dtype=np.int32)
    return Arranged(patches, np.stack([row, column]), np.arange(len(row), dtype=np.int32), rows, (height, width))
