"""BERT and XLM-RoBERTa: encoders with learned positions, whose norms follow what is added; text classifiers too."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    types: int
    head_width: int
    labels: int
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        keys.sees_both_ways()
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=1)
        head_width = keys.rows("cls.weight") if "cls.weight" in keys.tensors else width
        return cls(
            layers=keys.integer("block_count", least=1),
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_epsilon"),
            types=keys.rows("token_types.weight") if "token_types.weight" in keys.tensors else 0,
            head_width=head_width,
            labels=keys.rows("cls.output.weight") if "cls.output.weight" in keys.tensors else head_width,
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "token_types.weight?", (c.types, c.width)
    yield "position_embd.weight", (c.context, c.width)
    yield "token_embd_norm.weight", (c.width,)
    yield "token_embd_norm.bias", (c.width,)
    yield "cls.weight?", (c.head_width, c.width)
    yield "cls.bias?", (c.head_width,)
    yield "cls.output.weight?", (c.labels, c.head_width)
    yield "cls.output.bias?", (c.labels,)
    for i in range(c.layers):
        b = f"blk.{i}."
        for name, rows, columns in (
            ("attn_q", c.heads * c.head_dim, c.width),
            ("attn_k", c.kv_heads * c.head_dim, c.width),
            ("attn_v", c.kv_heads * c.v_head_dim, c.width),
            ("attn_output", c.width, c.heads * c.v_head_dim),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"{b}{name}.weight", (rows, columns)
            yield f"{b}{name}.bias?", (rows,)
        for name in ("attn_output_norm", "layer_output_norm"):
            yield f"{b}{name}.weight", (c.width,)
            yield f"{b}{name}.bias", (c.width,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    if c.types:
        x = g.add_positions(x, g.weight("token_types.weight"), row=0)  # one text: every token is of the first type
    x = g.add_positions(x, g.weight("position_embd.weight"))
    x = g.layer_norm(x, g.weight("token_embd_norm.weight"), g.weight("token_embd_norm.bias"), eps=c.eps)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        q = g.linear(x, g.weight(b + "attn_q.weight"), g.optional(b + "attn_q.bias"))
        k = g.linear(x, g.weight(b + "attn_k.weight"), g.optional(b + "attn_k.bias"))
        v = g.linear(x, g.weight(b + "attn_v.weight"), g.optional(b + "attn_v.bias"))
        h = g.self_attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        x = g.layer_norm(x, g.weight(b + "attn_output_norm.weight"), g.weight(b + "attn_output_norm.bias"), eps=c.eps)
        h = g.linear(x, g.weight(b + "ffn_up.weight"), g.optional(b + "ffn_up.bias"))
        h = g.activate(h, activation="gelu")
        h = g.linear(h, g.weight(b + "ffn_down.weight"), g.optional(b + "ffn_down.bias"))
        x = g.add(x, h)
        x = g.layer_norm(x, g.weight(b + "layer_output_norm.weight"), g.weight(b + "layer_output_norm.bias"), eps=c.eps)
    scores = None
    if (first := g.optional("cls.weight")) is not None:
        g.segment("head")
        scores = g.linear(x, first, g.optional("cls.bias"))
    if (second := g.optional("cls.output.weight")) is not None:
        g.segment("head")
        h = x if scores is None else g.softcap(scores, cap=1.0)  # tanh
        scores = g.linear(h, second, g.optional("cls.output.bias"))
    g.output(x, "hidden")
    if scores is not None:
        g.output(scores, "scores")
    return g.finish()
