"""Gemma 3: five layers in six see a window only and turn with their own base; Q and K normed head by head."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph

LAYERS_27B = 62
"""The 27B model scales its queries by width/heads instead of head_dim, and its files do not say so."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    scale: float
    eps: float
    window: int
    windowed: tuple[bool, ...]
    attention_softcap: float
    logit_softcap: float
    rope: rotary.Rotary
    window_rope: rotary.Rotary
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
            scale=keys.positive("attention.scale", (width // heads if layers == LAYERS_27B else head_dim) ** -0.5),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=rotary.read(keys, rotated, 1e6),
            window_rope=rotary.plain(rotated, keys.positive("rope.freq_base_swa", 10000.0)),
            context=keys.integer("context_length", least=1),
            window=keys.integer("attention.sliding_window", 1024),
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 6),
            attention_softcap=keys.number("attn_logit_softcapping", 0.0),
            logit_softcap=keys.number("final_logit_softcapping", 0.0),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
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
        yield b + "post_attention_norm.weight", (c.width,)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "post_ffw_norm.weight", (c.width,)
        yield b + "ffn_gate.weight", (c.ffn, c.width)
        yield b + "ffn_up.weight", (c.ffn, c.width)
        yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.scale(x, factor=c.width**0.5)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        window = c.window if c.windowed[i] else 0
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"))
        k = g.linear(h, g.weight(b + "attn_k.weight"))
        v = g.linear(h, g.weight(b + "attn_v.weight"))
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=c.kv_heads)
        turn = c.window_rope if window else c.rope
        rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": turn.frequencies, "magnitude": turn.magnitude}
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        group = "window" if window else "kv"
        state = g.state_layer(group, c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim, window)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.scale, window=window,
            softcap=c.attention_softcap, spans=True, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        h = g.rms_norm(h, g.weight(b + "post_attention_norm.weight"), eps=c.eps)
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up, activation="gelu_tanh"), g.weight(b + "ffn_down.weight"))
        h = g.rms_norm(h, g.weight(b + "post_ffw_norm.weight"), eps=c.eps)
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.weight("token_embd.weight"))
    if c.logit_softcap:
        logits = g.softcap(logits, cap=c.logit_softcap)
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
