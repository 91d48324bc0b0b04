"""OLMo 2 and 3: norms after attention and FFN instead of before; Q and K normed over all their heads at once."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

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
    window: int
    windowed: tuple[bool, ...]
    rope: rotary.Rotary
    window_rope: rotary.Rotary
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        layers = keys.integer("block_count", least=1)
        rotated = keys.integer("rope.dimension_count", head_dim, least=2)
        rope = rotary.read(keys, rotated)  # these files' attention factor is the whole of it
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            window=keys.integer("attention.sliding_window", 0),
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 4),
            rope=evolve(rope, magnitude=keys.positive("rope.scaling.attn_factor", rope.magnitude)),
            window_rope=rotary.plain(
                rotated, keys.positive("rope.freq_base_swa", keys.positive("rope.freq_base", 1e4))
            ),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    for i in range(c.layers):
        b = f"blk.{i}."
        for name, rows in (
            ("q", c.heads * c.head_dim),
            ("k", c.kv_heads * c.head_dim),
            ("v", c.kv_heads * c.v_head_dim),
        ):
            yield f"{b}attn_{name}.weight", (rows, c.width)
            yield f"{b}attn_{name}.bias?", (rows,)
        yield b + "attn_q_norm.weight", (c.heads * c.head_dim,)
        yield b + "attn_k_norm.weight", (c.kv_heads * c.head_dim,)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "attn_output.bias?", (c.width,)
        yield b + "post_attention_norm.weight", (c.width,)
        yield b + "post_ffw_norm.weight", (c.width,)
        for name, rows, columns in (("gate", c.ffn, c.width), ("up", c.ffn, c.width), ("down", c.width, c.ffn)):
            yield f"{b}ffn_{name}.weight", (rows, columns)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        window = c.window if c.windowed[i] else 0
        q = g.linear(x, g.weight(b + "attn_q.weight"), g.optional(b + "attn_q.bias"))
        k = g.linear(x, g.weight(b + "attn_k.weight"), g.optional(b + "attn_k.bias"))
        v = g.linear(x, g.weight(b + "attn_v.weight"), g.optional(b + "attn_v.bias"))
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps)
        turn = c.window_rope if window else c.rope
        rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": turn.frequencies, "magnitude": turn.magnitude}
        q = g.rope(q, **rope)
        k = g.rope(k, **rope)
        state = g.state_layer("window" if window else "kv", c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim, window)
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim, v_head_dim=c.v_head_dim,
            scale=c.head_dim**-0.5, window=window, **state,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"), g.optional(b + "attn_output.bias"))
        h = g.rms_norm(h, g.weight(b + "post_attention_norm.weight"), eps=c.eps)
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        gate = g.linear(x, g.weight(b + "ffn_gate.weight"))
        up = g.linear(x, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up), g.weight(b + "ffn_down.weight"))
        h = g.rms_norm(h, g.weight(b + "post_ffw_norm.weight"), eps=c.eps)
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
