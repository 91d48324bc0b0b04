"""GPT-NeoX and Pythia: layer norms, one matrix for Q, K and V; attention and FFN side by side or in turn."""

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
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    eps: float
    parallel: bool
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
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_epsilon"),
            parallel=keys.flag("use_parallel_residual", True),
            rope=rotary.read(keys, keys.integer("rope.dimension_count", head_dim, least=2)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output_norm.bias", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    for i in range(c.layers):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", (c.width,)
        yield b + "attn_norm.bias", (c.width,)
        yield b + "attn_qkv.weight", ((c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.v_head_dim, c.width)
        yield b + "attn_qkv.bias?", ((c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.v_head_dim,)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "attn_output.bias?", (c.width,)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_norm.bias", (c.width,)
        for name, rows, columns in (("up", c.ffn, c.width), ("down", c.width, c.ffn)):
            yield f"{b}ffn_{name}.weight", (rows, columns)
            yield f"{b}ffn_{name}.bias?", (rows,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    q_width, k_width, v_width = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.layer_norm(x, g.weight(b + "attn_norm.weight"), g.weight(b + "attn_norm.bias"), eps=c.eps)
        qkv = g.linear(h, g.weight(b + "attn_qkv.weight"), g.optional(b + "attn_qkv.bias"))
        q, k, v = g.split(qkv, sizes=(q_width, k_width, v_width))
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        state = g.state_layer("kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        before, x = x, g.add(x, h)
        if i == c.layers - 1:
            before, x = g.take(before, rows), g.take(x, rows)
        h = before if c.parallel else x
        h = g.layer_norm(h, g.weight(b + "ffn_norm.weight"), g.weight(b + "ffn_norm.bias"), eps=c.eps)
        h = g.activate(g.linear(h, g.weight(b + "ffn_up.weight"), g.optional(b + "ffn_up.bias")), activation="gelu")
        h = g.linear(h, g.weight(b + "ffn_down.weight"), g.optional(b + "ffn_down.bias"))
        x = g.add(x, h)
    g.segment("head")
    x = g.layer_norm(x, g.weight("output_norm.weight"), g.weight("output_norm.bias"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
