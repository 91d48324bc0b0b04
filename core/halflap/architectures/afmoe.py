"""Trinity by Arcee: windows with RoPE, full layers without; gated attention, four norms a layer, shared experts."""

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
    dense_layers: int
    experts: int
    experts_used: int
    expert_ffn: int
    shared_ffn: int
    gating: str
    normalize_shares: bool
    share_scale: float
    groups: int
    groups_used: int
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
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            dense_layers=keys.integer("leading_dense_block_count", 0),
            experts=keys.integer("expert_count", least=1),
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", least=1),
            shared_ffn=keys.integer("expert_feed_forward_length") * keys.integer("expert_shared_count", 1),
            gating=keys.gating("sigmoid"),
            normalize_shares=keys.flag("expert_weights_norm", False),
            share_scale=keys.number("expert_weights_scale", 1.0),
            groups=keys.integer("expert_group_count", 1, least=1),
            groups_used=keys.integer("expert_group_used_count", 1, least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            window=keys.integer("attention.sliding_window", least=1),
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 4),
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
        yield b + "attn_q_norm.weight", (c.head_dim,)
        yield b + "attn_k_norm.weight", (c.head_dim,)
        yield b + "attn_gate.weight", (c.heads * c.v_head_dim, c.width)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        for name in ("post_attention_norm", "ffn_norm", "post_ffw_norm"):
            yield f"{b}{name}.weight", (c.width,)
        if i < c.dense_layers:
            for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
                yield f"{b}ffn_{name}.weight", (rows, columns)
            continue
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
        yield b + "exp_probs_b.bias?", (c.experts,)
        yield b + "ffn_gate_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.scale(x, factor=c.width**0.5)
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        window = c.window if c.windowed[i] else 0
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"), g.optional(b + "attn_q.bias"))
        k = g.linear(h, g.weight(b + "attn_k.weight"), g.optional(b + "attn_k.bias"))
        v = g.linear(h, g.weight(b + "attn_v.weight"), g.optional(b + "attn_v.bias"))
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=c.kv_heads)
        if window:
            q = g.rope(q, **rope)
            k = g.rope(k, **rope)
        state = g.state_layer("window" if window else "kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim, window)
        y = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, window=window, **state,
        )  # fmt: skip
        gate = g.activate(g.linear(h, g.weight(b + "attn_gate.weight")), activation="sigmoid")
        h = g.linear(g.mul(y, gate), g.weight(b + "attn_output.weight"))
        x = g.add(x, g.rms_norm(h, g.weight(b + "post_attention_norm.weight"), eps=c.eps))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        if i < c.dense_layers:
            gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
            up = g.linear(h, g.weight(b + "ffn_up.weight"))
            h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        else:
            logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
            ids, shares = g.route(
                logits, g.optional(b + "exp_probs_b.bias"), used=c.experts_used, gating=c.gating,
                normalize=c.normalize_shares, scale=c.share_scale, groups=c.groups,
                groups_used=c.groups_used, group_best=min(2, c.experts // c.groups),
            )  # fmt: skip
            mixed = g.moe(
                h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
                g.weight(b + "ffn_down_exps.weight"),
            )  # fmt: skip
            gate = g.linear(h, g.weight(b + "ffn_gate_shexp.weight"))
            up = g.linear(h, g.weight(b + "ffn_up_shexp.weight"))
            shared = g.linear(g.glu(gate, up), g.weight(b + "ffn_down_shexp.weight"))
            h = g.add(mixed, shared)
        x = g.add(x, g.rms_norm(h, g.weight(b + "post_ffw_norm.weight"), eps=c.eps))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
