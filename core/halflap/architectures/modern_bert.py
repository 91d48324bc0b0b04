"""ModernBERT: an encoder normed before each part; one layer in several sees all, the others a window to both sides."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph

ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu"}
"""The file's names -> ours."""

POOLED_BY_FIRST_TOKEN = 2


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
    activation: str
    window: int
    windowed: tuple[bool, ...]
    rope: rotary.Rotary
    window_rope: rotary.Rotary
    labels: int
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        keys.sees_both_ways()
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        head_dim = keys.integer("attention.key_length", width // heads, least=2)
        layers, rotated = keys.integer("block_count", least=1), keys.integer("rope.dimension_count", head_dim, least=2)
        activation = keys.text("hidden_activation", "gelu")
        if activation not in ACTIVATIONS:
            raise keys.refuse("activation", activation, f"one of {list(ACTIVATIONS)}")
        # A head over the mean of a text would have to see all of its rows at once.
        by_first = keys.integer("classifier.pooling_type", POOLED_BY_FIRST_TOKEN) == POOLED_BY_FIRST_TOKEN
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            v_head_dim=keys.integer("attention.value_length", head_dim, least=1),
            eps=keys.positive("attention.layer_norm_epsilon"),
            activation=ACTIVATIONS[activation],
            # The file states the width of the whole window, its middle token left out.
            window=keys.integer("attention.sliding_window", least=1) // 2 + 1,
            windowed=keys.windowed("attention.sliding_window_pattern", layers, 3, first=True),
            rope=rotary.read(keys, rotated),
            window_rope=rotary.plain(rotated, keys.positive("rope.freq_base_swa", 10000.0)),
            labels=keys.rows("cls.output.weight") if by_first and "cls.output.weight" in keys.tensors else 0,
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "token_embd_norm.weight", (c.width,)
    yield "output_norm.weight", (c.width,)
    if c.labels:
        yield "cls.weight", (c.width, c.width)
        yield "cls.bias?", (c.width,)
        yield "cls.norm.weight", (c.width,)
        yield "cls.output.weight", (c.labels, c.width)
        yield "cls.output.bias?", (c.labels,)
    for i in range(c.layers):
        b = f"blk.{i}."
        yield f"{b}attn_norm.weight{'' if i else '?'}", (c.width,)  # the first layer's input is normed already
        yield b + "attn_qkv.weight", ((c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.v_head_dim, c.width)
        yield b + "attn_output.weight", (c.width, c.heads * c.v_head_dim)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_up.weight", (2 * c.ffn, c.width)
        yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    x = g.layer_norm(x, g.weight("token_embd_norm.weight"), eps=c.eps)
    q_width, k_width, v_width = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.kv_heads * c.v_head_dim
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        norm = g.optional(b + "attn_norm.weight")
        h = x if norm is None else g.layer_norm(x, norm, eps=c.eps)
        q, k, v = g.split(g.linear(h, g.weight(b + "attn_qkv.weight")), sizes=(q_width, k_width, v_width))
        turn = c.window_rope if c.windowed[i] else c.rope
        rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": turn.frequencies, "magnitude": turn.magnitude}
        h = g.self_attention(
            g.rope(q, **rope), g.rope(k, **rope), v, heads=c.heads, kv_heads=c.kv_heads, head_dim=c.head_dim,
            v_head_dim=c.v_head_dim, scale=c.head_dim**-0.5, window=c.window if c.windowed[i] else 0,
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        x = g.add(x, h)
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.layer_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        h = g.glu(g.linear(h, g.weight(b + "ffn_up.weight")), activation=c.activation)
        x = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight")))
    g.segment("head")
    x = g.layer_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    scores = None
    if c.labels:
        h = g.activate(g.linear(x, g.weight("cls.weight"), g.optional("cls.bias")), activation="gelu")
        h = g.layer_norm(h, g.weight("cls.norm.weight"), eps=c.eps)
        scores = g.linear(h, g.weight("cls.output.weight"), g.optional("cls.output.bias"))
    g.output(x, "hidden")
    if scores is not None:
        g.output(scores, "scores")
    return g.finish()
