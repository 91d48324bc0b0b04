"""Decoders whose FFN is a mixture of experts, and those with latent attention."""

from __future__ import annotations

from typing import Final

import numpy as np

from halflap.weights.folder.families.common import (
    ATTENTION,
    FFN,
    HEAD_NORMS,
    NORMS,
    TOP,
    Description,
    Family,
    Names,
    decoder,
    experts,
    factors,
    rope_settings,
    rotary,
    routed,
    shared_expert,
    windowed,
)
from halflap.weights.folder.recipe import Array, Rule, Shape
from halflap.weights.folder.settings import Settings  # fmt: skip

W_NAMES: Final = {"w1": "gate", "w3": "up", "w2": "down"}
ROUTER: Final[Names] = {"layers.N.mlp.gate": "blk.N.ffn_gate_inp"}
BIASED_ROUTER: Final[Names] = {
    **ROUTER, "layers.N.mlp.gate.e_score_correction_bias": "blk.N.exp_probs_b.bias",
}  # fmt: skip
SHARED: Final[Names] = {
    **shared_expert("shared_expert"), "layers.N.mlp.shared_expert_gate": "blk.N.ffn_gate_inp_shexp",
}  # fmt: skip


def every_layer_routed(s: Settings) -> None:
    s.want("mlp_only_layers", not s.values.get("mlp_only_layers"), s.values.get("mlp_only_layers"), "none")
    s.want("decoder_sparse_step", s.integer("decoder_sparse_step", default=1) == 1, "another", "1")
    s.want("use_sliding_window", not s.flag("use_sliding_window", False), True, "false")


def qwen2moe(s: Settings) -> Description:
    every_layer_routed(s)
    keys = decoder(s) | routed(s)
    keys["expert_shared_feed_forward_length"] = s.integer("shared_expert_intermediate_size", least=1)
    return Description("qwen2moe", keys, {**TOP, **NORMS, **ATTENTION, **experts(), **ROUTER, **SHARED})


def qwen3moe(s: Settings) -> Description:
    every_layer_routed(s)
    s.want("attention_bias", not s.flag("attention_bias", False), True, "false")
    names = {**TOP, **NORMS, **ATTENTION, **HEAD_NORMS, **experts(), **ROUTER}
    return Description("qwen3moe", decoder(s) | routed(s), names)


def glm4moe(s: Settings) -> Description:
    keys = decoder(s) | routed(s)
    keys |= {
        "leading_dense_block_count": s.integer("first_k_dense_replace", default=0),
        "expert_shared_count": s.integer("n_shared_experts", default=0),
        "expert_group_count": s.integer("n_group", default=1, least=1),
        "expert_group_used_count": s.integer("topk_group", default=1, least=1),
        "expert_gating_func": 2,
        "expert_weights_scale": s.number("routed_scaling_factor", default=1.0),
    }
    names = {
        **TOP, **NORMS, **ATTENTION, **HEAD_NORMS, **FFN, **experts(), **shared_expert("shared_experts"),
        **BIASED_ROUTER, "layers.N.post_attention_layernorm": "blk.N.post_attention_norm",
    }  # fmt: skip
    return Description("glm4moe", keys, names)


def _latent(part: str) -> Rule:
    """kv_b_proj holds, head by head, the map to unrotated keys and the map to values."""

    def arrange(x: Array, s: Settings) -> Array:
        plain, heads = s.integer("qk_nope_head_dim", least=1), s.integer("num_attention_heads", least=1)
        both = x.reshape(heads, plain + s.integer("v_head_dim", least=1), x.shape[1])
        return both[:, :plain].swapaxes(1, 2) if part == "k" else both[:, plain:]

    return Rule(f"blk.N.attn_{part}_b", f"{part} part of kv_b" + (", transposed" if part == "k" else ""), arrange)


def deepseek(s: Settings) -> Description:
    """DeepSeek 2 and 3: rotary pairs are neighbours in both formats."""
    third = s.text("model_type", default="") != "deepseek_v2"
    s.want("rope_interleave", s.flag("rope_interleave", True), False, "true")
    rank, turned = s.integer("kv_lora_rank", least=1), s.integer("qk_rope_head_dim", least=2)
    keys = decoder(s, rotated=turned)
    gating = s.text("scoring_func", default="sigmoid" if third else "softmax")
    s.want("scoring_func", gating in ("softmax", "sigmoid"), gating, "'softmax' or 'sigmoid'")
    keys |= {
        "attention.head_count_kv": 1,
        "attention.key_length": rank + turned,
        "attention.value_length": rank,
        "attention.key_length_mla": s.integer("qk_nope_head_dim", least=1) + turned,
        "attention.value_length_mla": s.integer("v_head_dim", least=1),
        "attention.kv_lora_rank": rank,
        "rope.dimension_count": turned,
    }
    if s.has("q_lora_rank"):
        keys["attention.q_lora_rank"] = s.integer("q_lora_rank")
    if s.has("n_routed_experts"):
        keys |= routed(s) | {
            "leading_dense_block_count": s.integer("first_k_dense_replace", default=0),
            "expert_shared_count": s.integer("n_shared_experts", default=0),
            "expert_group_count": s.integer("n_group", default=1, least=1),
            "expert_group_used_count": s.integer("topk_group", default=1, least=1),
            "expert_gating_func": 2 if gating == "sigmoid" else 1,
            "expert_weights_scale": s.number("routed_scaling_factor", default=1.0),
        }
        if s.text("topk_method", default="") == "greedy":
            keys["expert_group_count"] = keys["expert_group_used_count"] = 1
        # Version 2's own code scales the weights or makes them sum to 1, never both; it ends in the same products.
        keys.setdefault("expert_weights_norm", third)
    r = rope_settings(s)
    if r.text("rope_type", default="default") == "yarn":
        all_dims, mscale = r.number("mscale_all_dim", default=0.0), r.number("mscale", default=1.0)
        s.want("mscale", not all_dims or mscale == all_dims, mscale, "that of mscale_all_dim")
        keys["rope.scaling.yarn_log_multiplier"] = 0.1 * all_dims
        keys.pop("rope.scaling.attn_factor", None)
    names: Names = {
        **TOP,
        **NORMS,
        **FFN,
        **experts(),
        **shared_expert("shared_experts"),
        **BIASED_ROUTER,
        "layers.N.self_attn.q_proj": "blk.N.attn_q",
        "layers.N.self_attn.q_a_proj": "blk.N.attn_q_a",
        "layers.N.self_attn.q_a_layernorm": "blk.N.attn_q_a_norm",
        "layers.N.self_attn.q_b_proj": "blk.N.attn_q_b",
        "layers.N.self_attn.kv_a_proj_with_mqa": "blk.N.attn_kv_a_mqa",
        "layers.N.self_attn.kv_a_layernorm": "blk.N.attn_kv_a_norm",
        "layers.N.self_attn.kv_b_proj": (_latent("k"), _latent("v")),
        "layers.N.self_attn.o_proj": "blk.N.attn_output",
    }
    return Description("deepseek2", keys, names)


def _gate_or_up(start: int, suffix: str, *, transposed: bool) -> Rule:
    """gpt-oss keeps gate and up in alternating rows (or columns, where the matrix is stored transposed)."""

    def arrange(x: Array, s: Settings) -> Array:
        return x.swapaxes(1, 2)[:, start::2] if transposed else x[:, start::2]

    name = ("gate", "up")[start]
    note = f"every other row{', transposed' if transposed else ''}"
    return Rule(f"blk.N.ffn_{name}_exps.{suffix}", note, arrange)


def _transposed(target: str) -> Rule:
    return Rule(target, "transposed", lambda x, s: x.swapaxes(-1, -2))


def _mxfp4(target: str, stored: str, start: int, step: int) -> Rule:
    """Blocks of 16 bytes and their scales to MXFP4's 17: byte i of a block holds values 2i and 2i+1 here, and values i
    and i+16 there."""

    def arrange(blocks: Array, scales: Array, s: Settings) -> Array:
        blocks, scales = blocks[:, start::step], scales[:, start::step]
        if blocks.shape[:-1] != scales.shape:
            raise ValueError(f"blocks of shape {list(blocks.shape)} for scales of shape {list(scales.shape)}")
        made = np.empty((*scales.shape, 17), np.uint8)
        made[..., 0] = scales
        low, high = blocks & 15, blocks >> 4
        made[..., 1::2] = low[..., :8] | (low[..., 8:] << 4)
        made[..., 2::2] = high[..., :8] | (high[..., 8:] << 4)
        return made

    def shape(stored: Shape, s: Settings) -> Shape:
        if len(stored) != 4 or stored[3] != 16:
            raise ValueError("want (experts, rows, blocks, 16)")
        return stored[0], len(range(start, stored[1], step)), 32 * stored[2]

    at = f"layers.N.mlp.experts.{stored}_scales"
    note = "MXFP4 repacked" + (", every other row" if step == 2 else "")
    return Rule(target, note, arrange, shape=shape, beside=at, type="MXFP4", reads="U8")


def gptoss(s: Settings) -> Description:
    keys = decoder(s) | routed(s)
    r = rope_settings(s)
    for name, fixed in (("swiglu_alpha", 1.702), ("swiglu_limit", 7.0)):
        s.want(name, s.number(name, default=fixed) == fixed, s.values.get(name), str(fixed))
    keys |= {
        "expert_feed_forward_length": keys["feed_forward_length"],
        "attention.sliding_window": s.integer("sliding_window", least=1),
        "attention.sliding_window_pattern": windowed(s, keys["block_count"], 2),
        "rope.scaling.truncate": r.flag("truncate", True),
    }
    names: Names = {
        **TOP,
        **NORMS,
        **ATTENTION,
        "layers.N.post_attention_layernorm": "blk.N.post_attention_norm",
        "layers.N.self_attn.sinks": "blk.N.attn_sinks.weight",
        "layers.N.mlp.router": "blk.N.ffn_gate_inp",
        "layers.N.mlp.experts.gate_up_proj": tuple(_gate_or_up(i, "weight", transposed=True) for i in (0, 1)),
        "layers.N.mlp.experts.gate_up_proj_bias": tuple(_gate_or_up(i, "bias", transposed=False) for i in (0, 1)),
        "layers.N.mlp.experts.down_proj": _transposed("blk.N.ffn_down_exps.weight"),
        "layers.N.mlp.experts.down_proj_bias": "blk.N.ffn_down_exps.bias",
        "layers.N.mlp.experts.gate_up_proj_blocks": (
            _mxfp4("blk.N.ffn_gate_exps.weight", "gate_up_proj", 0, 2),
            _mxfp4("blk.N.ffn_up_exps.weight", "gate_up_proj", 1, 2),
        ),
        "layers.N.mlp.experts.down_proj_blocks": _mxfp4("blk.N.ffn_down_exps.weight", "down_proj", 0, 1),
    }
    return Description("gpt-oss", keys, names)


def _llama4_half(target: str, start: int) -> Rule:
    def arrange(x: Array, s: Settings) -> Array:
        half = x.shape[2] // 2
        return x.swapaxes(1, 2)[:, start * half : (start + 1) * half]

    return Rule(target, f"{('first', 'second')[start]} half, transposed", arrange)


def llama4(s: Settings) -> Description:
    keys = decoder(s) | routed(s)
    layers, step = keys["block_count"], s.integer("interleave_moe_layer_step", default=1, least=1)
    turned = s.layers("no_rope_layers", layers, (0, 1)) or [int((i + 1) % 4 != 0) for i in range(layers)]
    routed_layers = s.values.get("moe_layers")
    s.want(
        "moe_layers", routed_layers in (None, list(range(step - 1, layers, step))), routed_layers, f"every {step}-th"
    )
    scaled = s.flag("attn_temperature_tuning", True)
    keys |= {
        "expert_feed_forward_length": keys["feed_forward_length"],
        "feed_forward_length": s.integer("intermediate_size_mlp", least=1),
        "interleave_moe_layer_step": step,
        "attention.sliding_window": s.integer("attention_chunk_size", default=8192, least=1),
        "attention.sliding_window_pattern": [bool(t) for t in turned],
        "attention.temperature_scale": s.number("attn_scale", default=0.1) if scaled else 0.0,
        "attention.temperature_length": s.integer("floor_scale", default=8192, least=1),
        "attention.norm_heads": s.flag("use_qk_norm", True),
    }
    at = "layers.N.feed_forward"
    names: Names = {
        **TOP,
        **NORMS,
        **ATTENTION,
        f"{at}.gate_proj": "blk.N.ffn_gate",
        f"{at}.up_proj": "blk.N.ffn_up",
        f"{at}.down_proj": "blk.N.ffn_down",
        f"{at}.router": "blk.N.ffn_gate_inp",
        f"{at}.shared_expert.gate_proj": "blk.N.ffn_gate_shexp",
        f"{at}.shared_expert.up_proj": "blk.N.ffn_up_shexp",
        f"{at}.shared_expert.down_proj": "blk.N.ffn_down_shexp",
        f"{at}.experts.gate_up_proj": (
            _llama4_half("blk.N.ffn_gate_exps.weight", 0),
            _llama4_half("blk.N.ffn_up_exps.weight", 1),
        ),
        f"{at}.experts.down_proj": _transposed("blk.N.ffn_down_exps.weight"),
    }
    return Description("llama4", keys, names, factors(s, keys["rope.dimension_count"]))


def _compressor(at: str, ours: str) -> Names:
    return {
        f"{at}.compressor.ape": f"{ours}_compressor_ape.weight",
        f"{at}.compressor.norm": f"{ours}_compressor_norm",
        f"{at}.compressor.wgate": f"{ours}_compressor_gate",
        f"{at}.compressor.wkv": f"{ours}_compressor_kv",
    }


DEEPSEEK4_NAMES: Final[Names] = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "head": "output",
    **{f"hc_head.hc_{part}": f"output_hc_{part}.weight" for part in ("base", "fn", "scale")},
    **{
        f"layers.N.hc_{block}_{part}": f"blk.N.hc_{block}_{part}.weight"
        for block in ("attn", "ffn")
        for part in ("base", "fn", "scale")
    },
    "layers.N.attn_norm": "blk.N.attn_norm",
    "layers.N.attn.attn_sink": "blk.N.attn_sinks.weight",
    "layers.N.attn.norm": "blk.N.attn_kv_a_norm",
    "layers.N.attn.q_norm": "blk.N.attn_q_a_norm",
    "layers.N.attn.wq_a": "blk.N.attn_q_a",
    "layers.N.attn.wq_b": "blk.N.attn_q_b",
    "layers.N.attn.wkv": "blk.N.attn_kv",
    "layers.N.attn.wo_a": "blk.N.attn_output_a",
    "layers.N.attn.wo_b": "blk.N.attn_output_b",
    **_compressor("layers.N.attn", "blk.N.attn"),
    **_compressor("layers.N.attn.indexer", "blk.N.indexer"),
    "layers.N.attn.indexer.wq_b": "blk.N.indexer.attn_q_b",
    "layers.N.attn.indexer.weights_proj": "blk.N.indexer.proj",
    "layers.N.ffn_norm": "blk.N.ffn_norm",
    "layers.N.ffn.gate": "blk.N.ffn_gate_inp",
    "layers.N.ffn.gate.bias": "blk.N.exp_probs_b.bias",
    "layers.N.ffn.gate.tid2eid": Rule(
        "blk.N.ffn_gate_tid2eid.weight",
        "I64 to I32",
        lambda x, s: x.astype(np.int32),
        shape=lambda stored, s: stored,
        type="I32",
        reads="I64",
    ),
    **{f"layers.N.ffn.experts.E.{theirs}": f"blk.N.ffn_{ours}_exps" for theirs, ours in W_NAMES.items()},
    **{f"layers.N.ffn.shared_experts.{theirs}": f"blk.N.ffn_{ours}_shexp" for theirs, ours in W_NAMES.items()},
}


def deepseek4(s: Settings) -> Description:
    """Windows, and beside them rows that stand for 4 or 128 tokens; several residual streams; the first layers route
    by token id."""
    s.want("hidden_act", s.text("hidden_act", default="silu") == "silu", s.values.get("hidden_act"), "'silu'")
    layers, dim = s.integer("num_hidden_layers", least=1), s.integer("head_dim", least=2)
    gating = s.text("scoring_func", default="sqrtsoftplus")
    s.want("scoring_func", gating == "sqrtsoftplus", gating, "'sqrtsoftplus'")
    rates = s.section("compress_rates")
    types = s.layers("layer_types", layers, ("sliding_attention", *rates.values))
    kinds = s.layers("mlp_layer_types", layers, ("hash_moe", "moe"))
    if types is None or kinds is None:
        s.wrong("layer_types", None, "one for each layer, as mlp_layer_types")
    hashed = sum(kind == "hash_moe" for kind in kinds)
    s.want("mlp_layer_types", "hash_moe" not in kinds[hashed:], kinds, "the layers that route by token id first")
    limits = [s.number("swiglu_limit", default=0.0)] * layers
    far = rotary(s, dim, s.integer("qk_rope_head_dim", least=2), "compress")
    keys = {
        "block_count": layers,
        "context_length": s.integer("max_position_embeddings", least=1),
        "embedding_length": s.integer("hidden_size", least=1),
        "vocab_size": s.integer("vocab_size"),
        "attention.head_count": s.integer("num_attention_heads", least=1),
        "attention.head_count_kv": s.integer("num_key_value_heads", default=1),
        "attention.key_length": dim,
        "attention.value_length": dim,
        "attention.layer_norm_rms_epsilon": s.number("rms_norm_eps"),
        "attention.q_lora_rank": s.integer("q_lora_rank", least=1),
        "attention.output_group_count": s.integer("o_groups", least=1),
        "attention.output_lora_rank": s.integer("o_lora_rank", least=1),
        "attention.sliding_window": s.integer("sliding_window", least=1),
        "attention.compress_ratios": [rates.integer(t, least=1) if t in rates.values else 0 for t in types],
        "attention.compress_rope_freq_base": far.pop("rope.freq_base", s.number("compress_rope_theta", default=1.6e5)),
        "attention.indexer.head_count": s.integer("index_n_heads", default=0),
        "attention.indexer.key_length": s.integer("index_head_dim", default=dim),
        "attention.indexer.top_k": s.integer("index_topk", default=0),
        "hyper_connection.count": s.integer("hc_mult", least=1),
        "hyper_connection.sinkhorn_iterations": s.integer("hc_sinkhorn_iters", least=1),
        "hyper_connection.epsilon": s.number("hc_eps"),
        "hash_layer_count": hashed,
        "rope.freq_base": rope_settings(s, "main").number("rope_theta", default=10000.0),
        **routed(s, "n_routed_experts"),
        "expert_gating_func": 4,
        "expert_shared_count": s.integer("n_shared_experts", default=0),
        "expert_weights_scale": s.number("routed_scaling_factor", default=1.0),
        "swiglu_clamp_exp": limits,
        "swiglu_clamp_shexp": limits,
    }
    far.pop("rope.scaling.attn_factor", None)  # scores do not grow with the context here
    return Description("deepseek4", keys | far, DEEPSEEK4_NAMES)


FAMILIES: Final[dict[str, Family]] = {
    "deepseek_v4": deepseek4,
    "qwen2_moe": qwen2moe,
    "qwen3_moe": qwen3moe,
    "glm4_moe": glm4moe,
    "deepseek_v2": deepseek,
    "deepseek_v3": deepseek,
    "gpt_oss": gptoss,
    "llama4_text": llama4,
}
"""`model_type` -> its table."""
