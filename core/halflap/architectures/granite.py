"""Granite 3 and 4 without Mamba layers: llama with fixed factors on embeddings, attention, residuals and logits."""

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
    experts: int
    experts_used: int
    shared_ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    scale: float
    eps: float
    window: int
    windowed: tuple[bool, ...]
    embedding_scale: float
    residual_scale: float
    logit_scale: float
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        layers = keys.integer("block_count", least=1)
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            experts=keys.integer("expert_count", 0),
            experts_used=keys.experts_used(),
            shared_ffn=keys.integer("expert_shared_feed_forward_length", 0),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            scale=keys.positive("attention.scale", head_dim**-0.5),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            window=keys.integer("attention.sliding_window", 0),
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 4),
            embedding_scale=keys.positive("embedding_scale", 1.0),
            residual_scale=keys.positive("residual_scale", 1.0),
            logit_scale=keys.positive("logit_scale", 1.0),
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2)),
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
            yield f"{b}attn_{name}.bias?", (rows,)
        yield b + "attn_sinks.weight?", (c.heads,)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "attn_output.bias?", (c.width,)
        yield b + "ffn_norm.weight", (c.width,)
        if c.experts:
            yield b + "ffn_gate_inp.weight", (c.experts, c.width)
            yield b + "ffn_gate_exps.weight", (c.experts, c.ffn, c.width)
            yield b + "ffn_up_exps.weight", (c.experts, c.ffn, c.width)
            yield b + "ffn_down_exps.weight", (c.experts, c.width, c.ffn)
        else:
            for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
                yield f"{b}ffn_{name}.weight", (rows, columns)
        if c.shared_ffn:
            yield b + "ffn_gate_shexp.weight", (c.shared_ffn, c.width)
            yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
            yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.scale(x, factor=c.embedding_scale)
    rope = {
        "head_dim": c.head_dim,
        "layout": "interleaved",
        "frequencies": c.rope.frequencies,
        "magnitude": c.rope.magnitude,
    }
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        window = c.window if c.windowed[i] else 0
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"), g.optional(b + "attn_q.bias"))
        k = g.linear(h, g.weight(b + "attn_k.weight"), g.optional(b + "attn_k.bias"))
        v = g.linear(h, g.weight(b + "attn_v.weight"), g.optional(b + "attn_v.bias"))
        q = g.rope(q, g.optional("rope_freqs.weight"), **rope)
        k = g.rope(k, g.optional("rope_freqs.weight"), **rope)
        state = g.state_layer("window" if window else "kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim, window)
        h = g.attention(
            q, k, v, g.optional(b + "attn_sinks.weight"),
            heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.scale, window=window, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        x = g.add(x, g.scale(h, factor=c.residual_scale))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        if c.experts:
            logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
            ids, shares = g.route(logits, used=c.experts_used, gating="softmax_chosen")
            y = g.moe(
                h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
                g.weight(b + "ffn_down_exps.weight"),
            )  # fmt: skip
        else:
            gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
            up = g.linear(h, g.weight(b + "ffn_up.weight"))
            y = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        if c.shared_ffn:
            gate = g.linear(h, g.weight(b + "ffn_gate_shexp.weight"))
            up = g.linear(h, g.weight(b + "ffn_up_shexp.weight"))
            y = g.add(y, g.linear(g.glu(gate, up), g.weight(b + "ffn_down_shexp.weight")))
        x = g.add(x, g.scale(y, factor=c.residual_scale))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    logits = g.scale(logits, factor=1 / c.logit_scale)
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
