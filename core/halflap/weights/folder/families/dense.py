"""Decoders with one dense FFN: llama's descendants, phi, olmo, granite, glm, cohere, starcoder, smollm."""

from __future__ import annotations

from typing import Final

from halflap.weights.folder.families.common import (
    ATTENTION,
    FFN,
    HEAD_NORMS,
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
    halves,
    rope_settings,
    rotary,
    routed,
    windowed,
)
from halflap.weights.folder.settings import Settings  # fmt: skip


def llama(s: Settings) -> Description:
    keys = decoder(s)
    if s.text("model_type", default="llama") == "mistral" and s.has("sliding_window"):
        keys["attention.sliding_window"] = s.integer("sliding_window")
    names = {**TOP, **NORMS, **PAIRED_ATTENTION, **FFN}
    return Description("llama", keys, names, factors(s, keys["rope.dimension_count"]))


def mixtral(s: Settings) -> Description:
    keys = decoder(s) | routed(s)
    if s.has("sliding_window"):
        keys["attention.sliding_window"] = s.integer("sliding_window")
    names = {
        **TOP,
        **NORMS,
        **PAIRED_ATTENTION,
        **experts("block_sparse_moe", "w1", "w3", "w2"),
        **experts("mlp", "w1", "w3", "w2"),
        "layers.N.block_sparse_moe.gate": "blk.N.ffn_gate_inp",
        "layers.N.mlp.gate": "blk.N.ffn_gate_inp",
    }
    return Description("llama", keys, names, factors(s, keys["rope.dimension_count"]))


def ministral3(s: Settings) -> Description:
    keys = decoder(s)
    s.want("sliding_window", not s.has("sliding_window"), s.values.get("sliding_window"), "none")
    keys["attention.temperature_scale"] = rope_settings(s).number("llama_4_scaling_beta", default=0.0)
    return Description("mistral3", keys, {**TOP, **NORMS, **PAIRED_ATTENTION, **FFN})


def qwen2(s: Settings) -> Description:
    keys = decoder(s)
    s.want("use_sliding_window", not s.flag("use_sliding_window", False), True, "false")
    return Description("qwen2", keys, {**TOP, **NORMS, **ATTENTION, **FFN})


def qwen3(s: Settings) -> Description:
    keys = decoder(s)
    s.want("use_sliding_window", not s.flag("use_sliding_window", False), True, "false")
    s.want("attention_bias", not s.flag("attention_bias", False), True, "false")
    return Description("qwen3", keys, {**TOP, **NORMS, **ATTENTION, **HEAD_NORMS, **FFN})


def phi3(s: Settings) -> Description:
    keys = decoder(s)
    keys["attention.sliding_window"] = s.integer("sliding_window", default=0)
    names: Names = {
        **TOP,
        **NORMS,
        "layers.N.self_attn.qkv_proj": "blk.N.attn_qkv",
        "layers.N.self_attn.o_proj": "blk.N.attn_output",
        "layers.N.mlp.gate_up_proj": "blk.N.ffn_up",
        "layers.N.mlp.down_proj": "blk.N.ffn_down",
    }
    return Description("phi3", keys, names, factors(s, keys["rope.dimension_count"]))


NORMS_BEHIND: Final[Names] = {
    "layers.N.post_attention_layernorm": "blk.N.post_attention_norm",
    "layers.N.post_feedforward_layernorm": "blk.N.post_ffw_norm",
}


def olmo2(s: Settings) -> Description:
    return Description("olmo2", decoder(s), {**TOP, **NORMS_BEHIND, **ATTENTION, **HEAD_NORMS, **FFN})


def olmo3(s: Settings) -> Description:
    """OLMo 2 with windows; only layers without one have scaled rotary, and its attention factor is the whole of it."""
    keys = decoder(s)
    full, near = rope_settings(s, "full_attention"), rope_settings(s, "sliding_attention")
    keys |= {
        "attention.sliding_window": s.integer("sliding_window", least=1),
        "attention.sliding_window_pattern": windowed(s, keys["block_count"], 4),
        "rope.freq_base": full.number("rope_theta", default=10000.0),
        "rope.freq_base_swa": near.number("rope_theta", default=10000.0),
    }
    keys |= {
        name: value
        for name, value in rotary(s, keys["attention.key_length"], kind="full_attention").items()
        if name.startswith("rope.scaling")
    }
    if full.has("attention_factor"):
        keys["rope.scaling.attn_factor"] = full.number("attention_factor")
    return Description("olmo2", keys, {**TOP, **NORMS_BEHIND, **ATTENTION, **HEAD_NORMS, **FFN})


def olmoe(s: Settings) -> Description:
    keys = decoder(s) | routed(s)
    keys["attention.clamp_kqv"] = s.number("clip_qkv", default=0.0)
    names = {
        **TOP, **NORMS, **ATTENTION, **HEAD_NORMS, **experts(), "layers.N.mlp.gate": "blk.N.ffn_gate_inp",
    }  # fmt: skip
    return Description("olmoe", keys, names)


def smollm3(s: Settings) -> Description:
    keys = decoder(s)
    plain = [i % 4 == 3 for i in range(keys["block_count"])]
    turned = s.layers("no_rope_layers", keys["block_count"], (0, 1))
    s.want("no_rope_layers", turned in (None, [int(not p) for p in plain]), turned, "no rotary in every fourth layer")
    s.want("use_sliding_window", not s.flag("use_sliding_window", False), True, "false")
    names = {**TOP, **NORMS, **PAIRED_ATTENTION, **FFN}
    return Description("smollm3", keys, names, factors(s, keys["rope.dimension_count"]))


def starcoder2(s: Settings) -> Description:
    keys = decoder(s, activation="gelu", eps="norm_epsilon")
    if s.has("sliding_window"):
        keys["attention.sliding_window"] = s.integer("sliding_window")
    names = {
        **TOP, **NORMS, **ATTENTION, "layers.N.mlp.c_fc": "blk.N.ffn_up", "layers.N.mlp.c_proj": "blk.N.ffn_down",
    }  # fmt: skip
    return Description("starcoder2", keys, names)


def cohere(s: Settings) -> Description:
    keys = decoder(s, eps="layer_norm_eps")
    keys["logit_scale"] = s.number("logit_scale", default=0.0625)
    return Description("command-r", keys, {**TOP, **NORMS, **ATTENTION, **HEAD_NORMS, **FFN})


def cohere2(s: Settings) -> Description:
    keys = decoder(s, eps="layer_norm_eps")
    keys |= {
        "logit_scale": s.number("logit_scale", default=0.0625),
        "attention.sliding_window": s.integer("sliding_window", least=1),
        "attention.sliding_window_pattern": windowed(s, keys["block_count"], 4),
    }
    return Description("cohere2", keys, {**TOP, **NORMS, **ATTENTION, **FFN})


def granite_scales(s: Settings) -> Metadata:
    """Granite's four multipliers."""
    return {
        "attention.scale": s.number("attention_multiplier"),
        "embedding_scale": s.number("embedding_multiplier"),
        "residual_scale": s.number("residual_multiplier"),
        "logit_scale": s.number("logits_scaling"),
    }


def granite(s: Settings) -> Description:
    keys = decoder(s) | granite_scales(s)
    names = {**TOP, **NORMS, **PAIRED_ATTENTION, **FFN}
    return Description("granite", keys, names, factors(s, keys["rope.dimension_count"]))


GRANITE_EXPERTS: Final[Names] = {
    "layers.N.block_sparse_moe.router.layer": "blk.N.ffn_gate_inp",
    "layers.N.block_sparse_moe.input_linear": halves("blk.N.ffn_gate_exps", "blk.N.ffn_up_exps", 1),
    "layers.N.block_sparse_moe.output_linear": "blk.N.ffn_down_exps",
}
GRANITE_SHARED: Final[Names] = {
    "layers.N.shared_mlp.input_linear": halves("blk.N.ffn_gate_shexp", "blk.N.ffn_up_shexp", 0),
    "layers.N.shared_mlp.output_linear": "blk.N.ffn_down_shexp",
}


def granitemoe(s: Settings) -> Description:
    keys = decoder(s) | granite_scales(s) | routed(s)
    keys.pop("expert_weights_norm", None)
    if s.has("shared_intermediate_size"):
        keys["expert_shared_feed_forward_length"] = s.integer("shared_intermediate_size")
    names = {**TOP, **NORMS, **PAIRED_ATTENTION, **GRANITE_EXPERTS, **GRANITE_SHARED}
    return Description("granitemoe", keys, names, factors(s, keys["rope.dimension_count"]))


def glm4(s: Settings) -> Description:
    names: Names = {
        **TOP,
        **NORMS,
        **ATTENTION,
        "layers.N.post_self_attn_layernorm": "blk.N.post_attention_norm",
        "layers.N.post_mlp_layernorm": "blk.N.post_ffw_norm",
        "layers.N.mlp.gate_up_proj": "blk.N.ffn_up",
        "layers.N.mlp.down_proj": "blk.N.ffn_down",
    }
    return Description("glm4", decoder(s), names)


FAMILIES: Final[dict[str, Family]] = {
    "llama": llama,
    "mistral": llama,
    "mixtral": mixtral,
    "ministral3": ministral3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "phi3": phi3,
    "olmo2": olmo2,
    "olmo3": olmo3,
    "olmoe": olmoe,
    "smollm3": smollm3,
    "starcoder2": starcoder2,
    "cohere": cohere,
    "cohere2": cohere2,
    "granite": granite,
    "granitemoe": granitemoe,
    "granitemoeshared": granitemoe,
    "glm4": glm4,
}
"""`model_type` -> its table."""
