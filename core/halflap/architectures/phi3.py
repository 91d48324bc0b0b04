"""Phi 3 and 4: one matrix for Q, K and V, one for gate and up; long contexts through a tensor of factors."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    window: int
    long_from: int
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        return cls(
            layers=keys.integer("block_count", least=1),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            window=keys.integer("attention.sliding_window", 0),
            long_from=keys.integer("rope.scaling.original_context_length", 0),
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    for name in ("long", "short"):
        yield f"rope_factors_{name}.weight?", (len(c.rope.frequencies),)
    for i in range(c.layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        yield b + "attn_qkv.weight", ((c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.v_head_dim, c.width)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_up.weight", (2 * c.ffn, c.width)
        yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    q_width, k_width, v_width = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim
    short, long = g.optional("rope_factors_short.weight"), g.optional("rope_factors_long.weight")
    group, window = ("window", c.window) if c.window else ("kv", 0)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        qkv = g.linear(h, g.weight(b + "attn_qkv.weight"))
        q, k, v = g.split(qkv, sizes=(q_width, k_width, v_width))
        q = g.rope(q, short, long, long_from=c.long_from, **rope)
        k = g.rope(k, short, long, long_from=c.long_from, **rope)
        state = g.state_layer(group, k_width, v_width, window)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, window=window, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        h = g.linear(g.glu(g.linear(h, g.weight(b + "ffn_up.weight"))), g.weight(b + "ffn_down.weight"))
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
