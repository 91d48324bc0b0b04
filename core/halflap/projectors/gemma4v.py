"""Gemma 4: sandwich norms, a position table and a rope of each axis, cells averaged, standardised, projected."""

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
from halflap.projectors.patches import F32, Arranged, cells

FILTER = "bicubic"
ROPE_BASE = 100.0
"""No key of the file says it."""
TABLES = ("v.position_embd.weight",)
MOST_ROWS = 280
"""Rows of an image where the file has no say: the published processor's."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    patch: int
    pool: int
    most_rows: int
    table: int
    projected: int
    deepstack: int = 0

    @classmethod
    def read(cls, keys: VisionKeys) -> Config:
        head_dim = keys.rows("v.blk.0.attn_q_norm.weight")
        heads = keys.integer("attention.head_count", least=1)
        patch = keys.integer("patch_size", least=1, most=1 << 10)
        pool = keys.integer("projector.scale_factor", 3, least=1, most=1 << 10)
        if head_dim % 4:
            raise ModelFormatError(
                "tensor 'v.blk.0.attn_q_norm.weight'", got=head_dim, want="a multiple of 4 elements",
                field="v.blk.0.attn_q_norm.weight",
            )  # fmt: skip
        keys.without((".input_min", ".input_max", ".output_min", ".output_max"), "clipped linear layers")
        return cls(
            layers=keys.integer("block_count", least=1, most=1 << 12),
            width=keys.integer("embedding_length", least=1),
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            eps=keys.positive("attention.layer_norm_epsilon"),
            patch=patch,
            pool=pool,
            most_rows=keys.integer("image_max_pixels", MOST_ROWS * (patch * pool) ** 2, least=(patch * pool) ** 2)
            // (patch * pool) ** 2,
            table=keys.rows("v.position_embd.weight") // 2,
            projected=keys.integer("projection_dim", least=1),
        )

    @property
    def most_patches(self) -> int:
        return self.most_rows * self.pool**2

    def limited(self, rows: int) -> Config:
        """Images of at most this many rows."""
        return evolve(self, most_rows=min(self.most_rows, max(1, rows)))


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "v.patch_embd.weight", (c.width, 3 * c.patch**2)
    yield "v.position_embd.weight", (2 * c.table, c.width)
    for i in range(c.layers):
        b = f"v.blk.{i}."
        for name in ("ln1", "ln2", "attn_post_norm", "ffn_post_norm"):
            yield f"{b}{name}.weight", (c.width,)
        for name in ("attn_q_norm", "attn_k_norm"):
            yield f"{b}{name}.weight", (c.head_dim,)
        for name, rows, columns in (
            ("attn_q", c.heads * c.head_dim, c.width),
            ("attn_k", c.kv_heads * c.head_dim, c.width),
            ("attn_v", c.kv_heads * c.head_dim, c.width),
            ("attn_out", c.width, c.heads * c.head_dim),
            ("ffn_gate", c.ffn, c.width),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"{b}{name}.weight", (rows, columns)
        yield b + "out_scale.weight?", (1,)
    yield "v.std_bias?", (c.width,)
    yield "v.std_scale?", (c.width,)
    yield "mm.input_projection.weight", (c.projected, c.width)


def build(c: Config, g: GraphBuilder) -> Graph:
    half = c.head_dim // 2
    steps = tuple(ROPE_BASE ** (-2 * i / half) for i in range(half // 2))
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": steps}
    g.segment("patches")
    patches = g.input("patches", "f32", "T", 3 * c.patch**2)
    x = g.linear(patches, g.weight("v.patch_embd.weight"))
    x = g.add(x, g.input("added", "f32", "T", c.width))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"v.blk.{i}."
        h = g.rms_norm(x, g.weight(b + "ln1.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"))
        k = g.linear(h, g.weight(b + "attn_k.weight"))
        v = g.linear(h, g.weight(b + "attn_v.weight"))
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=c.kv_heads)
        v = g.rms_norm(v, eps=c.eps, groups=c.kv_heads)
        for axis in (0, 1):  # the first half of a head turns with the column, the second with the row
            turn = {**rope, "offset": axis * half, "axes": (axis,) * len(steps)}
            q, k = g.rope(q, **turn), g.rope(k, **turn)
        h = g.self_attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.head_dim, scale=1.0
        )
        h = g.linear(h, g.weight(b + "attn_out.weight"))
        x = g.add(x, g.rms_norm(h, g.weight(b + "attn_post_norm.weight"), eps=c.eps))
        h = g.rms_norm(x, g.weight(b + "ln2.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up, activation="gelu_tanh"), g.weight(b + "ffn_down.weight"))
        x = g.add(x, g.rms_norm(h, g.weight(b + "ffn_post_norm.weight"), eps=c.eps))
        scale = g.optional(b + "out_scale.weight")
        if scale is not None:
            x = g.mul(x, scale)
    g.segment("projector")
    x = g.scale(g.mean_rows(x, count=c.pool**2), factor=math.sqrt(c.width))
    bias, scale = g.optional("v.std_bias"), g.optional("v.std_scale")
    if bias is not None and scale is not None:
        x = g.mul(g.scale(g.add(g.scale(x, factor=-1.0), bias), factor=-1.0), scale)
    x = g.rms_norm(x, eps=c.eps)
    g.output(g.linear(x, g.weight("mm.input_projection.weight")), "embeds")
    return g.finish()


def fit(c: Config, height: int, width: int) -> tuple[int, int]:
    """As large as the rows allow, in whole cells, the sides in proportion as nearly as cells allow."""
    side = c.patch * c.pool
    factor = math.sqrt(c.most_rows * side**2 / (height * width))
    rows, columns = math.floor(factor * height / side), math.floor(factor * width / side)
    if not rows and not columns:
        raise InvalidRequestError("image", got=f"{width}x{height} pixels", want="room for one cell", field="image")
    if not rows:
        rows, columns = 1, min(width // height, c.most_rows)
    elif not columns:
        rows, columns = min(height // width, c.most_rows), 1
    return rows * side, columns * side


def arrange(c: Config, pixels: F32, tables: Mapping[str, F32]) -> Arranged:
    patches, row, column = cells(2 * (pixels - np.float32(0.5)), c.patch, c.pool)
    height, width = pixels.shape[0] // c.patch, pixels.shape[1] // c.patch
    if max(height, width) > c.table:
        raise InvalidRequestError(
            "image", got=f"{width}x{height} patches", want=f"at most {c.table} on a side", field="image"
        )
    table = tables["v.position_embd.weight"]
    added = table[column] + table[c.table + row]
    rows = np.arange(len(row) // c.pool**2, dtype=np.int32)
    grid = height // c.pool, width // c.pool
    return Arranged(patches, np.stack([column, row]), np.arange(len(row), dtype=np.int32), rows, grid, added)
