"""EmbeddingGemma: Gemma 3 that looks both ways, its windows too, with linear maps behind the last norm."""

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
    scale: float
    eps: float
    window: int
    windowed: tuple[bool, ...]
    rope: rotary.Rotary
    window_rope: rotary.Rotary
    maps: tuple[int, int]
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        keys.sees_both_ways()
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        layers, rotated = keys.integer("block_count", least=1), keys.integer("rope.dimension_count", head_dim, least=2)
        inner = keys.rows("dense_2.weight") if "dense_2.weight" in keys.tensors else width
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            scale=keys.positive("attention.scale", head_dim**-0.5),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            # The file states the width of the whole window, its middle token left out.
            window=keys.integer("attention.sliding_window", least=1) // 2 + 1,
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 6),
            rope=rotary.read(keys, rotated, 1e6),
            window_rope=rotary.plain(rotated, keys.positive("rope.freq_base_swa", 10000.0)),
            maps=(inner, keys.rows("dense_3.weight") if "dense_3.weight" in keys.tensors else inner),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "dense_2.weight?", (c.maps[0], c.width)
    yield "dense_3.weight?", (c.maps[1], c.maps[0])
    for i in range(c.layers):
        b = f"blk.{i}."
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            yield f"{b}{name}.weight", (c.width,)
        for name, rows, columns in (
            ("attn_q", c.heads * c.head_dim, c.width),
            ("attn_k", c.kv_heads * c.head_dim, c.width),
            ("attn_v", c.kv_heads * c.v_head_dim, c.width),
            ("attn_output", c.width, c.heads * c.v_head_dim),
            ("ffn_gate", c.ffn, c.width),
            ("ffn_up", c.ffn, c.width),
            ("ffn_down", c.width, c.ffn),
        ):
            yield f"{b}{name}.weight", (rows, columns)
        yield b + "attn_q_norm.weight", (c.head_dim,)
        yield b + "attn_k_norm.weight", (c.head_dim,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.scale(x, factor=c.width**0.5)
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"))
        k = g.linear(h, g.weight(b + "attn_k.weight"))
        v = g.linear(h, g.weight(b + "attn_v.weight"))
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=c.kv_heads)
        turn = c.window_rope if c.windowed[i] else c.rope
        rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": turn.frequencies, "magnitude": turn.magnitude}
        h = g.self_attention(
            g.rope(q, **rope), g.rope(k, **rope), v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim,
            v_head_dim=c.v_head_dim, scale=c.scale, window=c.window if c.windowed[i] else 0,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        x = g.add(x, g.rms_norm(h, g.weight(b + "post_attention_norm.weight"), eps=c.eps))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up, activation="gelu_tanh"), g.weight(b + "ffn_down.weight"))
        x = g.add(x, g.rms_norm(h, g.weight(b + "post_ffw_norm.weight"), eps=c.eps))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    for name in (
        "dense_2.weight",
        "dense_3.weight",
    ):  # meant for the pooled row; the mean of maps is the map of the mean
        if (weight := g.optional(name)) is not None:
            x = g.linear(x, weight)
    g.output(x, "hidden")
    return g.finish()
