"""LFM 2 MoE: LFM 2 with routed experts in all but the first layers."""

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
    dense: layers without experts, counted from the first.
    """

    layers: int
    width: int
    ffn: int
    dense: int
    experts: int
    experts_used: int
    expert_ffn: int
    gating: str
    normalize_shares: bool
    share_scale: float
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
            dense=keys.integer("leading_dense_block_count", 0),
            experts=keys.integer("expert_count", least=1),
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", least=1),
            gating=keys.gating("sigmoid"),
            normalize_shares=keys.flag("expert_weights_norm", True),
            share_scale=keys.positive("expert_weights_scale", 1.0),
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
        if i < c.dense:
            yield b + "ffn_gate.weight", (c.ffn, c.width)
            yield b + "ffn_up.weight", (c.ffn, c.width)
            yield b + "ffn_down.weight", (c.width, c.ffn)
            continue
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        yield b + "exp_probs_b.bias?", (c.experts,)
        yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)


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
        x = g.add(x, dense(g, b, h) if i < c.dense else experts(c, g, b, h))
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


def dense(g: GraphBuilder, b: str, h: Value) -> Value:
    gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
    up = g.linear(h, g.weight(b + "ffn_up.weight"))
    out: Value = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
    return out


def experts(c: Config, g: GraphBuilder, b: str, h: Value) -> Value:
    logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
    ids, shares = g.route(
        logits, g.optional(b + "exp_probs_b.bias"), used=c.experts_used, gating=c.gating,
        normalize=c.normalize_shares, scale=c.share_scale,
    )  # fmt: skip
    out: Value = g.moe(
        h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
        g.weight(b + "ffn_down_exps.weight"),
    )  # fmt: skip
    return out
