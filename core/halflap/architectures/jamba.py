"""Jamba: Mamba mixers and some attention layers without rope; routed experts in some layers."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.architectures.selective import Selective
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph, Value


@frozen
class Config:
    """Attributes:
    kv_heads: per layer; 0 where a mixer stands instead of attention.
    routed: per layer, whether it has experts; only the tensors say so.
    """

    layers: int
    width: int
    ffn: int
    experts: int
    experts_used: int
    routed: tuple[bool, ...]
    mixer: Selective
    heads: int
    kv_heads: tuple[int, ...]
    head_dim: int
    eps: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        layers = keys.integer("block_count", least=1)
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            experts=keys.integer("expert_count", 0),
            experts_used=keys.experts_used(),
            routed=tuple(f"blk.{i}.ffn_gate_inp.weight" in keys.tensors for i in range(layers)),
            mixer=Selective.read(keys, norms=True),
            heads=heads,
            kv_heads=keys.integers("attention.head_count_kv", layers),
            head_dim=keys.integer("attention.key_length", width // heads, least=2),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
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
        if c.routed[i]:
            yield b + "ffn_gate_inp.weight", (c.experts, c.width)
            yield b + "ffn_gate_exps.weight", (c.experts, c.ffn, c.width)
            yield b + "ffn_up_exps.weight", (c.experts, c.ffn, c.width)
            yield b + "ffn_down_exps.weight", (c.experts, c.width, c.ffn)
        else:
            yield b + "ffn_gate.weight", (c.ffn, c.width)
            yield b + "ffn_up.weight", (c.ffn, c.width)
            yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        h = attention(c, g, i, h) if c.kv_heads[i] else c.mixer.build(g, b, h, c.eps)
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        x = g.add(x, experts(c, g, b, h) if c.routed[i] else dense(g, b, h))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()


def attention(c: Config, g: GraphBuilder, i: int, h: Value) -> Value:
    b, kv_heads = f"blk.{i}.", c.kv_heads[i]
    q = g.linear(h, g.weight(b + "attn_q.weight"))
    k = g.linear(h, g.weight(b + "attn_k.weight"))
    v = g.linear(h, g.weight(b + "attn_v.weight"))
    state = g.state_layer("kv", kv_heads * c.head_dim, kv_heads * c.head_dim)
    h = g.attention(
        q, k, v, heads=c.heads, kv_heads=kv_heads, head_dim=c.head_dim, v_head_dim=c.head_dim,
        scale=c.head_dim**-0.5, **state,
    )  # fmt: skip
    out: Value = g.linear(h, g.weight(b + "attn_output.weight"))
    return out


def dense(g: GraphBuilder, b: str, h: Value) -> Value:
    gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
    up = g.linear(h, g.weight(b + "ffn_up.weight"))
    out: Value = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
    return out


def experts(c: Config, g: GraphBuilder, b: str, h: Value) -> Value:
    ids, shares = g.route(g.linear(h, g.weight(b + "ffn_gate_inp.weight")), used=c.experts_used)
    out: Value = g.moe(
        h, ids, shares, g.weight(b + "ffn_gate_exps.weight"), g.weight(b + "ffn_up_exps.weight"),
        g.weight(b + "ffn_down_exps.weight"),
    )  # fmt: skip
    return out
