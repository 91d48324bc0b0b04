"""Qwen 3 VL, its text side: interleaved M-RoPE; image rows are added after the first layers too (deepstack)."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

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
    rope: rotary.Rotary
    deepstack: int
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        layers = keys.integer("block_count", least=1)
        rotated = keys.integer("rope.dimension_count", head_dim, least=2)
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=evolve(rotary.read(keys, rotated), axes=rotary.interleaved_axes(keys, rotated)),
            deepstack=keys.integer("n_deepstack_layers", 0, most=layers - 1),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    for i in range(c.layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        for name, rows in (
            ("q", c.heads * c.head_dim),
            ("k", c.kv_heads * c.head_dim),
            ("v", c.kv_heads * c.v_head_dim),
        ):
            yield f"{b}attn_{name}.weight", (rows, c.width)
        yield b + "attn_q_norm.weight", (c.head_dim,)
        yield b + "attn_k_norm.weight", (c.head_dim,)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_gate.weight", (c.ffn, c.width)
        yield b + "ffn_up.weight", (c.ffn, c.width)
        yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    ids, given = g.input("ids", "i32", "T"), g.given_rows()
    x = g.embed(ids, g.weight("token_embd.weight"), given)
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude,
            "axes": c.rope.axes}  # fmt: skip
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"))
        k = g.linear(h, g.weight(b + "attn_k.weight"))
        v = g.linear(h, g.weight(b + "attn_v.weight"))
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=c.kv_heads)
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        state = g.state_layer("kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        x = g.add(x, h)
        if given is not None and i < c.deepstack:
            x = g.add(x, g.embed(ids, None, given, column=(i + 1) * c.width, width=c.width))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
