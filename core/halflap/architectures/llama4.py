"""Llama 4: three layers see a stretch of tokens, the fourth all of them without RoPE; every few layers route."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph

CHUNK = 8192
"""Tokens that windowed layers see together, and the period of the queries' growth, where a file does not say."""
MAVERICK_EXPERTS = (128,)
"""Maverick does not norm its queries and keys, and its files do not say so."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    experts: int
    experts_used: int
    expert_ffn: int
    expert_step: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    window: int
    windowed: tuple[bool, ...]
    norm_heads: bool
    query_growth: float
    query_period: int
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        layers = keys.integer("block_count", least=1)
        experts = keys.integer("expert_count", least=1)
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            experts=experts,
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", least=1),
            expert_step=keys.integer("interleave_moe_layer_step", 1, least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            window=keys.integer("attention.sliding_window", CHUNK),
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 4),
            norm_heads=keys.flag("attention.norm_heads", experts not in MAVERICK_EXPERTS),
            query_growth=keys.number("attention.temperature_scale", 0.1),
            query_period=keys.integer("attention.temperature_length", CHUNK, least=1),
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    yield "rope_freqs.weight?", (len(c.rope.frequencies),)
    for i in range(c.layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        for name, rows in (
            ("q", c.heads * c.head_dim),
            ("k", c.kv_heads * c.head_dim),
            ("v", c.kv_heads * c.v_head_dim),
        ):
            yield f"{b}attn_{name}.weight", (rows, c.width)
            yield f"{b}attn_{name}.bias?", (rows,)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "attn_output.bias?", (c.width,)
        yield b + "ffn_norm.weight", (c.width,)
        if (i + 1) % c.expert_step:
            for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
                yield f"{b}ffn_{name}.weight", (rows, columns)
            continue
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
        yield b + "ffn_gate_shexp.weight", (c.expert_ffn, c.width)
        yield b + "ffn_up_shexp.weight", (c.expert_ffn, c.width)
        yield b + "ffn_down_shexp.weight", (c.width, c.expert_ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    rope = {
        "head_dim": c.head_dim,
        "layout": "interleaved",
        "frequencies": c.rope.frequencies,
        "magnitude": c.rope.magnitude,
    }
    factors = g.optional("rope_freqs.weight")
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        window = c.window if c.windowed[i] else 0
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"), g.optional(b + "attn_q.bias"))
        k = g.linear(h, g.weight(b + "attn_k.weight"), g.optional(b + "attn_k.bias"))
        v = g.linear(h, g.weight(b + "attn_v.weight"), g.optional(b + "attn_v.bias"))
        if c.windowed[i]:
            q = g.rope(q, factors, **rope)
            k = g.rope(k, factors, **rope)
            if c.norm_heads:
                q = g.rms_norm(q, eps=c.eps, groups=c.heads)
                k = g.rms_norm(k, eps=c.eps, groups=c.kv_heads)
        else:
            q = g.position_scale(q, beta=c.query_growth, period=c.query_period, offset=1)
        state = g.state_layer("window" if window else "kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim, window)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, window=window, window_kind="chunked", **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        if (i + 1) % c.expert_step:
            gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
            up = g.linear(h, g.weight(b + "ffn_up.weight"))
            h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        else:
            logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
            ids, shares = g.route(logits, used=c.experts_used, gating="sigmoid")
            mixed = g.moe(
                h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
                g.weight(b + "ffn_down_exps.weight"), weigh_input=True,
            )  # fmt: skip
            gate = g.linear(h, g.weight(b + "ffn_gate_shexp.weight"))
            up = g.linear(h, g.weight(b + "ffn_up_shexp.weight"))
            shared = g.linear(g.glu(gate, up), g.weight(b + "ffn_down_shexp.weight"))
            h = g.add(mixed, shared)
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
