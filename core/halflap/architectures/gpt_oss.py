"""gpt-oss: attention sinks, a window in every second layer, experts with biases and a clamped gate."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph

GATE_LIMIT = 7.0
PUBLISHED_LAYERS = (24, 36)
"""The two published models keep the fractions of YaRN's ramp (`truncate` false), and their files do not say so."""


@frozen
class Config:
    layers: int
    width: int
    experts: int
    experts_used: int
    expert_ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    window: int
    windowed: tuple[bool, ...]
    rope: rotary.Rotary
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
            experts=keys.integer("expert_count", least=1),
            experts_used=keys.experts_used(),
            expert_ffn=keys.size("expert_feed_forward_length", "blk.0.ffn_gate_exps.weight", 1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            window=keys.integer("attention.sliding_window", 128),
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 2),
            rope=rotary.read(
                keys, rotated, truncate=keys.flag("rope.scaling.truncate", layers not in PUBLISHED_LAYERS)
            ),
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
            yield f"{b}attn_{name}.bias", (rows,)
        yield b + "attn_sinks.weight", (c.heads,)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "attn_output.bias", (c.width,)
        yield b + "post_attention_norm.weight", (c.width,)
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        yield b + "ffn_gate_inp.bias", (c.experts,)
        for name, rows, columns in (
            ("gate", c.expert_ffn, c.width),
            ("up", c.expert_ffn, c.width),
            ("down", c.width, c.expert_ffn),
        ):
            yield f"{b}ffn_{name}_exps.weight", (c.experts, rows, columns)
            yield f"{b}ffn_{name}_exps.bias", (c.experts, rows)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        window = c.window if c.windowed[i] else 0
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"), g.weight(b + "attn_q.bias"))
        k = g.linear(h, g.weight(b + "attn_k.weight"), g.weight(b + "attn_k.bias"))
        v = g.linear(h, g.weight(b + "attn_v.weight"), g.weight(b + "attn_v.bias"))
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        state = g.state_layer("window" if window else "kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim, window)
        h = g.attention(
            q, k, v, g.weight(b + "attn_sinks.weight"),
            heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, window=window, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.weight(b + "attn_output.bias"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "post_attention_norm.weight"), eps=c.eps)
        logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"), g.weight(b + "ffn_gate_inp.bias"))
        ids, shares = g.route(logits, used=c.experts_used, gating="softmax_chosen")
        h = g.moe(
            h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
            g.weight(b + "ffn_down_exps.weight"), g.weight(b + "ffn_gate_exps.bias"),
            g.weight(b + "ffn_up_exps.bias"), g.weight(b + "ffn_down_exps.bias"),
            activation="swiglu_oai", limit=GATE_LIMIT,
        )  # fmt: skip
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.weight("output.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
