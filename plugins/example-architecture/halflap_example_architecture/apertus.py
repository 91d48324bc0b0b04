"""Apertus: Q and K normed head by head, a feed-forward without gate whose activation is xIELU."""

import math

from attrs import frozen

from halflap.architectures import rotary


@frozen
class Config:
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    rope: rotary.Rotary
    xielu: tuple
    context: int
    vocab: int

    @classmethod
    def read(cls, keys):
        width, heads = keys.integer("embedding_length", least=1), keys.integer("attention.head_count", least=1)
        layers = keys.integer("block_count", least=1)
        head_dim = keys.integer("rope.dimension_count", width // heads, least=2)
        return cls(
            layers=layers,
            width=width,
            ffn=keys.integer("feed_forward_length", least=1),
            heads=heads,
            kv_heads=keys.integer("attention.head_count_kv", heads, least=1),
            head_dim=head_dim,
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            rope=rotary.read(keys, head_dim),
            xielu=tuple(curve(keys, i) for i in range(layers)),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def curve(keys, layer):
    """One layer's attributes of the op; the file keeps both curvatures before their softplus."""
    p, n, beta, eps = (keys.shared_number(f"xielu.{name}", layer) for name in ("alpha_p", "alpha_n", "beta", "eps"))
    return {"alpha_p": math.log1p(math.exp(p)), "alpha_n": beta + math.log1p(math.exp(n)), "beta": beta, "eps": eps}


def weights(c):
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    yield "output.weight?", (c.vocab, c.width)
    for b in (f"blk.{i}." for i in range(c.layers)):
        yield b + "attn_norm.weight", (c.width,)
        yield b + "attn_q.weight", (c.heads * c.head_dim, c.width)
        for name in "kv":
            yield f"{b}attn_{name}.weight", (c.kv_heads * c.head_dim, c.width)
        for name in "qk":
            yield f"{b}attn_{name}_norm.weight", (c.head_dim,)
        yield b + "attn_output.weight", (c.width, c.heads * c.head_dim)
        yield b + "ffn_norm.weight", (c.width,)
        yield b + "ffn_up.weight", (c.ffn, c.width)
        yield b + "ffn_down.weight", (c.width, c.ffn)


def build(c, g):
    rows = g.input("rows", "i32", "R")
    g.segment("embed")
    x = g.embed(g.input("ids", "i32", "T"), g.weight("token_embd.weight"))
    rope = {"head_dim": c.head_dim, "layout": "half", "frequencies": c.rope.frequencies, "magnitude": c.rope.magnitude}
    for i in range(c.layers):
        g.segment(f"layer.{i}")
        b = f"blk.{i}."
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q, k, v = (g.linear(h, g.weight(f"{b}attn_{name}.weight")) for name in "qkv")
        q = g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads)
        k = g.rms_norm(k, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=c.kv_heads)
        factors = g.optional("rope_freqs.weight")
        h = g.attention(
            g.rope(q, factors, **rope), g.rope(k, factors, **rope), v, heads=c.heads, kv_heads=c.kv_heads,
            head_dim=c.head_dim, v_head_dim=c.head_dim, scale=c.head_dim**-0.5,
            **g.state_layer("kv", c.kv_heads * c.head_dim, c.kv_heads * c.head_dim),
        )  # fmt: skip
        x = g.add(x, g.linear(h, g.weight(b + "attn_output.weight")))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        h = g.xielu(g.linear(h, g.weight(b + "ffn_up.weight")), **c.xielu[i])
        x = g.add(x, g.linear(h, g.weight(b + "ffn_down.weight")))
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    g.output(x, "hidden")
    g.output(g.linear(x, g.optional("output.weight") or g.weight("token_embd.weight")), "logits")
    return g.finish()
