"""The encoder of T5, alone or (t5.py) before a decoder: no positions, but a number per head and bucket of distance."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value

REACH = 128
"""Keys further away than this share a bucket; files do not say so, and every published model has it."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    buckets: int
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        keys.sees_both_ways()
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=1)
        return cls(
            layers=keys.integer("block_count", least=1),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            buckets=keys.integer("attention.relative_buckets_count", least=4, most=2 * REACH),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "enc.output_norm.weight", (c.width,)
    for i in range(c.layers):
        b = f"enc.blk.{i}."
        yield from attention_weights(c, b + "attn")
        yield f"{b}attn_rel_b.weight{'?' if i else ''}", (c.buckets, c.heads)
        yield from ffn_weights(c, b)


def attention_weights(c: Config, prefix: str) -> Iterator[tuple[str, Shape]]:
    yield prefix + "_norm.weight", (c.width,)
    yield prefix + "_q.weight", (c.heads * c.head_dim, c.width)
    yield prefix + "_k.weight", (c.heads * c.head_dim, c.width)
    yield prefix + "_v.weight", (c.heads * c.v_head_dim, c.width)
    yield prefix + "_o.weight", (c.width, c.heads * c.v_head_dim)


def ffn_weights(c: Config, b: str) -> Iterator[tuple[str, Shape]]:
    yield b + "ffn_norm.weight", (c.width,)
    yield b + "ffn_gate.weight?", (c.ffn, c.width)
    yield b + "ffn_up.weight", (c.ffn, c.width)
    yield b + "ffn_down.weight", (c.width, c.ffn)


def buckets(count: int, *, one_way: bool = False) -> tuple[int, ...]:
    """The bucket of each distance of a key from its query, from -REACH to REACH (Raffel et al. 2019).

    Half of them are for keys that follow, but for a decoder, which sees none (`one_way`). Of those for keys behind,
    half are for one distance each, the others widen by logarithm.
    """
    half = count if one_way else count // 2
    exact = half // 2

    def behind(distance: int) -> int:
        if distance < exact:
            return distance
        return min(exact + int(math.log(distance / exact) / math.log(REACH / exact) * (half - exact)), half - 1)

    ahead = 0 if one_way else half
    return tuple(behind(0 if one_way and d > 0 else abs(d)) + (ahead if d > 0 else 0) for d in range(-REACH, REACH + 1))


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        x = attend(c, g, i, x)
        if i == c.layers - 1:
            x = g.take(x, rows)
        x = feed_forward(c, g, f"enc.blk.{i}.", x)
    g.segment("head")
    x = g.rms_norm(x, g.weight("enc.output_norm.weight"), eps=c.eps)
    g.output(x, "hidden")
    return g.finish()


def attend(c: Config, g: GraphBuilder, i: int, x: Value) -> Value:
    """Attention of a layer of the encoder, added to what it reads."""
    b = f"enc.blk.{i}."
    h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
    q, k, v = (g.linear(h, g.weight(f"{b}attn_{name}.weight")) for name in "qkv")
    bias = g.optional(b + "attn_rel_b.weight") or g.weight("enc.blk.0.attn_rel_b.weight")
    h = g.self_attention(
        q, k, v, bias, heads=c.heads, kv_heads=c.heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim, scale=1.0,
        buckets=buckets(c.buckets),
    )  # fmt: skip
    y: Value = g.add(x, g.linear(h, g.weight(b + "attn_o.weight")))
    return y


def feed_forward(c: Config, g: GraphBuilder, b: str, x: Value) -> Value:
    """The other half of a layer."""
    h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
    up = g.linear(h, g.weight(b + "ffn_up.weight"))
    if (gate := g.optional(b + "ffn_gate.weight")) is not None:
        h = g.glu(g.linear(h, gate), up, activation="gelu_tanh")
    else:
        h = g.activate(up, activation="relu")
    y: Value = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight")))
    return y
