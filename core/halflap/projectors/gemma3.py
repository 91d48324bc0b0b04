"""Gemma 3: a SigLIP tower over a fixed square, cells averaged, normed and projected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from attrs import frozen

from halflap.architectures.keys import Shape
from halflap.errors import ModelFormatError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.projectors.keys import VisionKeys
from halflap.projectors.patches import F32, Arranged, cells, exactly

FILTER = "bilinear"


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    eps: float
    patch: int
    image: int
    pool: int
    projected: int
    deepstack: int = 0

    @classmethod
    def read(cls, keys: VisionKeys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        c = cls(
            layers=keys.integer("block_count", least=1, most=1 << 12),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            eps=keys.positive("attention.layer_norm_epsilon"),
            patch=keys.integer("patch_size", least=1, most=1 << 10),
            image=keys.integer("image_size", least=1, most=1 << 14),
            pool=keys.integer("projector.scale_factor", 4, least=1, most=1 << 10),
            projected=keys.integer("projection_dim", least=1),
        )
        if c.width % c.heads or c.image % (c.patch * c.pool):
            raise ModelFormatError(
                "metadata 'clip.vision'", got=f"width {width} in {heads} heads, image of {c.image}",
                want=f"heads that divide the width, cells of {c.patch * c.pool} that divide the image",
            )  # fmt: skip
        return c

    @property
    def most_patches(self) -> int:
        return (self.image // self.patch) ** 2

    def limited(self, rows: int) -> Config:
        """Unchanged: the tower's square is what it is."""
        return self


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "v.patch_embd.weight", (c.width, 3 * c.patch**2)
    yield "v.patch_embd.bias?", (c.width,)
    yield "v.position_embd.weight", ((c.image // c.patch) ** 2, c.width)
    yield "v.post_ln.weight", (c.width,)
    yield "v.post_ln.bias", (c.width,)
    yield "mm.soft_emb_norm.weight", (c.width,)
    yield "mm.input_projection.weight", (c.projected, c.width)
    for i in range(c.layers):
        b = f"v.blk.{i}."
        for norm in ("ln1", "ln2"):
            yield f"{b}{norm}.weight", (c.width,)
            yield f"{b}{norm}.bias", (c.width,)
        for name, rows, columns in (
            ("attn_q", c.width, c.width),
            ("attn_k", c.width, c.width),
            ("attn_v", c.width, c.width),
            ("attn_out", c.width, c.width),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"{b}{name}.weight", (rows, columns)
            yield f"{b}{name}.bias?", (rows,)


def build(c: Config, g: GraphBuilder) -> Graph:
    head_dim = c.width // c.heads
    g.segment("patches")
    patches = g.input("patches", "f32", "T", 3 * c.patch**2)
    x = g.linear(patches, g.weight("v.patch_embd.weight"), g.optional("v.patch_embd.bias"))
    x = g.add_positions(x, g.weight("v.position_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"v.blk.{i}."
        h = g.layer_norm(x, g.weight(b + "ln1.weight"), g.weight(b + "ln1.bias"), eps=c.eps)
        q, k, v = (
            g.linear(h, g.weight(f"{b}attn_{name}.weight"), g.optional(f"{b}attn_{name}.bias")) for name in "qkv"
        )
        h = g.self_attention(
            q, k, v, heads=c.heads, kv_heads=c.heads, head_dim=head_dim, v_head_dim=head_dim, scale=head_dim**-0.5
        )
        h = g.linear(h, g.weight(b + "attn_out.weight"), g.optional(b + "attn_out.bias"))
        x = g.add(x, h)
        h = g.layer_norm(x, g.weight(b + "ln2.weight"), g.weight(b + "ln2.bias"), eps=c.eps)
        h = g.linear(h, g.weight(b + "ffn_up.weight"), g.optional(b + "ffn_up.bias"))
        h = g.activate(h, activation="gelu_tanh")
        x = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight"), g.optional(b + "ffn_down.bias")))
    g.segment("projector")
    x = g.layer_norm(x, g.weight("v.post_ln.weight"), g.weight("v.post_ln.bias"), eps=c.eps)
    x = g.mean_rows(x, count=c.pool**2)
    x = g.rms_norm(x, g.weight("mm.soft_emb_norm.weight"), eps=c.eps)
    g.output(g.linear(x, g.weight("mm.input_projection.weight")), "embeds")
    return g.finish()


def fit(c: Config, height: int, width: int) -> tuple[int, int]:
    """Always the tower's square; pan and scan is left to the caller, who may send the parts as images."""
    return c.image, c.image


def arrange(c: Config, pixels: F32, tables: Mapping[str, F32]) -> Arranged:
    exactly(pixels, c.image)
    patches, row, column = cells(pixels, c.patch, c.pool)
    side = c.image // (c.patch * c.pool)
    count = np.arange(side * side, dtype=np.int32)
    return Arranged(patches, np.zeros((1, len(row)), np.int32), row * (side * c.pool) + column, count, (side, side))
