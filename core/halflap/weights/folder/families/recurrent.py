"""Decoders with a recurrent state: Mamba 2 and its hybrids, short convolutions, the gated delta rule."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np

from halflap.weights.folder.families.common import (
    ATTENTION,
    FFN,
    NORMS,
    PAIRED_ATTENTION,
    TOP,
    Description,
    Family,
    Metadata,
    Names,
    decoder,
    experts,
    factors,
    one_more,
    rope_settings,
    routed,
)
from halflap.weights.folder.families.dense import GRANITE_EXPERTS, GRANITE_SHARED, granite_scales
from halflap.weights.folder.families.mixtures import ROUTER, SHARED, every_layer_routed
from halflap.weights.folder.recipe import Array, Rule, Shape
from halflap.weights.folder.settings import Settings
from halflap.weights.weight_type import Floats  # fmt: skip


def _decay(x: Floats, s: Settings) -> Floats:
    """The stored logarithm of the decay to what the state is multiplied by in the exponent."""
    return -np.exp(x)


def _column(x: Array, s: Settings) -> Array:
    return x.reshape(-1, 1)


def _squeezed(target: str) -> Rule:
    """A depthwise convolution has one input channel, which says nothing."""

    def arrange(x: Array, s: Settings) -> Array:
        if x.ndim != 3 or x.shape[1] != 1:
            raise ValueError("want (channels, 1, taps)")
        return x.reshape(x.shape[0], x.shape[2])

    return Rule(target, "without its axis of 1", arrange)


def _grouped_norm(groups: str) -> Callable[[Array, Settings], Array]:
    return lambda x, s: x.reshape(s.integer(groups, default=1, least=1), -1)


def mamba(at: str, groups: str) -> Names:
    """A Mamba 2 mixer under `layers.N.{at}`."""
    return {
        f"layers.N.{at}.A_log": Rule("blk.N.ssm_a", "-exp", _column, _decay),
        f"layers.N.{at}.D": Rule("blk.N.ssm_d", "as a column", _column),
        f"layers.N.{at}.dt_bias": "blk.N.ssm_dt.bias",
        f"layers.N.{at}.conv1d.weight": _squeezed("blk.N.ssm_conv1d.weight"),
        f"layers.N.{at}.conv1d.bias": "blk.N.ssm_conv1d.bias",
        f"layers.N.{at}.in_proj": "blk.N.ssm_in",
        f"layers.N.{at}.norm": Rule("blk.N.ssm_norm", "one row for each group", _grouped_norm(groups)),
        f"layers.N.{at}.out_proj": "blk.N.ssm_out",
    }


def mamba2(s: Settings) -> Description:
    heads, dim = s.integer("num_heads", least=1), s.integer("head_dim", least=1)
    keys = {
        "block_count": s.integer("num_hidden_layers", least=1),
        "context_length": s.integer("max_position_embeddings", default=1 << 20, least=1),
        "embedding_length": s.integer("hidden_size", least=1),
        "vocab_size": s.integer("vocab_size"),
        "attention.layer_norm_rms_epsilon": s.number("layer_norm_epsilon"),
        "ssm.conv_kernel": s.integer("conv_kernel", least=2),
        "ssm.inner_size": heads * dim,
        "ssm.state_size": s.integer("state_size", least=1),
        "ssm.time_step_rank": heads,
        "ssm.group_count": s.integer("n_groups", default=1, least=1),
    }
    names = {
        **mamba("mixer", "n_groups"),
        "embeddings": "token_embd",
        "embedding": "token_embd",
        "norm_f": "output_norm",
        "lm_head": "output",
        "layers.N.norm": "blk.N.attn_norm",
    }
    return Description("mamba2", keys, names)


def _mixer_keys(s: Settings, inner: int) -> Metadata:
    return {
        "ssm.conv_kernel": s.integer("mamba_d_conv", least=2),
        "ssm.inner_size": inner,
        "ssm.state_size": s.integer("mamba_d_state", least=1),
        "ssm.time_step_rank": s.integer("mamba_n_heads", least=1),
        "ssm.group_count": s.integer("mamba_n_groups", default=1, least=1),
    }


def granitehybrid(s: Settings) -> Description:
    """Some layers attend, the others are Mamba 2; rotary only where the file says so."""
    keys = decoder(s) | granite_scales(s)
    layers = keys["block_count"]
    types = s.layers("layer_types", layers, ("attention", "full_attention", "mamba", "linear_attention")) or s.layers(
        "layers_block_type", layers, ("attention", "mamba")
    )
    if types is None:
        s.wrong("layer_types", None, "one for each layer")
    heads = keys["attention.head_count_kv"]
    keys |= _mixer_keys(s, s.integer("mamba_expand", default=2) * keys["embedding_length"])
    keys |= {
        "attention.head_count_kv": [heads if "attention" in t and "linear" not in t else 0 for t in types],
        "expert_shared_feed_forward_length": s.integer("shared_intermediate_size", default=0),
        "rope.scaling.finetuned": s.text("position_embedding_type", default="nope") == "rope",
    }
    names: Names = {**TOP, **NORMS, **PAIRED_ATTENTION, **mamba("mamba", "mamba_n_groups")}
    if s.integer("num_local_experts", default=0):
        keys |= routed(s)
        keys.pop("expert_weights_norm", None)
        names = {**names, **GRANITE_EXPERTS, **GRANITE_SHARED}
    else:
        keys["feed_forward_length"] = keys["expert_shared_feed_forward_length"]
        dense = {"blk.N.ffn_gate_shexp": "blk.N.ffn_gate", "blk.N.ffn_up_shexp": "blk.N.ffn_up"}
        gate_up = GRANITE_SHARED["layers.N.shared_mlp.input_linear"]
        assert isinstance(gate_up, tuple)
        names = {
            **names,
            "layers.N.shared_mlp.input_linear": tuple(
                Rule(dense[rule.target], rule.note, rule.arrange) for rule in gate_up
            ),
            "layers.N.shared_mlp.output_linear": "blk.N.ffn_down",
        }
    return Description("granitehybrid", keys, names, factors(s, keys["rope.dimension_count"]))


def _times(target: str, *multipliers: str, place: int | None = None) -> Rule:
    """A matrix with the settings' multipliers in it; `place`: which of the last one's list."""

    def values(x: Floats, s: Settings) -> Floats:
        factor = 1.0
        for name in multipliers:
            factor *= s.number(name) if place is None else s.numbers(name, 2)[place]
        return x * np.float32(factor)

    return Rule(target, f"times {' and '.join(multipliers)}", values=values)


def _key(x: Floats, s: Settings) -> Floats:
    return x * np.float32(s.number("key_multiplier") * s.number("attention_in_multiplier"))


def _mixed(x: Floats, s: Settings) -> Floats:
    """Rows of z, x, B, C and dt, each with its own multiplier."""
    inner, heads = s.integer("mamba_d_ssm"), s.integer("mamba_n_heads")
    state = s.integer("mamba_n_groups", default=1) * s.integer("mamba_d_state")
    rows = np.repeat(s.numbers("ssm_multipliers", 5), (inner, inner, state, state, heads))
    return x * (rows * s.number("ssm_in_multiplier")).astype(np.float32).reshape(-1, *[1] * (x.ndim - 1))


def falcon_h1(s: Settings) -> Description:
    """Attention and Mamba 2 side by side. The model's multipliers are put into the weights beside them."""
    inner = s.integer("mamba_d_ssm", default=s.integer("mamba_expand", default=2) * s.integer("hidden_size"))
    keys = decoder(s) | _mixer_keys(s, inner)
    at = "layers.N.self_attn"
    head = _times("output", "lm_head_multiplier")
    names: Names = {
        **mamba("mamba", "mamba_n_groups"),
        "embed_tokens": _times("token_embd", "embedding_multiplier"),
        "lm_head": head,
        "final_layernorm": "output_norm",
        "layers.N.input_layernorm": "blk.N.attn_norm",
        "layers.N.pre_ff_layernorm.weight": "blk.N.ffn_norm",
        f"{at}.q_proj": _times("blk.N.attn_q", "attention_in_multiplier"),
        f"{at}.k_proj": Rule("blk.N.attn_k", "times key_multiplier and attention_in_multiplier", values=_key),
        f"{at}.v_proj": _times("blk.N.attn_v", "attention_in_multiplier"),
        f"{at}.o_proj": _times("blk.N.attn_output", "attention_out_multiplier"),
        "layers.N.feed_forward.gate_proj": _times("blk.N.ffn_gate", "mlp_multipliers", place=0),
        "layers.N.feed_forward.up_proj": "blk.N.ffn_up",
        "layers.N.feed_forward.down_proj": _times("blk.N.ffn_down", "mlp_multipliers", place=1),
        "layers.N.mamba.in_proj": Rule("blk.N.ssm_in", "times ssm_multipliers", values=_mixed),
        "layers.N.mamba.out_proj": _times("blk.N.ssm_out", "ssm_out_multiplier"),
    }
    if s.flag("tie_word_embeddings", False):
        embed = names["embed_tokens"]
        assert isinstance(embed, Rule)
        names = {**names, "embed_tokens": (embed, head)}
    return Description("falcon-h1", keys, names)


LFM2_NAMES: Final[Names] = {
    **TOP,
    **ATTENTION,
    "embedding_norm": "token_embd_norm",
    "layers.N.operator_norm": "blk.N.attn_norm",
    "layers.N.ffn_norm": "blk.N.ffn_norm",
    "layers.N.self_attn.out_proj": "blk.N.attn_output",
    "layers.N.self_attn.q_layernorm": "blk.N.attn_q_norm",
    "layers.N.self_attn.k_layernorm": "blk.N.attn_k_norm",
    "layers.N.conv.conv": _squeezed("blk.N.shortconv.conv"),
    "layers.N.conv.in_proj": "blk.N.shortconv.in_proj",
    "layers.N.conv.out_proj": "blk.N.shortconv.out_proj",
    "layers.N.feed_forward.w1": "blk.N.ffn_gate",
    "layers.N.feed_forward.w3": "blk.N.ffn_up",
    "layers.N.feed_forward.w2": "blk.N.ffn_down",
}


def _short_convolutions(s: Settings) -> Metadata:
    keys = decoder(s, eps="norm_eps")
    keys["attention.layer_norm_rms_epsilon"] = s.number("norm_eps")
    layers = keys["block_count"]
    types = s.layers("layer_types", layers, ("conv", "full_attention"))
    if types is None:
        attending = s.values.get("full_attn_idxs")
        if not isinstance(attending, list):
            s.wrong("layer_types", None, "one for each layer")
        types = ["full_attention" if i in attending else "conv" for i in range(layers)]
    s.want("conv_bias", not s.flag("conv_bias", False), True, "false")
    return keys | {
        "attention.head_count_kv": [keys["attention.head_count_kv"] if t != "conv" else 0 for t in types],
        "shortconv.l_cache": s.integer("conv_L_cache", least=2),
    }


def lfm2(s: Settings) -> Description:
    keys = _short_convolutions(s)
    ffn = s.integer("intermediate_size", "block_ff_dim", least=1)
    if s.flag("block_auto_adjust_ff_dim", True):
        ffn = int(s.number("block_ffn_dim_multiplier", default=1.0) * int(2 * ffn / 3))
        multiple = s.integer("block_multiple_of", default=256, least=1)
        ffn = -(-ffn // multiple) * multiple
    keys["feed_forward_length"] = ffn
    return Description("lfm2", keys, LFM2_NAMES)


def lfm2moe(s: Settings) -> Description:
    keys = (
        _short_convolutions(s)
        | routed(s)
        | {
            "leading_dense_block_count": s.integer("num_dense_layers", default=0),
            "expert_gating_func": 2,
            "expert_weights_scale": s.number("routed_scaling_factor", default=1.0),
        }
    )
    names = {
        **LFM2_NAMES,
        **experts("feed_forward", "w1", "w3", "w2"),
        "layers.N.feed_forward.gate": "blk.N.ffn_gate_inp",
        "layers.N.feed_forward.expert_bias": "blk.N.exp_probs_b.bias",
    }
    return Description("lfm2moe", keys, names)


DELTA_NORMS: Final[Names] = {
    "norm": one_more("output_norm"),
    "layers.N.input_layernorm": one_more("blk.N.attn_norm"),
    "layers.N.post_attention_layernorm": one_more("blk.N.post_attention_norm"),
    "layers.N.self_attn.q_norm": one_more("blk.N.attn_q_norm"),
    "layers.N.self_attn.k_norm": one_more("blk.N.attn_k_norm"),
    "layers.N.linear_attn.norm": "blk.N.ssm_norm",
}


def _delta_keys(s: Settings) -> Metadata:
    keys = decoder(s)
    layers = keys["block_count"]
    every = s.integer("full_attention_interval", default=4, least=1)
    types = s.layers("layer_types", layers, ("linear_attention", "full_attention"))
    recurrent = [t == "linear_attention" for t in types] if types else [i % every != every - 1 for i in range(layers)]
    heads = s.integer("linear_num_value_heads", least=1)
    return keys | {
        "ssm.conv_kernel": s.integer("linear_conv_kernel_dim", least=2),
        "ssm.state_size": s.integer("linear_key_head_dim", least=1),
        "ssm.group_count": s.integer("linear_num_key_heads", least=1),
        "ssm.time_step_rank": heads,
        "ssm.inner_size": heads * s.integer("linear_value_head_dim", least=1),
        "attention.recurrent_layers": recurrent,
        "full_attention_interval": every,
    }


def _split(x: Array, s: Settings) -> list[Array]:
    """in_proj_qkvz holds, K head by K head, its q and k and the v and z of its V heads: all q, all k, all v, all z."""
    k_heads, k_dim = s.integer("linear_num_key_heads", least=1), s.integer("linear_key_head_dim", least=1)
    v_rows = s.integer("linear_num_value_heads", least=1) // k_heads * s.integer("linear_value_head_dim", least=1)
    heads = x.reshape(k_heads, 2 * (k_dim + v_rows), *x.shape[1:])
    cuts = [0, k_dim, 2 * k_dim, 2 * k_dim + v_rows, 2 * (k_dim + v_rows)]
    return [heads[:, a:b].reshape(-1, *x.shape[1:]) for a, b in pairwise(cuts)]


def _qkv(x: Array, s: Settings) -> Array:
    return np.concatenate(_split(x, s)[:3])


def _z(x: Array, s: Settings) -> Array:
    return _split(x, s)[3]


def _rows(*, gate: bool) -> Callable[[Shape, Settings], Shape]:
    def shape(stored: Shape, s: Settings) -> Shape:
        v = s.integer("linear_num_value_heads") * s.integer("linear_value_head_dim")
        k = s.integer("linear_num_key_heads") * s.integer("linear_key_head_dim")
        if stored[0] != 2 * (k + v):
            raise ValueError(f"want {2 * (k + v)} rows")
        return (v if gate else 2 * k + v), *stored[1:]

    return shape


def qwen3next(s: Settings) -> Description:
    every_layer_routed(s)
    keys = _delta_keys(s) | routed(s)
    keys["expert_shared_feed_forward_length"] = s.integer("shared_expert_intermediate_size", least=1)
    at = "layers.N.linear_attn"
    names: Names = {
        **TOP,
        **ATTENTION,
        **experts(),
        **ROUTER,
        **SHARED,
        **DELTA_NORMS,
        f"{at}.in_proj_qkvz": (
            Rule("blk.N.attn_qkv", "q, k and v of in_proj_qkvz", _qkv, shape=_rows(gate=False)),
            Rule("blk.N.attn_gate", "z of in_proj_qkvz", _z, shape=_rows(gate=True)),
        ),
        f"{at}.in_proj_ba": "blk.N.ssm_ba",
        f"{at}.conv1d": _squeezed("blk.N.ssm_conv1d"),
        f"{at}.A_log": Rule("blk.N.ssm_a", "-exp", values=_decay),
        f"{at}.dt_bias": "blk.N.ssm_dt.bias",
        f"{at}.out_proj": "blk.N.ssm_out",
    }
    return Description("qwen3next", keys, names)


def _tiled(x: Array, s: Settings) -> Array:
    """V heads along the first axis, from grouped by K head to the K heads in turn."""
    k_heads, v_heads = s.integer("linear_num_key_heads", least=1), s.integer("linear_num_value_heads", least=1)
    return x.reshape(k_heads, v_heads // k_heads, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


def _tiled_columns(x: Array, s: Settings) -> Array:
    k_heads, v_heads = s.integer("linear_num_key_heads", least=1), s.integer("linear_num_value_heads", least=1)
    return x.reshape(x.shape[0], k_heads, v_heads // k_heads, -1).swapaxes(1, 2).reshape(x.shape)


def _tiled_after_keys(x: Array, s: Settings) -> Array:
    keys = 2 * s.integer("linear_num_key_heads") * s.integer("linear_key_head_dim")
    return np.concatenate([x[:keys], _tiled(x[keys:], s)])


def _tiled_channels(x: Array, s: Settings) -> Array:
    return _tiled_after_keys(x.reshape(x.shape[0], x.shape[-1]), s)


def _qwen35_names(s: Settings) -> Names:
    at, note = "layers.N.linear_attn", "V heads by turns"
    return {
        **TOP,
        **ATTENTION,
        **DELTA_NORMS,
        f"{at}.in_proj_qkv": Rule("blk.N.attn_qkv", note, _tiled_after_keys, shape=lambda n, s: n),
        f"{at}.in_proj_z": Rule("blk.N.attn_gate", note, _tiled),
        f"{at}.in_proj_a": Rule("blk.N.ssm_alpha", note, _tiled),
        f"{at}.in_proj_b": Rule("blk.N.ssm_beta", note, _tiled),
        f"{at}.A_log": Rule("blk.N.ssm_a", f"{note}, -exp", _tiled, _decay),
        f"{at}.dt_bias": Rule("blk.N.ssm_dt.bias", note, _tiled),
        f"{at}.conv1d": Rule("blk.N.ssm_conv1d", note, _tiled_channels, shape=lambda n, s: (n[0], n[-1])),
        f"{at}.out_proj": Rule("blk.N.ssm_out", note, _tiled_columns),
    }


def _sections(s: Settings) -> Metadata:
    sections = rope_settings(s).values.get("mrope_section", [11, 11, 10])
    if not isinstance(sections, list) or len(sections) != 3 or not all(type(n) is int and n >= 0 for n in sections):
        s.wrong("mrope_section", sections, "three whole numbers")
    return {"rope.dimension_sections": [*sections, 0]}


def qwen35(s: Settings) -> Description:
    return Description("qwen35", _delta_keys(s) | _sections(s), {**_qwen35_names(s), **FFN})


def qwen35moe(s: Settings) -> Description:
    every_layer_routed(s)
    keys = _delta_keys(s) | _sections(s) | routed(s)
    keys["expert_shared_feed_forward_length"] = s.integer("shared_expert_intermediate_size", least=1)
    return Description("qwen35moe", keys, {**_qwen35_names(s), **experts(), **ROUTER, **SHARED})


FAMILIES: Final[dict[str, Family]] = {
    "mamba2": mamba2,
    "granitemoehybrid": granitehybrid,
    "falcon_h1": falcon_h1,
    "lfm2": lfm2,
    "lfm2_moe": lfm2moe,
    "qwen3_next": qwen3next,
    "qwen3_5": qwen35,
    "qwen3_5_text": qwen35,
    "qwen3_5_moe": qwen35moe,
    "qwen3_5_moe_text": qwen35moe,
}
"""`model_type` -> its table."""
