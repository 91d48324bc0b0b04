"""Nomic BERT: a BERT that turns Q and K instead of learning positions, with a gated FFN."""

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
    types: int
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        keys.sees_both_ways()
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
            eps=keys.positive("attention.layer_norm_epsilon"),
            types=keys.rows("token_types.weight") if "token_types.weight" in keys.tensors else 0,
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "token_types.weight?", (c.types, c.width)
    yield "token_embd_norm.weight", (c.width,)
    yield "token_embd_norm.bias", (c.width,)
    for i in range(c.layers):
        b = f"blk.{i}."
        for name, rows, columns in (
            ("attn_qkv", (c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.v_head_dim, c.width),
            ("attn_output", c.width, c.heads * c.v_head_dim),
            ("ffn_gate", c.ffn, c.width),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"{b}{name}.weight", (rows, columns)
            yield f"{b}{name}.bias?", (rows,)
        for name in ("attn_output_norm", "layer_output_norm"):
            yield f"{b}{name}.weight", (c.width,)
            yield f"{b}{name}.bias", (c.width,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    if c.types:
        x = g.add_positions(x, g.weight("token_types.weight"), row=0)  # one text: every token is of the first type
    x = g.layer_norm(x, g.weight("token_embd_norm.weight"), g.weight("token_embd_norm.bias"), eps=c.eps)
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    q_width, k_width, v_width = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        qkv = g.linear(x, g.weight(b + "attn_qkv.weight"), g.optional(b + "attn_qkv.bias"))
        q, k, v = g.split(qkv, sizes=(q_width, k_width, v_width))
        h = g.self_attention(
            g.rope(q, **rope), g.rope(k, **rope), v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim,
            v_head_dim=c.v_head_dim, scale=c.head_dim**-0.5,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        x = g.layer_norm(x, g.weight(b + "attn_output_norm.weight"), g.weight(b + "attn_output_norm.bias"), eps=c.eps)
        gate = g.linear(x, g.weight(b + "ffn_gate.weight"), g.optional(b + "ffn_gate.bias"))
        up = g.linear(x, g.weight(b + "ffn_up.weight"), g.optional(b + "ffn_up.bias"))
        h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"), g.optional(b + "ffn_down.bias"))
        x = g.add(x, h)
        x = g.layer_norm(x, g.weight(b + "layer_output_norm.weight"), g.weight(b + "layer_output_norm.bias"), eps=c.eps)
    g.output(x, "hidden")
    return g.finish()
