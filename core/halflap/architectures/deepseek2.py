"""DeepSeek 2 to 3.2, GLM DSA, Mistral 4: one latent row per token stands for all keys and values; experts in groups."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attrs import evolve, frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value

INDEX_EPS = 1e-6
"""Of the norm of an indexer's keys; no file says so."""


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    dense_layers: int
    experts: int
    experts_used: int
    expert_ffn: int
    gate_apart: bool
    shared_ffn: int
    gating: str
    normalize_shares: bool
    share_scale: float
    groups: int
    groups_used: int
    group_best: int
    heads: int
    q_rank: int
    kv_rank: int
    plain_dim: int
    rotated_dim: int
    v_head_dim: int
    scale: float
    query_growth: float
    query_period: int
    index_heads: int
    index_dim: int
    index_count: int
    index_layout: str
    indexed: tuple[bool, ...]
    eps: float
    rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        # The last blocks only guess further tokens.
        layers = keys.integer("block_count", least=1)
        layers -= keys.integer("nextn_predict_layers", 0, most=layers - 1)
        groups = keys.integer("expert_group_count", 1, least=1)
        rotated = keys.integer("rope.dimension_count", least=2)
        key_dim = keys.integer("attention.key_length_mla", least=rotated + 1)
        # YaRN grows the scores as a whole, and rotated elements not in particular.
        growth = keys.number("rope.scaling.yarn_log_multiplier", 0.0)
        mscale = 1 + growth * math.log(max(keys.positive("rope.scaling.factor", 1.0), 1.0))
        rope = rotary.read(keys, rotated)
        rope = evolve(rope, magnitude=1.0) if growth else rope
        # DeepSeek 2 judges a group by its best expert, 3 by its best two.
        gating = keys.gating("softmax")
        return cls(
            layers=layers,
            width=keys.integer("embedding_length", least=1),
            ffn=keys.integer("feed_forward_length", least=1),
            dense_layers=keys.integer("leading_dense_block_count", 0),
            experts=keys.integer("expert_count", 0),
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", 0),
            gate_apart=not any(name.endswith("ffn_gate_up_exps.weight") for name in keys.tensors),
            shared_ffn=keys.integer("expert_feed_forward_length", 0) * keys.integer("expert_shared_count", 0),
            gating=gating,
            normalize_shares=keys.flag("expert_weights_norm", False),
            share_scale=keys.number("expert_weights_scale", 1.0),
            groups=groups,
            group_best=1 if gating == "softmax" else min(2, max(1, keys.integer("expert_count", 0) // groups)),
            groups_used=keys.integer("expert_group_used_count", groups, least=1),
            heads=keys.integer("attention.head_count", least=1),
            q_rank=keys.integer("attention.q_lora_rank", 0),
            kv_rank=keys.integer("attention.kv_lora_rank", least=1),
            plain_dim=key_dim - rotated,
            rotated_dim=rotated,
            v_head_dim=keys.integer("attention.value_length_mla", least=1),
            scale=key_dim**-0.5 * mscale * mscale,
            query_growth=keys.number("attention.temperature_scale", 0.1 if keys.architecture == "mistral4" else 0.0),
            query_period=keys.integer(
                "attention.temperature_length", keys.integer("rope.scaling.original_context_length", 1), least=1
            ),
            index_heads=keys.integer("attention.indexer.head_count", 0),
            index_dim=keys.integer("attention.indexer.key_length", rotated, least=rotated),
            index_count=keys.integer("attention.indexer.top_k", 0),
            index_layout="half" if keys.architecture == "deepseek32" else "interleaved",
            # Layers without an indexer of their own see what the last one before them chose.
            indexed=tuple(f"blk.{i}.indexer.attn_k.weight" in keys.tensors for i in range(layers)),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=rope,
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
        q_rows = c.heads * (c.plain_dim + c.rotated_dim)
        if c.q_rank:
            yield b + "attn_q_a.weight", (c.q_rank, c.width)
            yield b + "attn_q_a_norm.weight", (c.q_rank,)
            yield b + "attn_q_b.weight", (q_rows, c.q_rank)
        else:
            yield b + "attn_q.weight", (q_rows, c.width)
        yield b + "attn_kv_a_mqa.weight", (c.kv_rank + c.rotated_dim, c.width)
        yield b + "attn_kv_a_norm.weight", (c.kv_rank,)
        yield b + "attn_k_b.weight", (c.heads, c.kv_rank, c.plain_dim)
        yield b + "attn_v_b.weight", (c.heads, c.v_head_dim, c.kv_rank)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        if c.indexed[i]:
            yield b + "indexer.attn_q_b.weight", (c.index_heads * c.index_dim, c.q_rank)
            yield b + "indexer.attn_k.weight", (c.index_dim, c.width)
            yield b + "indexer.k_norm.weight", (c.index_dim,)
            yield b + "indexer.k_norm.bias", (c.index_dim,)
            yield b + "indexer.proj.weight", (c.index_heads, c.width)
        yield b + "ffn_norm.weight", (c.width,)
        if i < c.dense_layers or not c.experts:
            for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
                yield f"{b}ffn_{name}.weight", (rows, columns)
            continue
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        if c.gate_apart:
            yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
            yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
        else:
            yield b + "ffn_gate_up_exps.weight", (c.experts, 2 * c.expert_ffn, c.width)
        yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
        yield b + "exp_probs_b.bias?", (c.experts,)
        yield b + "ffn_gate_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    rope = {"layout": "interleaved", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    chosen = None
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        if c.q_rank:
            low = g.linear(h, g.weight(b + "attn_q_a.weight"))
            low = g.rms_norm(low, g.weight(b + "attn_q_a_norm.weight"), eps=c.eps)
            q = g.linear(low, g.weight(b + "attn_q_b.weight"))
            chosen = _chosen(c, g, b, h, low) if c.indexed[i] else chosen
        else:
            q = g.linear(h, g.weight(b + "attn_q.weight"))
        kv = g.linear(h, g.weight(b + "attn_kv_a_mqa.weight"))
        latent, key = g.split(kv, sizes=(c.kv_rank, c.rotated_dim))
        latent = g.rms_norm(latent, g.weight(b + "attn_kv_a_norm.weight"), eps=c.eps)
        q = g.rope(q, head_dim=c.plain_dim + c.rotated_dim, offset=c.plain_dim, **rope)
        if c.query_growth:
            q = g.position_scale(q, beta=c.query_growth, period=c.query_period)
        key = g.rope(key, head_dim=c.rotated_dim, **rope)
        h = g.latent_attention(
            q, key, latent, g.weight(b + "attn_k_b.weight"), g.weight(b + "attn_v_b.weight"), chosen, heads=c.heads,
            plain_dim=c.plain_dim, rotated_dim=c.rotated_dim, rank=c.kv_rank, v_head_dim=c.v_head_dim, scale=c.scale,
            **g.state_layer("kv", c.rotated_dim, c.kv_rank),
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        if i < c.dense_layers or not c.experts:
            gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
            up = g.linear(h, g.weight(b + "ffn_up.weight"))
            h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        else:
            logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
            ids, shares = g.route(
                logits, g.optional(b + "exp_probs_b.bias"), used=c.experts_used, gating=c.gating,
                normalize=c.normalize_shares, scale=c.share_scale, groups=c.groups,
                groups_used=c.groups_used, group_best=c.group_best,
            )  # fmt: skip
            mixed = g.moe(
                h, ids, shares, g.optional(b + "ffn_gate_exps.weight"),
                g.weight(b + ("ffn_up_exps.weight" if c.gate_apart else "ffn_gate_up_exps.weight")),
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


def _chosen(c: Config, g: GraphBuilder, b: str, h: Value, low: Value) -> Value:
    """The places that each token sees in this layer: those whose keys suit the indexer's queries best."""
    turn = {"head_dim": c.index_dim, "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    q = g.rope(g.linear(low, g.weight(b + "indexer.attn_q_b.weight")), layout=c.index_layout, **turn)
    key = g.layer_norm(
        g.linear(h, g.weight(b + "indexer.attn_k.weight")), g.weight(b + "indexer.k_norm.weight"),
        g.weight(b + "indexer.k_norm.bias"), eps=INDEX_EPS,
    )  # fmt: skip
    chosen: Value = g.select_rows(
        q, g.linear(h, g.weight(b + "indexer.proj.weight")), g.rope(key, layout=c.index_layout, **turn),
        heads=c.index_heads, rate=1, count=c.index_count, **g.state_layer("kv", c.index_dim, 0),
    )  # fmt: skip
    return chosen
