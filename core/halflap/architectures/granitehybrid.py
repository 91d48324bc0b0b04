"""Granite 4 hybrid: Mamba 2 mixers, some attention layers, a shared feed forward, routed experts beside it or not."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.architectures.state_space import StateSpace
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value


@frozen
class Config:
    """Attributes:
    kv_heads: per layer; 0 where a mixer stands instead of attention.
    rope: None: the model knows places from its mixers only.
    """

    layers: int
    width: int
    ffn: int
    experts: int
    experts_used: int
    expert_ffn: int
    mixer: StateSpace
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    eps: float
    rope: rotary.Rotary | None
    attention_scale: float
    embedding_scale: float
    residual_scale: float
    logit_scale: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        layers, head_dim = (
            keys.integer("block_count", least=1),
            keys.integer("attention.key_length", width // heads, least=2),
        )
        experts = keys.integer("expert_count", 0)
        shared = "expert_shared_feed_forward_length" if experts else "feed_forward_length"
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer(shared, least=1),
            experts=experts,
            experts_used=keys.experts_used(),
            expert_ffn=keys.size("expert_feed_forward_length", "blk.0.ffn_gate_exps.weight", 1) if experts else 0,
            mixer=StateSpace.read(keys),
            heads=heads,
            kv_heads=keys.integers("attention.head_count_kv", layers),
            head_dim=head_dim,
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2))
            if keys.flag("rope.scaling.finetuned", True)
            else None,
            attention_scale=keys.positive("attention.scale", head_dim**-0.5),
            embedding_scale=keys.positive("embedding_scale", 1.0),
            residual_scale=keys.positive("residual_scale", 1.0),
            logit_scale=keys.positive("logit_scale", 1.0),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    shared = "_shexp" if c.experts else ""
    for i, kv_heads in enumerate(c.kv_heads):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        if kv_heads:
            yield b + "attn_q.weight", (c.heads * c.head_dim, c.width)
            yield b + "attn_k.weight", (kv_heads * c.head_dim, c.width)
            yield b + "attn_v.weight", (kv_heads * c.head_dim, c.width)
            yield b + "attn_output.weight", (c.width, c.heads * c.head_dim)
        else:
            yield from c.mixer.weights(b, c.width)
        yield b + "ffn_norm.weight", (c.width,)
        yield f"{b}ffn_gate{shared}.weight", (c.ffn, c.width)
        yield f"{b}ffn_up{shared}.weight", (c.ffn, c.width)
        yield f"{b}ffn_down{shared}.weight", (c.width, c.ffn)
        if c.experts:
            yield b + "ffn_gate_inp.weight", (c.experts, c.width)
            yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
            yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
            yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.scale(x, factor=c.embedding_scale)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        h = attention(c, g, i, h) if c.kv_heads[i] else c.mixer.build(g, b, h, c.eps)
        x = g.add(x, g.scale(h, factor=c.residual_scale))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        h = feed_forward(c, g, b, h)
        x = g.add(x, g.scale(h, factor=c.residual_scale))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(g.scale(logits, factor=1 / c.logit_scale), "logits")
    return g.finish()


def attention(c: Config, g: GraphBuilder, i: int, h: Value) -> Value:
    b, kv_heads = f"blk.{i}.", c.kv_heads[i]
    q = g.linear(h, g.weight(b + "attn_q.weight"))
    k = g.linear(h, g.weight(b + "attn_k.weight"))
    v = g.linear(h, g.weight(b + "attn_v.weight"))
    if c.rope is not None:
        rope = {"head_dim": c.head_dim, "layout": "interleaved", "frequencies": c.rope.frequencies,
                "magnitude": c.rope.magnitude}  # fmt: skip
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
    state = g.state_layer("kv", kv_heads * c.head_dim, kv_heads * c.head_dim)
    h = g.attention(
        q, k, v, heads=c.heads, kv_heads=kv_heads, head_dim=c.head_dim, v_head_dim=c.head_dim,
        scale=c.attention_scale, **state,
    )  # fmt: skip
    out: Value = g.linear(h, g.weight(b + "attn_output.weight"))
    return out


def feed_forward(c: Config, g: GraphBuilder, b: str, h: Value) -> Value:
    shared = "_shexp" if c.experts else ""
    gate = g.linear(h, g.weight(f"{b}ffn_gate{shared}.weight"))
    up = g.linear(h, g.weight(f"{b}ffn_up{shared}.weight"))
    out: Value = g.linear(g.glu(gate, up), g.weight(f"{b}ffn_down{shared}.weight"))
    if c.experts:
        logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
        ids, shares = g.route(logits, used=c.experts_used, gating="softmax_chosen")
        mixed = g.moe(
            h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
            g.weight(b + "ffn_down_exps.weight"),
        )  # fmt: skip
        out = g.add(mixed, out)
    return out
