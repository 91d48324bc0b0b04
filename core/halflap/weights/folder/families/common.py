"""What the tables of most families share: names of a decoder's tensors, its keys, and rotary settings.

A table maps a name in the folder to the name of the tensor it becomes. N stands for the layer, E for the expert (those
of all experts are stacked), and `.weight` or `.bias` at the end is carried over where neither side writes it.

Names and keys of folders: the published model classes and configurations of Hugging Face's transformers.
Names and keys of GGUF: its specification and the `gguf` package's constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import numpy as np

from halflap.weights.folder.recipe import Array, Constant, Rule
from halflap.weights.folder.settings import MAX_HEAD, Settings
from halflap.weights.weight_type import Floats

Names = Mapping[str, "str | Rule | tuple[Rule, ...]"]
Metadata = dict[str, Any]


@attrs.frozen
class Description:
    """What a folder's model is.

    Attributes:
        architecture: `general.architecture`.
        keys: metadata below the architecture's name.
        names: stored tensor -> tensor.
        constants: tensors that no shard stores.
    """

    architecture: str
    keys: Metadata
    names: Names
    constants: Mapping[str, Constant] = attrs.field(factory=dict)


Family = Callable[[Settings], Description]

TOP: Final[Names] = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
NORMS: Final[Names] = {
    "layers.N.input_layernorm": "blk.N.attn_norm",
    "layers.N.post_attention_layernorm": "blk.N.ffn_norm",
}
ATTENTION: Final[Names] = {
    "layers.N.self_attn.q_proj": "blk.N.attn_q",
    "layers.N.self_attn.k_proj": "blk.N.attn_k",
    "layers.N.self_attn.v_proj": "blk.N.attn_v",
    "layers.N.self_attn.o_proj": "blk.N.attn_output",
}
HEAD_NORMS: Final[Names] = {
    "layers.N.self_attn.q_norm": "blk.N.attn_q_norm",
    "layers.N.self_attn.k_norm": "blk.N.attn_k_norm",
}
FFN: Final[Names] = {
    "layers.N.mlp.gate_proj": "blk.N.ffn_gate",
    "layers.N.mlp.up_proj": "blk.N.ffn_up",
    "layers.N.mlp.down_proj": "blk.N.ffn_down",
}


def paired(heads: str) -> Callable[[Array, Settings], Array]:
    """Rows of each head from two halves to neighbouring pairs, as the interleaved rotary takes them."""

    def arrange(x: Array, s: Settings) -> Array:
        count = s.integer(heads, "num_attention_heads", least=1)
        return x.reshape(count, 2, -1, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)

    return arrange


PAIRED_ATTENTION: Final[Names] = {
    **ATTENTION,
    "layers.N.self_attn.q_proj": Rule("blk.N.attn_q", "rotary halves to pairs", paired("num_attention_heads")),
    "layers.N.self_attn.k_proj": Rule("blk.N.attn_k", "rotary halves to pairs", paired("num_key_value_heads")),
}


def plus_one(x: Floats, s: Settings) -> Floats:
    return x + np.float32(1)


def one_more(target: str) -> Rule:
    """A norm whose stored weight is what it adds to 1."""
    return Rule(target, "1 added", values=plus_one)


def first_half(axis: int) -> Callable[[Array, Settings], Array]:
    return lambda x, s: np.moveaxis(np.moveaxis(x, axis, 0)[: x.shape[axis] // 2], 0, axis)


def second_half(axis: int) -> Callable[[Array, Settings], Array]:
    return lambda x, s: np.moveaxis(np.moveaxis(x, axis, 0)[x.shape[axis] // 2 :], 0, axis)


def halves(first: str, second: str, axis: int) -> tuple[Rule, Rule]:
    """One stored tensor that holds two, such as gate and up."""
    return (
        Rule(first, "first half", first_half(axis)),
        Rule(second, "second half", second_half(axis)),
    )


def experts(block: str = "mlp", gate: str = "gate_proj", up: str = "up_proj", down: str = "down_proj") -> Names:
    """Routed experts, stored one by one or, by newer writers, stacked with gate and up in one."""
    at = f"layers.N.{block}.experts"
    return {
        f"{at}.E.{gate}": "blk.N.ffn_gate_exps",
        f"{at}.E.{up}": "blk.N.ffn_up_exps",
        f"{at}.E.{down}": "blk.N.ffn_down_exps",
        f"{at}.gate_up_proj": halves("blk.N.ffn_gate_exps.weight", "blk.N.ffn_up_exps.weight", 1),
        f"{at}.down_proj": "blk.N.ffn_down_exps.weight",
    }


def shared_expert(block: str) -> Names:
    return {
        f"layers.N.mlp.{block}.gate_proj": "blk.N.ffn_gate_shexp",
        f"layers.N.mlp.{block}.up_proj": "blk.N.ffn_up_shexp",
        f"layers.N.mlp.{block}.down_proj": "blk.N.ffn_down_shexp",
    }


def decoder(
    s: Settings, *, activation: str = "silu", eps: str = "rms_norm_eps", rotated: int | None = None
) -> Metadata:
    """Keys of nearly every decoder.

    Args:
        activation: "silu" or "gelu", whichever the architecture computes.
        eps: the folder's key of the norms' epsilon.
        rotated: elements of a head that turn, where `partial_rotary_factor` does not say.
    """
    known = {"silu": ("silu", "swish"), "gelu": ("gelu_pytorch_tanh", "gelu", "gelu_new", "gelu_fast")}[activation]
    found = s.text("hidden_activation", "hidden_act", default=known[0])
    s.want("hidden_act", found in known, found, f"one of {', '.join(known)}")
    heads = s.integer("num_attention_heads", least=1)
    keys: Metadata = {
        "block_count": s.integer("num_hidden_layers", least=1),
        "context_length": s.integer("max_position_embeddings", least=1),
        "embedding_length": s.integer("hidden_size", least=1),
        "feed_forward_length": s.integer("intermediate_size", "moe_intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": s.integer("num_key_value_heads", default=heads, least=1),
    }
    if s.has("vocab_size"):
        keys["vocab_size"] = s.integer("vocab_size")
    head_dim = s.integer("head_dim", default=keys["embedding_length"] // heads)
    keys["attention.key_length"] = keys["attention.value_length"] = head_dim
    keys[f"attention.layer_norm_{'' if eps.endswith(('norm_epsilon', 'layer_norm_eps')) else 'rms_'}epsilon"] = (
        s.number(eps)
    )
    return keys | rotary(s, head_dim, rotated)


def rope_settings(s: Settings, kind: str = "") -> Settings:
    """Rotary settings in one object: newer files have `rope_parameters`, perhaps for each kind of layer, older ones
    `rope_theta` and `rope_scaling`."""
    found: dict[str, Any] = {
        name: s.values[name]
        for name in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
        if s.has(name)
    }
    scaling = s.section("rope_scaling").values
    given = s.section("rope_parameters").values
    if kind and isinstance(given.get(kind), dict):
        given = given[kind]
    found |= {"rope_type": scaling["type"]} if isinstance(scaling.get("type"), str) else {}
    return Settings(found | dict(scaling) | dict(given), s.path)


def rotary(s: Settings, head_dim: int, rotated: int | None = None, kind: str = "") -> Metadata:
    """`rope.*`; rules that come as tensors are `factors`."""
    r = rope_settings(s, kind)
    if rotated is None:
        rotated = int(head_dim * r.number("partial_rotary_factor", default=1.0))
    keys: Metadata = {"rope.dimension_count": rotated}
    if r.has("rope_theta"):
        keys["rope.freq_base"] = r.number("rope_theta")
    rule = r.text("rope_type", default="default")
    known = ("default", "mrope", "linear", "yarn", "llama3", "longrope", "su", "proportional")
    s.want("rope_type", rule in known, rule, f"one of {', '.join(known)}")
    if rule in ("linear", "yarn"):
        keys["rope.scaling.type"] = rule
        keys["rope.scaling.factor"] = factor = r.number("factor")
        r.want("factor", factor > 0, factor, "a number above 0")
    if rule == "yarn":
        original = r.integer("original_max_position_embeddings", default=0)
        keys["rope.scaling.original_context_length"] = original or s.integer("max_position_embeddings")
        for ours, theirs in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
            if r.has(theirs):
                keys[f"rope.scaling.{ours}"] = r.number(theirs)
        growth = 0.1 * math.log(factor) if factor > 1 else 0.0
        if r.has("attention_factor"):
            keys["rope.scaling.attn_factor"] = r.number("attention_factor") / (1 + growth)
        elif r.number("mscale", default=0.0) and r.number("mscale_all_dim", default=0.0):
            keys["rope.scaling.attn_factor"] = (1 + r.number("mscale") * growth) / (1 + growth)
            keys["rope.scaling.yarn_log_multiplier"] = r.number("mscale_all_dim")
    if rule in ("longrope", "su"):
        original = r.integer("original_max_position_embeddings", least=2)
        keys["rope.scaling.type"], keys["rope.scaling.original_context_length"] = "longrope", original
        stretch = r.number("factor", default=s.integer("max_position_embeddings") / original)
        grown = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
        keys["rope.scaling.attn_factor"] = r.number("attention_factor", default=grown)
    return keys


def factors(s: Settings, rotated: int, kind: str = "") -> dict[str, Constant]:
    """Divisors of the rotary frequencies, for the rules that GGUF keeps as tensors."""
    s.want("head_dim", rotated <= MAX_HEAD, rotated, f"at most {MAX_HEAD} rotated elements")
    r = rope_settings(s, kind)
    rule = r.text("rope_type", default="default")
    pairs = rotated // 2
    if rule in ("longrope", "su"):
        both = {name: r.numbers(f"{name}_factor", pairs) for name in ("short", "long")}
        return {f"rope_factors_{name}.weight": Constant(tuple(values)) for name, values in both.items()}
    if rule == "llama3":
        base, factor = r.number("rope_theta", default=10000.0), r.number("factor")
        low, high = r.number("low_freq_factor"), r.number("high_freq_factor")
        original = r.integer("original_max_position_embeddings", least=1)
        r.want("rope_parameters", 0 < low < high and factor > 0 and base > 0, (low, high, factor), "low below high")
        return {"rope_freqs.weight": Constant(tuple(_llama3(base, pairs, factor, low, high, original)))}
    if rule == "proportional":
        turned = int(r.number("partial_rotary_factor", default=1.0) * rotated / 2)
        factor = r.number("factor", default=1.0)
        return {"rope_freqs.weight": Constant((factor,) * turned + (1e30,) * (pairs - turned))}
    return {}


def _llama3(base: float, pairs: int, factor: float, low: float, high: float, original: int) -> list[float]:
    """Llama 3.1: slow pairs are interpolated, fast ones kept, a ramp between."""
    divisors = []
    for i in range(pairs):
        turns = original * base ** (-i / pairs) / (2 * math.pi)  # over the original context
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        divisors.append(1 / ((1 - kept) / factor + kept))
    return divisors


def windowed(s: Settings, layers: int, period: int, kind: str = "sliding_attention") -> list[bool]:
    """Which layers see a window only, from `layer_types` or, in older files, all but each period-th."""
    types = s.layers("layer_types", layers, (kind, "full_attention"))
    if types is not None:
        return [t == kind for t in types]
    period = s.integer("sliding_window_pattern", "_sliding_window_pattern", default=period, least=1)
    return [i % period != period - 1 for i in range(layers)]


def routed(s: Settings, count: str = "num_experts") -> Metadata:
    """`expert_*` keys of a mixture with a softmax router."""
    keys: Metadata = {
        "expert_count": s.integer(count, "num_local_experts", "num_experts", "n_routed_experts", least=1),
        "expert_used_count": s.integer("num_experts_per_tok", least=1),
    }
    if s.has("moe_intermediate_size"):
        keys["expert_feed_forward_length"] = s.integer("moe_intermediate_size", least=1)
    if s.has("norm_topk_prob"):
        keys["expert_weights_norm"] = s.flag("norm_topk_prob", False)
    return keys
