"""Mamba and Falcon Mamba: selective state space mixers, and nothing else in a layer."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures.keys import Keys, Shape
from halflap.architectures.selective import Selective
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph


@frozen
class Config:
    layers: int
    width: int
    mixer: Selective
    eps: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        return cls(
            layers=keys.integer("block_count", least=1),
            width=keys.integer("embedding_length", least=1),
            mixer=Selective.read(keys, keys.flag("ssm.dt_b_c_rms", False)),
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
        yield from c.mixer.weights(b, c.width)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        h = c.mixer.build(g, b, h, c.eps)
        x = g.add(x, h)
    g.segment("head")
    x = g.rms_norm(g.take(x, rows), g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight"))
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()
