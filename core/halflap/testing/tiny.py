"""Whole models with made-up metadata and random weights: no file needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import frozen

from halflap import plugins
from halflap.architectures import loading
from halflap.architectures.keys import Keys
from halflap.device.interface import Weight
from halflap.graph.ir import Graph
from halflap.testing.drawing import draw_weight, f32_weight, width_for

VOCAB = 97

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma3": {
        "attention.sliding_window": 20, "attention.sliding_window_pattern": 2, "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0,
    },
    "qwen3moe": {"expert_count": 6, "expert_used_count": 2},
    "qwen35": {
        "full_attention_interval": 2, "ssm.conv_kernel": 4, "ssm.state_size": 20, "ssm.group_count": 2,
        "ssm.time_step_rank": 4, "rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0],
    },
}  # fmt: skip
"""Architecture -> what its metadata has beyond the usual."""


@frozen
class TinyModel:
    """A model small enough for every test.

    Attributes:
        metadata: as in a model file, without the tokenizer's part.
    """

    name: str
    metadata: Mapping[str, Any]
    graph: Graph
    weights: Mapping[str, Weight]


def tiny_model(architecture: str, dtype: str = "F32", seed: int = 0, layers: int = 2) -> TinyModel:
    """A random model of two layers and 97 tokens: "llama", "gemma3", "qwen3moe" or "qwen35" shaped.

    Args:
        dtype: type of all matrices but the router; norms are F32.
    """
    rng = np.random.default_rng(seed)
    width = width_for(dtype, 64)
    heads = 4
    made = {
        "block_count": layers, "embedding_length": width, "feed_forward_length": width_for(dtype, 96),
        "expert_feed_forward_length": width_for(dtype, 40), "attention.head_count": heads,
        "attention.head_count_kv": 2, "attention.key_length": width // heads, "attention.value_length": width // heads,
        "attention.layer_norm_rms_epsilon": 1e-5, "context_length": 512, "ssm.inner_size": width_for(dtype, 132),
        **SHAPES[architecture],
    }  # fmt: skip
    metadata = {f"{architecture}.{key}": value for key, value in made.items()}
    module = plugins.get("architectures", architecture)
    config = module.Config.read(Keys(architecture, metadata, {"token_embd.weight": ("F32", (VOCAB, width))}))
    weights = {}
    for name, shape in module.weights(config):
        if name.endswith("?"):
            continue
        if name.endswith("ssm_a"):  # rates of decay
            weights[name] = f32_weight(name, -rng.uniform(0.05, 1.5, shape).astype(np.float32))
        elif len(shape) == 1:
            weights[name] = f32_weight(name, rng.uniform(0.5, 1.5, shape).astype(np.float32))
        elif name.endswith(("ffn_gate_inp.weight", "ssm_conv1d.weight")):
            weights[name] = draw_weight(name, "F32", shape, rng)
        else:
            weights[name] = draw_weight(name, dtype, shape, rng)
    described = {name: (weight.dtype, weight.shape) for name, weight in weights.items()}
    return TinyModel(architecture, metadata, loading.load(architecture, metadata, described).graph, weights)
