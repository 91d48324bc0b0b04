"""T5: an encoder reads the text once; a decoder then looks at its rows in every layer."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import t5encoder
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph

LARGE = 5.0
"""Logits of a shared head spread further than this only where the model scales them down, which no file says."""


@frozen
class Config:
    encoder: t5encoder.Config
    decoder_layers: int
    logit_scale: float
    start: int
    layers: int
    width: int
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        encoder = t5encoder.Config.read(keys)
        decoder_layers = keys.integer("decoder_block_count", encoder.layers, least=1)
        scaled = "output.weight" not in keys.tensors
        if scaled and keys.magnitude is not None:
            spread = keys.magnitude("token_embd.weight") * keys.magnitude("dec.output_norm.weight")
            scaled = spread * encoder.width**0.5 > LARGE
        return cls(
            encoder=encoder,
            decoder_layers=decoder_layers,
            logit_scale=keys.positive("logit_scale", encoder.width**-0.5 if scaled else 1.0),
            start=keys.integer("decoder_start_token_id", 0, most=encoder.vocab - 1),
            layers=encoder.layers + decoder_layers,
            width=encoder.width,
            context=encoder.context,
            vocab=encoder.vocab,
        )


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    e = c.encoder
    yield from t5encoder.weights(e)
    yield "dec.output_norm.weight", (e.width,)
    yield "output.weight?", (e.vocab, e.width)
    for i in range(c.decoder_layers):
        b = f"dec.blk.{i}."
        yield from t5encoder.attention_weights(e, b + "attn")
        yield f"{b}attn_rel_b.weight{'?' if i else ''}", (e.buckets, e.heads)
        yield from t5encoder.attention_weights(e, b + "cross_attn")
        yield from t5encoder.ffn_weights(e, b)


def build(c: Config, g: GraphBuilder) -> Graph:
    e = c.encoder
    rows, ids = g.input("rows", "i32", "R"), g.input("ids", "i32", "T")
    dims = {"head_dim": e.head_dim, "v_head_dim": e.v_head_dim}
    heads = {"heads": e.heads, "kv_heads": e.heads, "scale": 1.0, **dims}
    g.segment("source", source=True)
    x = g.embed(ids, g.weight("token_embd.weight"))
    for i in range(e.layers):
        g.segment(f"layer.{i}", source=True)
        x = t5encoder.feed_forward(e, g, f"enc.blk.{i}.", t5encoder.attend(e, g, i, x))
    g.segment("source.rows", source=True)
    x = g.rms_norm(x, g.weight("enc.output_norm.weight"), eps=e.eps)
    crossing = []
    for i in range(c.decoder_layers):
        b = f"dec.blk.{i}.cross_attn_"
        g.segment(f"layer.{e.layers + i}.rows", source=True)  # on the device of that layer
        k, v = g.linear(x, g.weight(b + "k.weight")), g.linear(x, g.weight(b + "v.weight"))
        crossing.append(g.state_layer("source", e.heads * e.head_dim, e.heads * e.v_head_dim))
        x = g.keep_rows(x, k, v, **dims, **crossing[i])
    g.segment("embed")
    x = g.embed(ids, g.weight("token_embd.weight"))
    for i in range(c.decoder_layers):
        g.segment(f"layer.{e.layers + i}")
        b = f"dec.blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=e.eps)
        q, k, v = (g.linear(h, g.weight(f"{b}attn_{name}.weight")) for name in "qkv")
        bias = g.optional(b + "attn_rel_b.weight") or g.weight("dec.blk.0.attn_rel_b.weight")
        h = g.attention(
            q, k, v, None, bias, buckets=t5encoder.buckets(e.buckets, one_way=True), **heads,
            **g.state_layer("kv", e.heads * e.head_dim, e.heads * e.v_head_dim),
        )  # fmt: skip
        x = g.add(x, g.linear(h, g.weight(b + "attn_o.weight")))
        h = g.rms_norm(x, g.weight(b + "cross_attn_norm.weight"), eps=e.eps)
        q = g.linear(h, g.weight(b + "cross_attn_q.weight"))
        h = g.attention(q, None, None, None, None, cross=True, **heads, **crossing[i])
        x = g.add(x, g.linear(h, g.weight(b + "cross_attn_o.weight")))
        if i == c.decoder_layers - 1:
            x = g.take(x, rows)
        x = t5encoder.feed_forward(e, g, b, x)
    g.segment("head")
    x = g.rms_norm(x, g.weight("dec.output_norm.weight"), eps=e.eps)
    x = g.scale(x, factor=c.logit_scale)
    g.output(g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight")), "logits")
    return g.finish()
