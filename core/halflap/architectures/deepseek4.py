"""DeepSeek 4: far tokens are seen through rows that stand for several each, and the residual is several streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import evolve, frozen

from halflap.architectures import rotary
from halflap.architectures.compressor import Compressor, turning
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value


@frozen
class Config:
    layers: int
    width: int
    streams: int
    iterations: int
    stream_eps: float
    hash_layers: int
    experts: int
    experts_used: int
    expert_ffn: int
    shared_ffn: int
    gating: str
    normalize_shares: bool
    share_scale: float
    limits: tuple[float, ...]
    shared_limits: tuple[float, ...]
    heads: int
    head_dim: int
    q_rank: int
    output_groups: int
    output_rank: int
    window: int
    compressors: tuple[Compressor | None, ...]
    indexers: tuple[Compressor | None, ...]
    index_heads: int
    index_count: int
    eps: float
    rope: rotary.Rotary
    far_rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        # The last blocks only guess further tokens.
        layers = keys.integer("block_count", least=1)
        layers -= keys.integer("nextn_predict_layers", 0, most=layers - 1)
        head_dim = keys.integer("attention.key_length", least=2)
        rotated = keys.integer("rope.dimension_count", head_dim, least=2, most=head_dim)
        # Only layers with compressed rows have a base of their own and YaRN, which does not grow the scores here.
        far_base = keys.positive("attention.compress_rope_freq_base", keys.positive("rope.freq_base", 10000.0))
        if keys.text("rope.scaling.type", "none") == "yarn":
            far_rope = evolve(rotary.yarn(keys, rotated, far_base), magnitude=1.0)
        else:
            far_rope = rotary.plain(rotated, far_base)
        rates = keys.integers("attention.compress_ratios", layers, most=1 << 16)
        index_dim = keys.integer("attention.indexer.key_length", rotated, least=rotated)
        compressors: list[Compressor | None] = [None] * layers
        indexers: list[Compressor | None] = [None] * layers
        for i, rate in enumerate(rates):  # 0: no far rows; which of them overlap and are chosen, the tensors show
            if rate:
                overlap = keys.rows(f"blk.{i}.attn_compressor_kv.weight") > head_dim
                compressors[i] = Compressor(rate, head_dim, overlap)
                if f"blk.{i}.indexer.attn_q_b.weight" in keys.tensors:
                    indexers[i] = Compressor(rate, index_dim, overlap)
        return cls(
            layers=layers,
            width=keys.integer("embedding_length", least=1),
            streams=keys.integer("hyper_connection.count", least=1, most=64),
            iterations=keys.integer("hyper_connection.sinkhorn_iterations", least=1, most=1000),
            stream_eps=keys.number("hyper_connection.epsilon"),
            hash_layers=keys.integer("hash_layer_count", 0),
            experts=keys.integer("expert_count", least=1),
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", least=1),
            shared_ffn=keys.integer("expert_feed_forward_length") * keys.integer("expert_shared_count", 0),
            gating=keys.gating("sqrt_softplus"),
            normalize_shares=keys.flag("expert_weights_norm", True),
            share_scale=keys.number("expert_weights_scale", 1.0),
            limits=keys.numbers("swiglu_clamp_exp", layers, 0.0),
            shared_limits=keys.numbers("swiglu_clamp_shexp", layers, 0.0),
            heads=keys.integer("attention.head_count", least=1),
            head_dim=head_dim,
            q_rank=keys.integer("attention.q_lora_rank", least=1),
            output_groups=keys.integer("attention.output_group_count", 1, least=1),
            output_rank=keys.integer("attention.output_lora_rank", least=1),
            window=keys.integer("attention.sliding_window", least=1),
            compressors=tuple(compressors),
            indexers=tuple(indexers),
            index_heads=keys.integer("attention.indexer.head_count", 0),
            index_count=keys.integer("attention.indexer.top_k", 0),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=rotary.plain(rotated, keys.positive("rope.freq_base", 10000.0)),
            far_rope=far_rope,
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )  # fmt: skip


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    all_streams, mixes = c.streams * c.width, c.streams * (c.streams + 2)
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    yield from _stream_tensors("output_hc", 1, c.streams, all_streams)
    for i in range(c.layers):
        b = f"blk.{i}."
        yield from _stream_tensors(b + "hc_attn", 3, mixes, all_streams)
        yield from _stream_tensors(b + "hc_ffn", 3, mixes, all_streams)
        yield b + "attn_norm.weight", (c.width,)
        yield b + "attn_q_a.weight", (c.q_rank, c.width)
        yield b + "attn_q_a_norm.weight", (c.q_rank,)
        yield b + "attn_q_b.weight", (c.heads * c.head_dim, c.q_rank)
        yield b + "attn_kv.weight", (c.head_dim, c.width)
        yield b + "attn_kv_a_norm.weight", (c.head_dim,)
        yield b + "attn_sinks.weight", (c.heads,)
        yield b + "attn_output_a.weight", (c.output_groups * c.output_rank, c.heads * c.head_dim // c.output_groups)
        yield b + "attn_output_b.weight", (c.width, c.output_groups * c.output_rank)
        if (compressor := c.compressors[i]) is not None:
            yield from compressor.weights(b + "attn_compressor", c.width)
        if (indexer := c.indexers[i]) is not None:
            yield from indexer.weights(b + "indexer_compressor", c.width)
            yield b + "indexer.attn_q_b.weight", (c.index_heads * indexer.dim, c.q_rank)
            yield b + "indexer.proj.weight", (c.index_heads, c.width)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        if i < c.hash_layers:
            yield b + "ffn_gate_tid2eid.weight", (c.vocab, c.experts_used)
        yield b + "exp_probs_b.bias?", (c.experts,)
        for name, rows, columns in (
            ("gate", c.expert_ffn, c.width), ("up", c.expert_ffn, c.width), ("down", c.width, c.expert_ffn),
        ):  # fmt: skip
            yield f"{b}ffn_{name}_exps.weight", (c.experts, rows, columns)
        if c.shared_ffn:
            yield b + "ffn_gate_shexp.weight", (c.shared_ffn, c.width)
            yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
            yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)


def _stream_tensors(prefix: str, scales: int, mixes: int, width: int) -> Iterator[tuple[str, Shape]]:
    yield prefix + "_fn.weight", (mixes, width)
    yield prefix + "_scale.weight", (scales,)
    yield prefix + "_base.weight", (mixes,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows, ids = g.input("rows", "i32", "R"), g.input("ids", "i32", "T")
    g.segment("embed")
    x = g.repeat(g.embed(ids, g.weight("token_embd.weight")), streams=c.streams)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        read, shares, mix = _stream_weights(c, g, x, b + "hc_attn")
        h = g.mix_streams(x, read, streams=c.streams)
        h = _attention(c, g, i, g.rms_norm(h, g.weight(b + "attn_norm.weight"), eps=c.eps))
        x = g.mix_streams(x, mix, h, shares, streams=c.streams)
        hashed = i < c.hash_layers
        if i == c.layers - 1 and not hashed:
            x = g.take(x, rows)
        read, shares, mix = _stream_weights(c, g, x, b + "hc_ffn")
        h = g.mix_streams(x, read, streams=c.streams)
        h = g.rms_norm(h, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        chosen, weights = g.route(
            g.linear(h, g.weight(b + "ffn_gate_inp.weight")), None if hashed else g.optional(b + "exp_probs_b.bias"),
            None, ids if hashed else None, g.weight(b + "ffn_gate_tid2eid.weight") if hashed else None,
            used=c.experts_used, gating=c.gating, normalize=c.normalize_shares, scale=c.share_scale,
        )  # fmt: skip
        y = g.moe(
            h, chosen, weights, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
            g.weight(b + "ffn_down_exps.weight"), limit=c.limits[i],
        )  # fmt: skip
        if c.shared_ffn:
            gate = g.linear(h, g.weight(b + "ffn_gate_shexp.weight"))
            up = g.linear(h, g.weight(b + "ffn_up_shexp.weight"))
            gated = g.glu(gate, up, limit=c.shared_limits[i])
            y = g.add(y, g.linear(gated, g.weight(b + "ffn_down_shexp.weight")))
        x = g.mix_streams(x, mix, y, shares, streams=c.streams)
        if i == c.layers - 1 and hashed:  # experts are chosen by the ids of all tokens
            x = g.take(x, rows)
    g.segment("head")
    x = g.mix_streams(x, _stream_weights(c, g, x, "output_hc"), streams=c.streams)
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()


def _stream_weights(c: Config, g: GraphBuilder, x: Value, prefix: str) -> Any:
    """By what a block reads the streams; and, but for the head, by what they take its result and mix."""
    return g.stream_weights(
        g.linear(g.rms_norm(x, None, eps=c.eps), g.weight(prefix + "_fn.weight")), g.weight(prefix + "_scale.weight"),
        g.weight(prefix + "_base.weight"), streams=c.streams, iterations=c.iterations, eps=c.stream_eps,
    )  # fmt: skip


def _attention(c: Config, g: GraphBuilder, i: int, h: Value) -> Value:
    b, compressor, indexer = f"blk.{i}.", c.compressors[i], c.indexers[i]
    frequencies = (c.rope if compressor is None else c.far_rope).frequencies
    low = g.rms_norm(g.linear(h, g.weight(b + "attn_q_a.weight")), g.weight(b + "attn_q_a_norm.weight"), eps=c.eps)
    q = g.rms_norm(g.linear(low, g.weight(b + "attn_q_b.weight")), None, eps=c.eps, groups=c.heads)
    row = g.rms_norm(g.linear(h, g.weight(b + "attn_kv.weight")), g.weight(b + "attn_kv_a_norm.weight"), eps=c.eps)
    turn = turning(frequencies, c.head_dim)
    q, row, far, chosen = g.rope(q, **turn), g.rope(row, **turn), None, None
    given = {"heads": c.heads, "scale": c.head_dim**-0.5, "window": c.window}
    given |= g.state_layer("kv", 0, c.head_dim, c.window)
    if compressor is not None:
        rate, group = compressor.rate, f"kv.{compressor.rate}"
        far = compressor.build(g, b + "attn_compressor", h, c.eps, frequencies)
        if indexer is not None:
            asked = g.linear(low, g.weight(b + "indexer.attn_q_b.weight"))
            chosen = g.select_rows(
                g.rope(asked, **turning(frequencies, indexer.dim)), g.linear(h, g.weight(b + "indexer.proj.weight")),
                indexer.build(g, b + "indexer_compressor", h, c.eps, frequencies), heads=c.index_heads, rate=rate,
                count=c.index_count, **g.state_layer(group, indexer.dim, 0, rate=rate),
            )  # fmt: skip
        state = g.state_layer(group, 0, c.head_dim, rate=rate)
        given |= {"rate": rate, "far_group": state["group"], "far_layer": state["layer"]}
    h = g.compressed_attention(q, row, far, chosen, g.weight(b + "attn_sinks.weight"), **given)
    # Values are rows after rope: turning the result back leaves distances.
    h = g.rope(h, **turning(tuple(-f for f in frequencies), c.head_dim))
    h = g.grouped_linear(h, g.weight(b + "attn_output_a.weight"), groups=c.output_groups)
    result: Value = g.linear(h, g.weight(b + "attn_output_b.weight"))
    return result
