"""Qwen 3 Next: gated delta nets, every fourth layer gated attention; routed experts beside a shared one."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.delta_net import DeltaNet, GatedAttention
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph


@frozen
class Config:
    layers: int
    recurrent: tuple[bool, ...]
    width: int
    experts: int
    experts_used: int
    expert_ffn: int
    normalize_shares: bool
    shared_ffn: int
    delta: DeltaNet
    attention: GatedAttention
    eps: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        layers = keys.integer("block_count", least=1) - keys.integer("nextn_predict_layers", 0)
        every = keys.integer("full_attention_interval", 4, least=1)
        return cls(
            layers=layers,
            recurrent=keys.windowed("attention.recurrent_layers", layers, every),
            width=keys.integer("embedding_length", least=1),
            experts=keys.integer("expert_count", least=1),
            experts_used=keys.experts_used(),
            expert_ffn=keys.size("expert_feed_forward_length", "blk.0.ffn_gate_exps.weight", 1),
            normalize_shares=keys.flag("expert_weights_norm", True),
            shared_ffn=keys.size("expert_shared_feed_forward_length", "blk.0.ffn_gate_shexp.weight", 0),
            delta=DeltaNet.read(keys, "grouped"),
            attention=GatedAttention.read(keys),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
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
        if c.recurrent[i]:
            yield from c.delta.weights(b, c.width)
            yield b + "ssm_ba.weight", (2 * c.delta.heads, c.width)
        else:
            yield from c.attention.weights(b, c.width)
        yield b + "post_attention_norm.weight", (c.width,)
        yield b + "ffn_gate_inp.weight", (c.experts, c.width)
        yield b + "ffn_gate_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_up_exps.weight", (c.experts, c.expert_ffn, c.width)
        yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
        yield b + "ffn_gate_inp_shexp.weight", (1, c.width)
        yield b + "ffn_gate_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_up_shexp.weight", (c.shared_ffn, c.width)
        yield b + "ffn_down_shexp.weight", (c.width, c.shared_ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        if c.recurrent[i]:
            each = c.delta.heads // c.delta.k_heads
            both = g.linear(h, g.weight(b + "ssm_ba.weight"))
            beta, alpha = g.split(both, sizes=(each, each), groups=c.delta.k_heads)
            h = c.delta.build(g, b, h, alpha, beta, c.eps)
        else:
            h = c.attention.build(g, b, h, c.eps)
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "post_attention_norm.weight"), eps=c.eps)
        logits = g.linear(h, g.weight(b + "ffn_gate_inp.weight"))
        ids, shares = g.route(logits, used=c.experts_used, normalize=c.normalize_shares)
        mixed = g.moe(
            h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
            g.weight(b + "ffn_down_exps.weight"),
        )  # fmt: skip
        gate = g.linear(h, g.weight(b + "ffn_gate_shexp.weight"))
        up = g.linear(h, g.weight(b + "ffn_up_shexp.weight"))
        shared = g.linear(g.glu(gate, up), g.weight(b + "ffn_down_shexp.weight"))
        share = g.activate(g.linear(h, g.weight(b + "ffn_gate_inp_shexp.weight")), activation="sigmoid")
        h = g.add(mixed, g.mul(shared, share))
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
