"""Nemotron-H: each layer is one thing alone, a Mamba 2 mixer, attention without positions, or a feed forward."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.architectures.state_space import StateSpace
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value


@frozen
class Config:
    """Attributes:
    ffn: per layer; 0 where it is no feed forward.
    kv_heads: per layer; 0 where it is no attention.
    """

    layers: int
    width: int
    ffn: tuple[int, ...]
    experts: int
    experts_used: int
    expert_ffn: int
    shared_ffn: int
    gating: str
    normalize_shares: bool
    share_scale: float
    groups: int
    groups_used: int
    mixer: StateSpace
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    v_head_dim: int
    eps: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        # The last blocks only guess further tokens.
        layers = keys.integer("block_count", least=1)
        layers -= keys.integer("nextn_predict_layers", 0, most=layers - 1)
        experts, head_dim = (
            keys.integer("expert_count", 0),
            keys.integer("attention.key_length", width // heads, least=1),
        )
        if keys.integer("moe_latent_size", 0):
            raise keys.refuse("moe_latent_size", "a number", "experts that read whole rows")
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integers("feed_forward_length", layers),
            experts=experts,
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", least=1) if experts else 0,
            shared_ffn=keys.integer("expert_shared_feed_forward_length", 0) if experts else 0,
            gating=keys.gating("sigmoid"),
            normalize_shares=keys.flag("expert_weights_norm", True),
            share_scale=keys.number("expert_weights_scale", 1.0),
            groups=max(keys.integer("expert_group_count", 1), 1),
            groups_used=max(keys.integer("expert_group_used_count", 1), 1),
            mixer=StateSpace.read(keys),
            heads=heads,
            kv_heads=keys.integers("attention.head_count_kv", layers),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon", keys.number("attention.layer_norm_epsilon", 1e-5)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    for i, (kv_heads, ffn) in enumerate(zip(c.kv_heads, c.ffn, strict=True)):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        if kv_heads:
            yield b + "attn_q.weight", (c.heads * c.head_dim, c.width)
            yield b + "attn_k.weight", (kv_heads * c.head_dim, c.width)
            yield b + "attn_v.weight", (kv_heads * c.v_head_dim, c.width)
            yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        elif not ffn:
            yield from c.mixer.weights(b, c.width)
        elif c.experts:
            yield b + "ffn_gate_inp.weight", (c.experts, c.width)
            yield b + "exp_probs_b.bias?", (c.experts,)
            yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
            yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
            if c.shared_ffn:
                yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
                yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)
        else:
            yield b + "ffn_up.weight", (ffn, c.width)
            yield b + "ffn_down.weight", (c.width, ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        if c.kv_heads[i]:
            h = _attention(c, g, i, h)
        elif c.ffn[i]:
            h = _feed_forward(c, g, b, h)
        else:
            h = c.mixer.build(g, b, h, c.eps)
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()


def _attention(c: Config, g: GraphBuilder, i: int, h: Value) -> Value:
    b, kv_heads = f"blk.{i}.", c.kv_heads[i]
    q, k, v = (g.linear(h, g.weight(f"{b}attn_{name}.weight")) for name in "qkv")
    h = g.attention(
        q, k, v, heads=c.heads, kv_heads=kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
        scale=c.head_dim**-0.5, **g.state_layer("kv", kv_heads * c.head_dim, kv_heads * c.v_head_dim),
    )  # fmt: skip
    y: Value = g.linear(h, g.weight(b + "attn_output.weight"))
    return y


def _feed_forward(c: Config, g: GraphBuilder, b: str, h: Value) -> Value:
    shared = "_shexp" if c.experts else ""
    y: Value | None = None
    if c.shared_ffn or not c.experts:
        up = g.activate(g.linear(h, g.weight(f"{b}ffn_up{shared}.weight")), activation="relu2")
        y = g.linear(up, g.weight(f"{b}ffn_down{shared}.weight"))
    if c.experts:
        ids, shares = g.route(
            g.linear(h, g.weight(b + "ffn_gate_inp.weight")), g.optional(b + "exp_probs_b.bias"), used=c.experts_used,
            gating=c.gating, normalize=c.normalize_shares, scale=c.share_scale, groups=c.groups,
            groups_used=c.groups_used, group_best=min(2, c.experts // c.groups),
        )  # fmt: skip
        up, down = g.weight(b + "ffn_up_exps.weight"), g.weight(b + "ffn_down_exps.weight")
        mixed: Value = g.moe(h, ids, shares, None, up, down, activation="relu2")
        y = mixed if y is None else g.add(mixed, y)
    assert y is not None
    return y
