#!/usr/bin/env python3
"""Random-weight files of shapes other than plain decoders': windows, the delta rule, latent attention, state spaces.

    python tests/bench/hybrid_models.py SHAPE TYPE OUT.gguf [--layers N]       e.g. gemma3-1b Q4_K_M g.gguf

What tensors a shape has, the architectures themselves say. F16 is written here; any other type is the work of
llama-cpp-python's quantiser, in this interpreter or in the one that HALFLAP_PEER_PYTHON names. Speed does not depend on
the values, so random ones serve; never judge quality with these files.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = "qwen2"
SHAPES: dict[str, dict[str, Any]] = {
    "gemma3-1b": {
        "architecture": "gemma3", "block_count": 24, "embedding_length": 1536, "feed_forward_length": 6144,
        "attention.head_count": 8, "attention.head_count_kv": 2, "attention.key_length": 256,
        "attention.value_length": 256, "attention.sliding_window": 256, "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6, "rope.freq_base_swa": 1e4, "rope.dimension_count": 256, "context_length": 32768,
    },
    "qwen35-1b": {
        "architecture": "qwen35", "block_count": 24, "embedding_length": 1536, "feed_forward_length": 4608,
        "attention.head_count": 8, "attention.head_count_kv": 2, "attention.key_length": 256,
        "attention.value_length": 256, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e7,
        "rope.dimension_count": 64, "rope.dimension_sections": [11, 11, 10, 0], "context_length": 32768,
        "full_attention_interval": 4, "ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 16,
        "ssm.time_step_rank": 16, "ssm.inner_size": 2048,
    },
    "deepseek2-1b": {
        "architecture": "deepseek2", "block_count": 12, "embedding_length": 1024, "feed_forward_length": 4096,
        "attention.head_count": 16, "attention.head_count_kv": 1, "attention.key_length": 576,
        "attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
        "attention.kv_lora_rank": 512, "attention.q_lora_rank": 768, "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e4,
        "rope.dimension_count": 64, "context_length": 32768, "expert_count": 32, "expert_used_count": 6,
        "expert_shared_count": 2, "expert_feed_forward_length": 768, "leading_dense_block_count": 1,
        "expert_weights_scale": 1.0, "expert_gating_func": 1,
    },
    "mamba2-1b": {
        "architecture": "mamba2", "block_count": 36, "embedding_length": 1536, "feed_forward_length": 0,
        "attention.head_count": 0, "attention.layer_norm_rms_epsilon": 1e-5, "context_length": 32768,
        "ssm.conv_kernel": 4, "ssm.inner_size": 3072, "ssm.state_size": 128, "ssm.time_step_rank": 48,
        "ssm.group_count": 1,
    },
}  # fmt: skip
"""Name -> `general.architecture` and the keys below it."""
OPTIONAL = ("ssm_conv1d.bias?", "ssm_norm.weight?")
"""How the names of optional tensors end that these files have."""
WITH_HEAD = ("deepseek2",)
"""Architectures whose files have a head in every engine; elsewhere the embedding is the head too."""


def metadata_of(shape: str, vocabulary: Path, layers: int) -> dict[str, Any]:
    from halflap.weights import gguf

    keys = dict(SHAPES[shape])
    name = keys.pop("architecture")
    if layers:
        keys["block_count"] = layers
    with gguf.open(vocabulary) as file:
        found = {key: value for key, value in file.metadata.items() if key.startswith("tokenizer.")}
    found = {key: list(value) if "Strings" in type(value).__name__ else value for key, value in found.items()}
    tokens = len(found["tokenizer.ggml.tokens"])
    head = {"general.architecture": name, "general.name": shape, "general.file_type": 1}
    return {**head, **{f"{name}.{key}": value for key, value in keys.items()}, f"{name}.vocab_size": tokens, **found}


def write_f16(metadata: dict[str, Any], out: Path) -> None:
    """Every tensor that the architecture asks for, F16, and F32 what files keep so."""
    from halflap import plugins
    from halflap.architectures.keys import Keys
    from halflap.weights.gguf_writer import KEPT_F32, head

    architecture = metadata["general.architecture"]
    width, rows = metadata[f"{architecture}.embedding_length"], len(metadata["tokenizer.ggml.tokens"])
    module = plugins.get("architectures", architecture)
    config = module.Config.read(Keys(architecture, metadata, {"token_embd.weight": ("F16", (rows, width))}))
    optional = (*OPTIONAL, "output.weight?") if architecture in WITH_HEAD else OPTIONAL
    asked = [
        (name, shape) for name, shape in module.weights(config) if not name.endswith("?") or name.endswith(optional)
    ]
    shapes = {name.removesuffix("?"): shape for name, shape in asked}
    wide = {name: len(shape) < 2 or name.endswith(KEPT_F32) for name, shape in shapes.items()}
    described = {
        name: (0 if wide[name] else 1, shape, int(np.prod(shape)) * (4 if wide[name] else 2))
        for name, shape in shapes.items()
    }
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(1 << 20, dtype=np.float32) * 0.02
    with out.open("wb") as file:
        file.write(head(metadata, described))
        for name, (_, _, nbytes) in described.items():
            dtype = np.float32 if wide[name] else np.float16
            count = nbytes // np.dtype(dtype).itemsize
            if name.endswith(("norm.weight", "ssm_d")):
                values = np.ones(count, dtype)
            elif name.endswith("ssm_a"):
                values = np.full(count, -0.5, dtype)
            else:
                values = np.resize(np.roll(noise, int(rng.integers(len(noise)))), count).astype(dtype)
            file.write(values.tobytes())
            file.write(bytes(-nbytes % 32))


def quantise(source: Path, target: Path, kind: str) -> None:
    """llama-cpp-python's quantiser, in an interpreter that has it."""
    import ctypes

    import llama_cpp as lc

    parameters = lc.llama_model_quantize_default_params()
    parameters.ftype = getattr(lc, f"LLAMA_FTYPE_MOSTLY_{kind}")
    parameters.nthread = os.cpu_count() or 1
    status = lc.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if status:
        raise SystemExit(f"hybrid_models: the quantiser returned {status}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Random-weight models for speed measurements")
    parser.add_argument("shape", choices=[*SHAPES, "quantise"])
    parser.add_argument("kind")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=0)
    given = parser.parse_args()
    half = Path(f"{given.out}.f16")
    if given.shape == "quantise":
        quantise(half, given.out, given.kind)
        return
    root = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("HALFLAP_SHARED", root.parent / "shared"))
    metadata = metadata_of(given.shape, shared / "vocab" / f"ggml-vocab-{VOCABULARY}.gguf", given.layers)
    if given.kind == "F16":
        write_f16(metadata, given.out)
        return
    write_f16(metadata, half)
    python = os.environ.get("HALFLAP_PEER_PYTHON", sys.executable)
    try:
        subprocess.run([python, __file__, "quantise", given.kind, str(given.out)], check=True, stdout=sys.stderr)
    finally:
        half.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
