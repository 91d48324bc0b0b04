"""LLaVA: a CLIP or SigLIP tower over a fixed square, the rows of its last layer but one through an MLP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from attrs import frozen

from halflap.architectures.keys import Shape
from halflap.errors import ModelFormatError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.projectors.keys import VisionKeys
from halflap.projectors.patches import F32, Arranged, cells

FILTER = "bicubic"
CLASS = "v.class_embd"


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    eps: float
    patch: int
    image: int
    activation: str
    class_token: bool
    projected: int
    deepstack: int = 0

    @classmethod
    def read(cls, keys: VisionKeys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        blocks = keys.integer("block_count", least=1, most=1 << 12)
        patch = keys.integer("patch_size", least=1, most=1 << 10)
        image = keys.integer("image_size", least=1, most=1 << 14)
        if width % heads or image % patch:
            raise ModelFormatError(
                "metadata 'clip.vision'", got=f"width {width} in {heads} heads, image of {image}",
                want=f"heads that divide the width, patches of {patch} that divide the image",
            )  # fmt: skip
        if keys.has("image_grid_pinpoints"):
            raise keys.refuse("tiling", "image_grid_pinpoints", "one square an image")
        return cls(
            # Where the file does not say which layer is read, it is the last but one.
            layers=keys.integer("feature_layer", max(blocks - 1, 1), least=1, most=blocks),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            eps=keys.positive("attention.layer_norm_epsilon"),
            patch=patch,
            image=image,
            activation="gelu_tanh" if keys.uses("gelu") else "silu" if keys.uses("silu") else "quick",
            class_token=CLASS in keys.tensors,
            projected=keys.integer("projection_dim", least=1),
        )

    @property
    def most_patches(self) -> int:
        return (self.image // self.patch) ** 2 + self.class_token

    def limited(self, rows: int) -> Config:
        """Unchanged: the tower's square is what it is."""
        return self


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "v.patch_embd.weight", (c.width, 3 * c.patch**2)
    yield "v.patch_embd.bias?", (c.width,)
    yield "v.position_embd.weight", ((c.image // c.patch) ** 2 + c.class_token, c.width)
    if c.class_token:
        yield CLASS, (1, c.width)
    for norm in ("v.pre_ln", "v.post_ln"):
        yield norm + ".weight?", (c.width,)
        yield norm + ".bias?", (c.width,)
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
    yield "mm.0.weight", (c.projected, c.width)
    yield "mm.0.bias?", (c.projected,)
    yield "mm.2.weight", (c.projected, c.projected)
    yield "mm.2.bias?", (c.projected,)


def build(c: Config, g: GraphBuilder) -> Graph:
    head_dim = c.width // c.heads
    rows = g.input("rows", "i32", "R")
    g.segment("patches")
    patches = g.input("patches", "f32", "T", 3 * c.patch**2)
    x = g.linear(patches, g.weight("v.patch_embd.weight"), g.optional("v.patch_embd.bias"))
    if c.class_token:
        x = g.embed(g.input("ids", "i32", "T"), g.weight(CLASS), x)
    x = g.add_positions(x, g.weight("v.position_embd.weight"))
    if g.optional("v.pre_ln.weight"):
        x = g.layer_norm(x, g.weight("v.pre_ln.weight"), g.optional("v.pre_ln.bias"), eps=c.eps)
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
        x = g.add(x, g.linear(h, g.weight(b + "attn_out.weight"), g.optional(b + "attn_out.bias")))
        h = g.layer_norm(x, g.weight(b + "ln2.weight"), g.weight(b + "ln2.bias"), eps=c.eps)
        h = g.linear(h, g.weight(b + "ffn_up.weight"), g.optional(b + "ffn_up.bias"))
        if c.activation == "quick":  # x·sigmoid(1.702·x), OpenAI's CLIP
            h = g.glu(g.scale(h, factor=1.702), h, activation="sigmoid")
        else:
            h = g.activate(h, activation=c.activation)
        x = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight"), g.optional(b + "ffn_down.bias")))
    g.segment("projector")
    x = g.take(x, rows)
    if g.optional("v.post_ln.weight"):
        x = g.layer_norm(x, g.weight("v.post_ln.weight"), g.optional("v.post_ln.bias"), eps=c.eps)
    x = g.activate(g.linear(x, g.weight("mm.0.weight"), g.optional("mm.0.bias")), activation="gelu")
    g.output(g.linear(x, g.weight("mm.2.weight"), g.optional("mm.2.bias")), "embeds")
    return g.finish()


def fit(c: Config, height: int, width: int) -> tuple[int, int]:
    """CLIP's processor brings the shorter side to the tower's and crops the middle; SigLIP's distorts."""
    if not c.class_token:
        return c.image, c.image
    short, long = min(height, width), max(height, width)
    long = int(c.image * long / short)
    return (long, c.image) if width <= height else (c.image, long)


def arrange(c: Config, pixels: F32, tables: Mapping[str, F32]) -> Arranged:
    """The class token comes first; its patch is nobody's."""
    height, width = pixels.shape[:2]
    top, left = (height - c.image) // 2, (width - c.image) // 2
    patches, _, _ = cells(pixels[top : top + c.image, left : left + c.image], c.patch, 1)
    side, first = c.image // c.patch, int(c.class_token)
    patches = np.concatenate([np.zeros((first, patches.shape[1]), np.float32), patches])
    count = np.arange(len(patches), dtype=np.int32)
    ids = np.where(count < first, 0, -1 - count).astype(np.int32)
    return Arranged(patches, np.zeros((1, len(count)), np.int32), count, count[first:], (side, side), ids=ids)
