"""BLOOM: no positions, but scores that fall with the distance of a key, in each head at another rate (ALiBi)."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph

KINDS = ("attn", "ffn")


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    slopes: tuple[float, ...]
    eps: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        return cls(
            layers=keys.integer("block_count", least=1),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=keys.integer("attention.key_length", width // heads, least=1),
            slopes=slopes(heads, keys.positive("attention.max_alibi_bias", 8.0)),
            eps=keys.positive("attention.layer_norm_epsilon"),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def slopes(heads: int, most: float) -> tuple[float, ...]:
    """How fast each head's scores fall (Press et al. 2022): a geometric row, and for what exceeds a power of two of
    heads every second term of the row twice as dense."""
    whole = 1 << (heads.bit_length() - 1)
    first = [2.0 ** (-most * (i + 1) / whole) for i in range(whole)]
    return (*first, *(2.0 ** (-most * (2 * i + 1) / (2 * whole)) for i in range(heads - whole)))


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output.weight?", (c.vocab, c.width)
    for name in ("token_embd_norm", "output_norm", *(f"blk.{i}.{n}_norm" for i in range(c.layers) for n in KINDS)):
        yield name + ".weight", (c.width,)
        yield name + ".bias", (c.width,)
    for i in range(c.layers):
        for name, rows, columns in (
            ("attn_qkv", (c.heads + 2 * c.kv_heads) * c.head_dim, c.width),
            ("attn_output", c.width, c.heads * c.head_dim),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"blk.{i}.{name}.weight", (rows, columns)
            yield f"blk.{i}.{name}.bias?", (rows,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.layer_norm(x, g.weight("token_embd_norm.weight"), g.weight("token_embd_norm.bias"), eps=c.eps)
    kv_width = c.kv_heads * c.head_dim
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.layer_norm(x, g.weight(b + "attn_norm.weight"), g.weight(b + "attn_norm.bias"), eps=c.eps)
        qkv = g.linear(h, g.weight(b + "attn_qkv.weight"), g.optional(b + "attn_qkv.bias"))
        q, k, v = g.split(qkv, sizes=(c.heads * c.head_dim, kv_width, kv_width))
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.head_dim,
            scale=c.head_dim**-0.5, slopes=c.slopes, **g.state_layer("kv", kv_width, kv_width),
        )  # fmt: skip
        x = g.add(x, g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias")))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.layer_norm(x, g.weight(b + "ffn_norm.weight"), g.weight(b + "ffn_norm.bias"), eps=c.eps)
        h = g.linear(h, g.weight(b + "ffn_up.weight"), g.optional(b + "ffn_up.bias"))
        h = g.activate(h, activation="gelu_tanh")
        x = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight"), g.optional(b + "ffn_down.bias")))
    g.segment("head")
    x = g.layer_norm(x, g.weight("output_norm.weight"), g.weight("output_norm.bias"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
