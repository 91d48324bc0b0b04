"""Gemma 4: heads of other sizes in full layers, later layers that read earlier ones' K and V, inputs for each layer."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from halflap.architectures import rotary
from halflap.architectures.keys import Keys, Shape
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.ir import Value as Tensor


@frozen
class Heads:
    """Attention of one layer. `written_by`: the layer whose K and V it sees."""

    window: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    rope: rotary.Rotary
    written_by: int


@frozen
class Config:
    layers: int
    width: int
    ffn: tuple[int, ...]
    experts: int
    experts_used: int
    expert_ffn: int
    layer_input: int
    layer_vocab: int
    heads: int
    attention: tuple[Heads, ...]
    scale: float
    eps: float
    logit_softcap: float
    context: int
    vocab: int

    @classmethod
    def read(cls, keys: Keys) -> Config:
        layers, heads = keys.integer("block_count", least=1), keys.integer("attention.head_count", least=1)
        layer_input = keys.integer("embedding_length_per_layer_input", 0)
        return cls(
            layers=layers,
            width=keys.integer("embedding_length", least=1),
            ffn=keys.integers("feed_forward_length", layers, least=1),
            experts=keys.integer("expert_count", 0),
            experts_used=keys.experts_used(),
            expert_ffn=keys.integer("expert_feed_forward_length", 0),
            layer_input=layer_input,
            layer_vocab=keys.rows("per_layer_token_embd.weight") if layer_input else 0,
            heads=heads,
            attention=tuple(_heads(keys, layers)),
            scale=keys.positive("attention.scale", 1.0),
            eps=keys.positive("attention.layer_norm_rms_epsilon"),
            logit_softcap=keys.number("final_logit_softcapping", 0.0),
            context=keys.integer("context_length", least=1),
            vocab=keys.rows("token_embd.weight"),
        )


def _heads(keys: Keys, layers: int) -> Iterator[Heads]:
    windowed = keys.windowed("attention.sliding_window_pattern", layers, 6)
    kv_heads = keys.integers("attention.head_count_kv", layers, least=1)
    window, own = (
        keys.integer("attention.sliding_window", least=1),
        layers - keys.integer("attention.shared_kv_layers", 0),
    )
    full_dim, full_v = keys.integer("attention.key_length", least=2), keys.integer("attention.value_length", least=1)
    near_dim, near_v = (
        keys.integer(f"attention.{name}_length_swa", dim, least=2)
        for name, dim in (("key", full_dim), ("value", full_v))
    )
    full = rotary.read(keys, keys.integer("rope.dimension_count", full_dim, least=2), 1e6)
    near = rotary.plain(
        keys.integer("rope.dimension_count_swa", near_dim, least=2), keys.positive("rope.freq_base_swa", 1e4)
    )
    for i in range(layers):
        writers = [j for j in range(min(own, i + 1)) if windowed[j] == windowed[i]]
        if not writers:
            raise keys.refuse(
                "attention.shared_kv_layers", str(layers - own), f"a layer that writes what layer {i} reads"
            )
        j = writers[-1]
        if windowed[i]:
            yield Heads(window, kv_heads[j], near_dim, near_v, near, j)
        else:
            yield Heads(0, kv_heads[j], full_dim, full_v, full, j)


def weights(c: Config) -> Iterator[tuple[str, Shape]]:
    yield "token_embd.weight", (c.vocab, c.width)
    yield "output_norm.weight", (c.width,)
    for pairs in {len(a.rope.frequencies) for a in c.attention if not a.window}:
        yield "rope_freqs.weight?", (pairs,)
    if c.layer_input:
        yield "per_layer_token_embd.weight", (c.layer_vocab, c.layers * c.layer_input)
        yield "per_layer_model_proj.weight", (c.layers * c.layer_input, c.width)
        yield "per_layer_proj_norm.weight", (c.layer_input,)
    for i, a in enumerate(c.attention):
        b = f"blk.{i}."
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            yield f"{b}{name}.weight", (c.width,)
        yield b + "attn_q.weight", (c.heads * a.head_dim, c.width)
        yield b + "attn_q_norm.weight", (a.head_dim,)
        if a.written_by == i:
            yield b + "attn_k.weight", (a.kv_heads * a.head_dim, c.width)
            yield b + "attn_k_norm.weight", (a.head_dim,)
            yield b + "attn_v.weight?", (a.kv_heads * a.v_head_dim, c.width)
        yield b + "attn_output.weight", (c.width, c.heads * a.v_head_dim)
        for name, rows, columns in (
            ("gate", c.ffn[i], c.width),
            ("up", c.ffn[i], c.width),
            ("down", c.width, c.ffn[i]),
        ):
            yield f"{b}ffn_{name}.weight", (rows, columns)
        yield b + "layer_output_scale.weight?", (1,)
        if c.experts:
            for name in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
                yield f"{b}{name}.weight", (c.width,)
            yield b + "ffn_gate_inp.weight", (c.experts, c.width)
            yield b + "ffn_gate_inp.scale", (c.width,)
            yield b + "ffn_gate_up_exps.weight", (c.experts, 2 * c.expert_ffn, c.width)
            yield b + "ffn_down_exps.weight", (c.experts, c.width, c.expert_ffn)
            yield b + "ffn_down_exps.scale?", (c.experts,)
        if c.layer_input:
            yield b + "inp_gate.weight", (c.layer_input, c.width)
            yield b + "proj.weight", (c.width, c.layer_input)
            yield b + "post_norm.weight", (c.width,)


def build(c: Config, g: GraphBuilder) -> Graph:
    rows, ids = g.input("rows", "i32", "R"), g.input("ids", "i32", "T")
    g.segment("embed")
    x = g.scale(g.embed(ids, g.weight("token_embd.weight")), factor=c.width**0.5)
    if c.layer_input:
        own = g.scale(g.embed(ids, g.weight("per_layer_token_embd.weight")), factor=c.layer_input**0.5)
        mixed = g.scale(g.linear(x, g.weight("per_layer_model_proj.weight")), factor=c.width**-0.5)
        mixed = g.rms_norm(mixed, g.weight("per_layer_proj_norm.weight"), eps=c.eps, groups=c.layers)
        mixed = g.scale(g.add(mixed, own), factor=2**-0.5)
        layer_inputs = g.split(mixed, sizes=(c.layer_input,) * c.layers) if c.layers > 1 else (mixed,)
    states = []
    together = min((a.written_by for i, a in enumerate(c.attention) if a.written_by != i), default=c.layers)
    for i, a in enumerate(c.attention):
        if i <= together:  # later layers read state of this one, so they stay on its device
            g.segment(f"layer.{i}")
        b = f"blk.{i}."
        rope = {
            "head_dim": a.head_dim,
            "layout": "half",
            "frequencies": a.rope.frequencies,
            "magnitude": a.rope.magnitude,
        }
        factors = None if a.window else g.optional("rope_freqs.weight")
        h = g.rms_norm(x, g.weight(b + "attn_norm.weight"), eps=c.eps)
        q = g.linear(h, g.weight(b + "attn_q.weight"))
        q = g.rope(g.rms_norm(q, g.weight(b + "attn_q_norm.weight"), eps=c.eps, groups=c.heads), factors, **rope)
        k: Tensor | None = None
        v: Tensor | None = None
        if a.written_by == i:
            raw = g.linear(h, g.weight(b + "attn_k.weight"))
            values = g.optional(b + "attn_v.weight")
            v = g.rms_norm(raw if values is None else g.linear(h, values), eps=c.eps, groups=a.kv_heads)
            k = g.rms_norm(raw, g.weight(b + "attn_k_norm.weight"), eps=c.eps, groups=a.kv_heads)
            k = g.rope(k, factors, **rope)
            group = "window" if a.window else "kv"
            states.append(g.state_layer(group, a.kv_heads * a.head_dim, a.kv_heads * a.v_head_dim, a.window))
        else:
            states.append(states[a.written_by])
        h = g.attention(
            q, k, v, heads=c.heads, kv_heads=a.kv_heads, head_dim=a.head_dim, v_head_dim=a.v_head_dim, scale=c.scale,
            window=a.window, spans=a.window > 0, **states[i],
        )  # fmt: skip
        h = g.linear(h, g.weight(b + "attn_output.weight"))
        x = g.add(x, g.rms_norm(h, g.weight(b + "post_attention_norm.weight"), eps=c.eps))
        if i == c.layers - 1:
            x = g.take(x, rows)
        h = g.rms_norm(x, g.weight(b + "ffn_norm.weight"), eps=c.eps)
        gate = g.linear(h, g.weight(b + "ffn_gate.weight"))
        up = g.linear(h, g.weight(b + "ffn_up.weight"))
        h = g.linear(g.glu(gate, up, activation="gelu_tanh"), g.weight(b + "ffn_down.weight"))
        if c.experts:
            h = g.add(g.rms_norm(h, g.weight(b + "post_ffw_norm_1.weight"), eps=c.eps), _experts(c, g, x, b))
        x = g.add(x, g.rms_norm(h, g.weight(b + "post_ffw_norm.weight"), eps=c.eps))
        if c.layer_input:
            layer_input = layer_inputs[i] if i < c.layers - 1 else g.take(layer_inputs[i], rows)
            gate = g.linear(x, g.weight(b + "inp_gate.weight"))
            h = g.linear(g.glu(gate, layer_input, activation="gelu_tanh"), g.weight(b + "proj.weight"))
            x = g.add(x, g.rms_norm(h, g.weight(b + "post_norm.weight"), eps=c.eps))
        if (factor := g.optional(b + "layer_output_scale.weight")) is not None:
            x = g.mul(x, factor)
    g.segment("head")
    x = g.rms_norm(x, g.weight("output_norm.weight"), eps=c.eps)
    logits = g.linear(x, g.weight("token_embd.weight"))
    if c.logit_softcap:
        logits = g.softcap(logits, cap=c.logit_softcap)
    g.output(x, "hidden")
    g.output(logits, "logits")
    return g.finish()


def _experts(c: Config, g: GraphBuilder, x: Tensor, b: str) -> Tensor:
    """Routed experts beside the dense FFN; the router has a norm of its own."""
    h = g.rms_norm(x, g.weight(b + "ffn_gate_inp.scale"), eps=c.eps)
    logits = g.linear(g.scale(h, factor=c.width**-0.5), g.weight(b + "ffn_gate_inp.weight"))
    ids, shares = g.route(logits, None, g.optional(b + "ffn_down_exps.scale"), used=c.experts_used, normalize=True)
    h = g.rms_norm(x, g.weight(b + "pre_ffw_norm_2.weight"), eps=c.eps)
    h = g.moe(
        h, ids, shares, None, g.weight(b + "ffn_gate_up_exps.weight"), g.weight(b + "ffn_down_exps.weight"),
        activation="gelu_tanh",
    )  # fmt: skip
    found: Tensor = g.rms_norm(h, g.weight(b + "post_ffw_norm_2.weight"), eps=c.eps)
    return found
