"""Gemma 1 to 4 and EmbeddingGemma."""

from __future__ import annotations

from typing import Final

from halflap.weights.folder.families.common import (
    ATTENTION,
    FFN,
    TOP,
    Description,
    Family,
    Metadata,
    Names,
    decoder,
    factors,
    one_more,
    rope_settings,
    rotary,
    windowed,
)
from halflap.weights.folder.settings import Settings  # fmt: skip

NORMS: Final[Names] = {
    "norm": one_more("output_norm"),
    "layers.N.input_layernorm": one_more("blk.N.attn_norm"),
    "layers.N.post_attention_layernorm": one_more("blk.N.post_attention_norm"),
    "layers.N.pre_feedforward_layernorm": one_more("blk.N.ffn_norm"),
    "layers.N.post_feedforward_layernorm": one_more("blk.N.post_ffw_norm"),
    "layers.N.self_attn.q_norm": one_more("blk.N.attn_q_norm"),
    "layers.N.self_attn.k_norm": one_more("blk.N.attn_k_norm"),
}


def gemma(s: Settings) -> Description:
    names = {
        **TOP, **ATTENTION, **FFN, "norm": one_more("output_norm"),
        "layers.N.input_layernorm": one_more("blk.N.attn_norm"),
        "layers.N.post_attention_layernorm": one_more("blk.N.ffn_norm"),
    }  # fmt: skip
    return Description("gemma", decoder(s, activation="gelu"), names)


def _softened(s: Settings) -> Metadata:
    """Attention scale and soft caps; 0: none."""
    scalar = s.number("query_pre_attn_scalar")
    if scalar <= 0:
        s.wrong("query_pre_attn_scalar", scalar, "a number above 0")
    return {
        "attention.scale": scalar**-0.5,
        "attn_logit_softcapping": s.number("attn_logit_softcapping", default=0.0),
        "final_logit_softcapping": s.number("final_logit_softcapping", default=0.0),
        "attention.sliding_window": s.integer("sliding_window", least=1),
    }


def gemma2(s: Settings) -> Description:
    keys = decoder(s, activation="gelu") | _softened(s)
    keys["attention.sliding_window_pattern"] = windowed(s, keys["block_count"], 2)
    return Description("gemma2", keys, {**TOP, **ATTENTION, **FFN, **NORMS})


def gemma3(s: Settings) -> Description:
    keys = decoder(s, activation="gelu") | _softened(s)
    keys |= rotary(s, keys["attention.key_length"], kind="full_attention")
    near = rope_settings(s, "sliding_attention").number("rope_theta", default=10000.0)
    keys |= {
        "rope.freq_base_swa": s.number("rope_local_base_freq", default=near),
        "attention.sliding_window_pattern": windowed(s, keys["block_count"], 6),
    }
    if s.flag("use_bidirectional_attention", False):
        keys["attention.causal"] = False
        return Description("gemma-embedding", keys, {**TOP, **ATTENTION, **FFN, **NORMS})
    return Description("gemma3", keys, {**TOP, **ATTENTION, **FFN, **NORMS})


GEMMA4_NAMES: Final[Names] = {
    **TOP,
    **ATTENTION,
    **FFN,
    "embed_tokens_per_layer": "per_layer_token_embd",
    "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm",
    "layers.N.input_layernorm": "blk.N.attn_norm",
    "layers.N.post_attention_layernorm": "blk.N.post_attention_norm",
    "layers.N.pre_feedforward_layernorm": "blk.N.ffn_norm",
    "layers.N.pre_feedforward_layernorm_2": "blk.N.pre_ffw_norm_2",
    "layers.N.post_feedforward_layernorm": "blk.N.post_ffw_norm",
    "layers.N.post_feedforward_layernorm_1": "blk.N.post_ffw_norm_1",
    "layers.N.post_feedforward_layernorm_2": "blk.N.post_ffw_norm_2",
    "layers.N.self_attn.q_norm": "blk.N.attn_q_norm",
    "layers.N.self_attn.k_norm": "blk.N.attn_k_norm",
    "layers.N.layer_scalar": "blk.N.layer_output_scale.weight",
    "layers.N.per_layer_input_gate": "blk.N.inp_gate",
    "layers.N.per_layer_projection": "blk.N.proj",
    "layers.N.post_per_layer_input_norm": "blk.N.post_norm",
    "layers.N.router.proj": "blk.N.ffn_gate_inp",
    "layers.N.router.scale": "blk.N.ffn_gate_inp.scale",
    "layers.N.router.per_expert_scale": "blk.N.ffn_down_exps.scale",
    "layers.N.experts.gate_up_proj": "blk.N.ffn_gate_up_exps.weight",
    "layers.N.experts.down_proj": "blk.N.ffn_down_exps.weight",
}


def gemma4(s: Settings) -> Description:
    """Full layers may have their own head sizes and KV heads; the last layers share the K and V of earlier ones."""
    keys = decoder(s, activation="gelu")
    layers = keys["block_count"]
    near = windowed(s, layers, 6)
    own = s.section("per_layer_config")
    dims = [own.section(str(i)).integer("head_dim", default=keys["attention.key_length"]) for i in range(layers)]
    kv_heads = [
        own.section(str(i)).integer("num_key_value_heads", default=keys["attention.head_count_kv"])
        for i in range(layers)
    ]
    if s.has("global_head_dim"):
        dims = [d if w else s.integer("global_head_dim") for d, w in zip(dims, near, strict=True)]
    if s.has("num_global_key_value_heads") and s.flag("attention_k_eq_v", False):
        wide = s.integer("num_global_key_value_heads")
        kv_heads = [h if w else wide for h, w in zip(kv_heads, near, strict=True)]
    full_dim = next((d for d, w in zip(dims, near, strict=True) if not w), keys["attention.key_length"])
    near_dim = next((d for d, w in zip(dims, near, strict=True) if w), keys["attention.key_length"])
    same = all(d == (near_dim if w else full_dim) for d, w in zip(dims, near, strict=True))
    s.want("head_dim", same, dims, "one for layers with a window and one for the others")
    shared = s.integer("num_kv_shared_layers", default=0, most=layers - 1)
    ffn = keys["feed_forward_length"]
    keys |= {
        "attention.head_count_kv": kv_heads,
        "attention.key_length": full_dim,
        "attention.value_length": full_dim,
        "attention.key_length_swa": near_dim,
        "attention.value_length_swa": near_dim,
        "attention.shared_kv_layers": shared,
        "attention.sliding_window": s.integer("sliding_window", least=1),
        "attention.sliding_window_pattern": near,
        "embedding_length_per_layer_input": s.integer("hidden_size_per_layer_input", default=0),
        "final_logit_softcapping": s.number("final_logit_softcapping", default=0.0),
        "rope.freq_base": rope_settings(s, "full_attention").number("rope_theta", default=1e6),
        "rope.freq_base_swa": rope_settings(s, "sliding_attention").number("rope_theta", default=1e4),
        "rope.dimension_count": full_dim,
        "rope.dimension_count_swa": near_dim,
    }
    if s.flag("use_double_wide_mlp", False):
        keys["feed_forward_length"] = [ffn if i < layers - shared else 2 * ffn for i in range(layers)]
    if s.flag("enable_moe_block", False):
        keys |= {
            "expert_count": s.integer("num_experts", least=1),
            "expert_used_count": s.integer("top_k_experts", least=1),
            "expert_feed_forward_length": s.integer("moe_intermediate_size", "expert_intermediate_size", least=1),
        }
    return Description("gemma4", keys, GEMMA4_NAMES, factors(s, full_dim, "full_attention"))


FAMILIES: Final[dict[str, Family]] = {
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "gemma3_text": gemma3,
    "gemma4": gemma4,
    "gemma4_text": gemma4,
}
"""`model_type` -> its table."""
