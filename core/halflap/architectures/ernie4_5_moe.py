"""ERNIE 4.5 with experts: routed ones beside shared ones, in every few layers after some dense ones."""

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
    expert_step: int
    experts: int
    experts_used: int
    expert_ffn: int
    shared_ffn: int
    normalize_shares: bool
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        return cls(
            layers=keys.integer("block_count", least=1),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            dense_layers=keys.integer("leading_dense_block_count", 0),
            expert_step=keys.integer("interleave_moe_layer_step", 1, least=1),
            experts=keys.integer("expert_count", least=1),
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", least=1),
            shared_ffn=keys.size(
                "expert_shared_feed_forward_length",
                f"blk.{keys.integer('block_count', least=1) - 1}.ffn_gate_shexp.weight",
                0,
            ),
            normalize_shares=keys.flag("expert_weights_norm", True),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
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
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "attn_output.bias?", (c.width,)
        yield b + "ffn_norm.weight", (c.width,)
        if i < c.dense_layers or (i + 1) % c.expert_step:
            for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
                yield f"{b}ffn_{name}.weight", (rows, columns)
            continue
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
        yield b + "exp_probs_b.bias?", (1, c.experts)
        yield b + "ffn_gate_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)


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
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"), g.optional(b + "attn_q.bias"))
        k = g.linear(h, g.weight(b + "attn_k.weight"), g.optional(b + "attn_k.bias"))
        v = g.linear(h, g.weight(b + "attn_v.weight"), g.optional(b + "attn_v.bias"))
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        state = g.state_layer("kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        if i < c.dense_layers or (i + 1) % c.expert_step:
            gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
            up = g.linear(h, g.weight(b + "ffn_up.weight"))
            h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        else:
            logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
            ids, shares = g.route(
                logits, g.optional(b + "exp_probs_b.bias"), used=c.experts_used,
                normalize=c.normalize_shares,
            )  # fmt: skip
            mixed = g.moe(
                h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
                g.weight(b + "ffn_down_exps.weight"),
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
