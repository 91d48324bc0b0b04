"""LFM 2: short gated convolutions, some layers with attention instead."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value


@frozen
class Config:
    """Attributes:
    kv_heads: per layer; 0 where a convolution stands instead of attention.
    taps: of the convolution.
    """

    layers: int
    width: int
    ffn: int
    taps: int
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    eps: float
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        layers, head_dim = (
            keys.integer("block_count", least=1),
            keys.integer("attention.key_length", width // heads, least=2),
        )
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            taps=keys.integer("shortconv.l_cache", least=2),
            heads=heads,
            kv_heads=keys.integers("attention.head_count_kv", layers),
            head_dim=head_dim,
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "token_embd_norm.weight", (c.width,)  # the last norm, whatever its name
    yield "output.weight?", (c.vocab, c.width)
    for i, kv_heads in enumerate(c.kv_heads):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        if kv_heads:
            yield b + "attn_q.weight", (c.heads * c.head_dim, c.width)
            yield b + "attn_k.weight", (kv_heads * c.head_dim, c.width)
            yield b + "attn_v.weight", (kv_heads * c.head_dim, c.width)
            yield b + "attn_q_norm.weight", (c.head_dim,)
            yield b + "attn_k_norm.weight", (c.head_dim,)
            yield b + "attn_output.weight", (c.width, c.heads * c.head_dim)
        else:
            yield b + "shortconv.in_proj.weight", (3 * c.width, c.width)
            yield b + "shortconv.conv.weight", (c.width, c.taps)
            yield b + "shortconv.out_proj.weight", (c.width, c.width)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_gate.weight", (c.ffn, c.width)
        yield b + "ffn_up.weight", (c.ffn, c.width)
        yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        h = attention(c, g, i, h) if c.kv_heads[i] else convolution(c, g, b, h)
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("token_embd_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()


def attention(c: Config, g: GraphBuilder, i: int, h: Value) -> Value:
    b, kv_heads = f"blk.{i}.", c.kv_heads[i]
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    q = g.linear(h, g.weight(b + "attn_q.weight"))
    k = g.linear(h, g.weight(b + "attn_k.weight"))
    v = g.linear(h, g.weight(b + "attn_v.weight"))
    q = g.rope(g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads), **rope)
    k = g.rope(g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=kv_heads), **rope)
    state = g.state_layer("kv", kv_heads * c.head_dim, kv_heads * c.head_dim)
    h = g.attention(
        q, k, v, heads=c.heads, kv_heads=kv_heads, head_dim=c.head_dim, v_head_dim=c.head_dim,
        scale=c.head_dim**-0.5, **state,
    )  # fmt: skip
    out: Value = g.linear(h, g.weight(b + "attn_output.weight"))
    return out


def convolution(c: Config, g: GraphBuilder, b: str, h: Value) -> Value:
    """One gate before the convolution, one after it."""
    before, after, h = g.split(g.linear(h, g.weight(b + "shortconv.in_proj.weight")), sizes=(c.width,) * 3)
    h = g.conv_state(
        g.mul(before, h), g.weight(b + "shortconv.conv.weight"), **g.slot_layer("recurrent", c.width * (c.taps - 1))
    )
    out: Value = g.linear(g.mul(after, h), g.weight(b + "shortconv.out_proj.weight"))
    return out
