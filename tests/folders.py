"""Hugging Face folders for tests: safetensors, tokenizer.json, and a folder from an oracle's GGUF file.

`from_gguf` is what a converter does, backwards and written apart from it: from GGUF's names and layouts to those of the
model classes in transformers.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from halflap.text.pretokenizers import PRETOKENIZERS
from halflap.weights import gguf

SPACE = "\u2581"


def safetensors(tensors: Mapping[str, tuple[str, np.ndarray[Any, Any]]]) -> bytes:
    """The bytes of a file: name -> (dtype, array in the stored type)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at, data = 0, b""
    for name, (dtype, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + len(raw)]}
        data += raw
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def bf16(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Nearest BF16, as bits."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


STORED = {"F32": lambda x: np.asarray(x, np.float32), "F16": lambda x: np.asarray(x, np.float16), "BF16": bf16}


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray[Any, Any]],
    dtype: str = "F32",
    shards: int = 1,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """A folder; `extra`: further JSON files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config.json": config, **(extra or {})}.items():
        (folder / name).write_text(json.dumps(content))
    stored = {
        name: ("I64", array) if array.dtype == np.int64 else (dtype, STORED[dtype](array))
        for name, array in tensors.items()
    }
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors(stored))
        return folder
    names = list(stored)
    places = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        (folder / file).write_bytes(safetensors({name: stored[name] for name in names[i::shards]}))
        places |= dict.fromkeys(names[i::shards], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def from_gguf(path: Path, folder: Path, dtype: str = "F32", shards: int = 1) -> Path:
    """The folder that an oracle's file was converted from; its config stands in the .json beside it."""
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    with gguf.open(path) as file:
        tensors = {name: file.dequantize(name) for name in file.tensors}
        tokenizer = tokenizer_json(file.metadata)
    made = dict(Inverse(config, tensors).all())
    return write(folder, config, made, dtype, shards, {"tokenizer.json": tokenizer})


# --- tensors ---

DECODER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "attn_sinks": "self_attn.sinks",
}  # fmt: skip


def shared_expert(at: str) -> dict[str, str]:
    return {f"ffn_{part}_shexp": f"{at}.{part}_proj" for part in ("gate", "up", "down")}


BEHIND = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
GEMMA = {**BEHIND, "ffn_norm": "pre_feedforward_layernorm"}
BERT = {
    "attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm",
}  # fmt: skip
LFM2 = {
    "attn_norm": "operator_norm", "ffn_norm": "ffn_norm", "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm", "attn_k_norm": "self_attn.k_layernorm", "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3", "ffn_down": "feed_forward.w2", "shortconv.in_proj": "conv.in_proj",
    "shortconv.out_proj": "conv.out_proj", "ffn_gate_inp": "feed_forward.gate",
}  # fmt: skip
DELTA = {
    "post_attention_norm": "post_attention_layernorm", "ssm_norm": "linear_attn.norm",
    "ssm_ba": "linear_attn.in_proj_ba",
    "ssm_out": "linear_attn.out_proj", "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
}  # fmt: skip
GLM = {"post_attention_norm": "post_self_attn_layernorm", "post_ffw_norm": "post_mlp_layernorm"}
LLAMA4 = {
    "ffn_gate": "feed_forward.gate_proj", "ffn_up": "feed_forward.up_proj", "ffn_down": "feed_forward.down_proj",
    "ffn_gate_inp": "feed_forward.router", **shared_expert("feed_forward.shared_expert"),
}  # fmt: skip
DEEPSEEK = {
    "attn_q_a": "self_attn.q_a_proj", "attn_q_b": "self_attn.q_b_proj", "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa", "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    **shared_expert("mlp.shared_experts"),
}  # fmt: skip
DEEPSEEK4 = {
    "attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "attn_sinks": "attn.attn_sink", "attn_kv_a_norm": "attn.norm",
    "attn_q_a_norm": "attn.q_norm", "attn_q_a": "attn.wq_a", "attn_q_b": "attn.wq_b", "attn_kv": "attn.wkv",
    "attn_output_a": "attn.wo_a", "attn_output_b": "attn.wo_b", "indexer.attn_q_b": "attn.indexer.wq_b",
    "indexer.proj": "attn.indexer.weights_proj", "ffn_gate_inp": "ffn.gate", "ffn_gate_tid2eid": "ffn.gate.tid2eid",
    **{
        f"{ours}_compressor_{name}": f"{at}.compressor.{to}"
        for ours, at in (("attn", "attn"), ("indexer", "attn.indexer"))
        for name, to in (("ape", "ape"), ("norm", "norm"), ("gate", "wgate"), ("kv", "wkv"))
    },
    **{f"hc_{at}_{part}": f"hc_{at}_{part}" for at in ("attn", "ffn") for part in ("base", "fn", "scale")},
    **{f"ffn_{name}_shexp": f"ffn.shared_experts.{to}" for name, to in (("gate", "w1"), ("up", "w3"), ("down", "w2"))},
}  # fmt: skip
BARE = ("sinks", "attn_sink", "tid2eid", "ape", "_base", "_fn", "_scale")
"""How names end that have no ".weight" behind them."""
OF = {
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
    "glm4": {**GLM, "ffn_up": "mlp.gate_up_proj"},
    "glm4_moe": {"post_attention_norm": "post_attention_layernorm", **shared_expert("mlp.shared_experts")},
    "olmo2": BEHIND,
    "olmo3": BEHIND,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gemma4_text": {
        **GEMMA, "post_ffw_norm_1": "post_feedforward_layernorm_1", "post_ffw_norm_2": "post_feedforward_layernorm_2",
        "pre_ffw_norm_2": "pre_feedforward_layernorm_2", "inp_gate": "per_layer_input_gate",
        "ffn_gate_inp": "router.proj",
        "proj": "per_layer_projection", "post_norm": "post_per_layer_input_norm",
    },
    "starcoder2": {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    "mixtral": {"ffn_gate_inp": "block_sparse_moe.gate"},
    "granitemoe": {"ffn_gate_inp": "block_sparse_moe.router.layer"},
    "granitemoehybrid": {"ffn_gate_inp": "block_sparse_moe.router.layer", "ffn_down_shexp": "shared_mlp.output_linear"},
    "gpt_oss": {"ffn_gate_inp": "mlp.router", "post_attention_norm": "post_attention_layernorm"},
    "llama4_text": LLAMA4,
    "deepseek_v2": DEEPSEEK,
    "deepseek_v4": DEEPSEEK4,
    "deepseek_v3": DEEPSEEK,
    "qwen2_moe": {"ffn_gate_inp_shexp": "mlp.shared_expert_gate", **shared_expert("mlp.shared_expert")},
    "qwen3_next": {**DELTA, **shared_expert("mlp.shared_expert")},
    "qwen3_5_text": DELTA,
    "qwen3_5_moe_text": {**DELTA, **shared_expert("mlp.shared_expert")},
    "falcon_h1": {f"ffn_{part}": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")},
    "mamba2": {"attn_norm": "norm"},
    "lfm2": LFM2,
    "lfm2_moe": LFM2,
    "bert": BERT,
    "xlm-roberta": BERT,
    "nomic_bert": {
        "attn_qkv": "attn.Wqkv", "attn_output": "attn.out_proj", "attn_output_norm": "norm1", "ffn_gate": "mlp.fc12",
        "layer_output_norm": "norm2", "ffn_up": "mlp.fc11", "ffn_down": "mlp.fc2",
    },
    "modernbert": {
        "attn_norm": "attn_norm", "attn_qkv": "attn.Wqkv", "attn_output": "attn.Wo", "ffn_norm": "mlp_norm",
        "ffn_up": "mlp.Wi", "ffn_down": "mlp.Wo",
    },
}  # fmt: skip
TOP = {"token_embd": "embed_tokens", "output_norm": "norm", "output": "lm_head"}
BERT_TOP = {
    "token_embd": "embeddings.word_embeddings", "token_types": "embeddings.token_type_embeddings",
    "position_embd": "embeddings.position_embeddings", "token_embd_norm": "embeddings.LayerNorm",
}  # fmt: skip
TOP_OF = {
    "deepseek_v4": {
        "output": "head", **{f"output_hc_{part}": f"hc_head.hc_{part}" for part in ("base", "fn", "scale")},
    },
    "gemma4_text": {
        "per_layer_token_embd": "embed_tokens_per_layer", "per_layer_model_proj": "per_layer_model_projection",
        "per_layer_proj_norm": "per_layer_projection_norm",
    },
    "mamba2": {"token_embd": "embeddings", "output_norm": "norm_f"},
    "falcon_h1": {"output_norm": "final_layernorm"},
    "lfm2": {"token_embd_norm": "embedding_norm"},
    "lfm2_moe": {"token_embd_norm": "embedding_norm"},
    "bert": BERT_TOP,
    "xlm-roberta": BERT_TOP,
    "nomic_bert": {**BERT_TOP, "token_embd_norm": "emb_ln"},
    "modernbert": {
        "token_embd": "embeddings.tok_embeddings", "token_embd_norm": "embeddings.norm", "output_norm": "final_norm",
    },
}  # fmt: skip
LAYERS = {"bert": "encoder.layer", "xlm-roberta": "encoder.layer", "nomic_bert": "encoder.layers"}
HEADLESS = ("bert", "xlm-roberta", "nomic_bert", "modernbert")
INTERLEAVED = ("llama", "mistral", "mixtral", "ministral3", "granite", "granitemoe", "granitemoehybrid", "smollm3")
NORM_ADDS = ("gemma", "gemma2", "gemma3_text", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
EXPERT = {
    "mixtral": ("block_sparse_moe.experts", {"gate": "w1", "up": "w3", "down": "w2"}),
    "lfm2_moe": ("feed_forward.experts", {"gate": "w1", "up": "w3", "down": "w2"}),
    "deepseek_v4": ("ffn.experts", {"gate": "w1", "up": "w3", "down": "w2"}),
}
MAMBA_AT = {"mamba2": "mixer", "falcon_h1": "mamba", "granitemoehybrid": "mamba"}

Tensor = np.ndarray[Any, Any]


class Inverse:
    """One model's tensors under the names and in the layout of its class."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.config, self.tensors, self.kind = config, tensors, config["model_type"]
        self.prefix = "" if self.kind in HEADLESS else "backbone." if self.kind == "mamba2" else "model."
        self.layers = LAYERS.get(self.kind, "layers")

    def all(self) -> Iterator[tuple[str, Tensor]]:
        layers: dict[int, dict[str, Tensor]] = {}
        for name, x in self.tensors.items():
            layer = re.fullmatch(r"blk\.(\d+)\.(.+)", name)
            if layer:
                layers.setdefault(int(layer[1]), {})[layer[2]] = x
            elif not name.startswith("rope_"):
                yield from self.top(*name.rsplit(".", 1), x)
        for i, parts in layers.items():
            for name, x in self.layer(dict(parts)):
                yield f"{self.prefix}{self.layers}.{i}.{name}", x

    def top(self, stem: str, end: str, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        c, kind = self.config, self.kind
        if kind in NORM_ADDS and stem == "output_norm":
            x = x - 1
        if kind == "xlm-roberta" and stem == "position_embd":
            x = np.concatenate([np.zeros((2, x.shape[1]), np.float32), x])
        if kind == "falcon_h1" and stem in ("token_embd", "output"):
            x = x / c["embedding_multiplier" if stem == "token_embd" else "lm_head_multiplier"]
        to = {**TOP, **TOP_OF.get(kind, {})}[stem]
        name = to if to.endswith(BARE) else f"{to}.{end}"
        yield f"{'' if to in ('lm_head', 'head') else self.prefix}{name}", x

    def layer(self, p: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        yield from self.special(p)
        for name, x in p.items():
            stem, _, end = name.rpartition(".")
            to = {**DECODER, **OF.get(self.kind, {})}[stem]
            x = x.astype(np.int64) if stem == "ffn_gate_tid2eid" else x
            if self.kind in INTERLEAVED and stem in ("attn_q", "attn_k"):
                heads = self.config["num_attention_heads" if stem == "attn_q" else "num_key_value_heads"]
                x = np.concatenate(
                    [np.concatenate([head[0::2], head[1::2]]) for head in np.split(x, heads)]
                )  # fmt: skip
            if self.kind in NORM_ADDS and stem.endswith("_norm") and stem != "ssm_norm":
                x = x - 1
            yield (to if to.endswith(BARE) else f"{to}.{end}"), x

    def special(self, p: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Takes out of `p` what is more than a name."""
        c, kind = self.config, self.kind
        if kind in ("granitemoe", "granitemoehybrid"):
            yield (
                "block_sparse_moe.input_linear.weight",
                np.concatenate([p.pop("ffn_gate_exps.weight"), p.pop("ffn_up_exps.weight")], axis=1),
            )
            yield "block_sparse_moe.output_linear.weight", p.pop("ffn_down_exps.weight")
            if "ffn_gate_shexp.weight" in p:
                both = [p.pop("ffn_gate_shexp.weight"), p.pop("ffn_up_shexp.weight")]
                yield "shared_mlp.input_linear.weight", np.concatenate(both)
        if kind == "gemma4_text":
            yield "layer_scalar", p.pop("layer_output_scale.weight")
            for ours, theirs in (
                ("ffn_gate_up_exps.weight", "experts.gate_up_proj"), ("ffn_down_exps.weight", "experts.down_proj"),
                ("ffn_down_exps.scale", "router.per_expert_scale"), ("ffn_gate_inp.scale", "router.scale"),
            ):  # fmt: skip
                if ours in p:
                    yield theirs, p.pop(ours)
        if kind == "gpt_oss":
            gate, up = p.pop("ffn_gate_exps.weight"), p.pop("ffn_up_exps.weight")
            mixed = np.stack([gate, up], axis=2).reshape(len(gate), -1, gate.shape[2])
            yield "mlp.experts.gate_up_proj", mixed.transpose(0, 2, 1)
            yield "mlp.experts.down_proj", p.pop("ffn_down_exps.weight").transpose(0, 2, 1)
            gate, up = p.pop("ffn_gate_exps.bias"), p.pop("ffn_up_exps.bias")
            yield "mlp.experts.gate_up_proj_bias", np.stack([gate, up], axis=2).reshape(len(gate), -1)
            yield "mlp.experts.down_proj_bias", p.pop("ffn_down_exps.bias")
        if kind == "llama4_text" and "ffn_gate_exps.weight" in p:
            both = np.concatenate([p.pop("ffn_gate_exps.weight"), p.pop("ffn_up_exps.weight")], axis=1)
            yield "feed_forward.experts.gate_up_proj", both.transpose(0, 2, 1)
            yield "feed_forward.experts.down_proj", p.pop("ffn_down_exps.weight").transpose(0, 2, 1)
        if "attn_k_b.weight" in p:
            k, v = p.pop("attn_k_b.weight").transpose(0, 2, 1), p.pop("attn_v_b.weight")
            yield "self_attn.kv_b_proj.weight", np.concatenate([k, v], axis=1).reshape(-1, k.shape[2])
        if "exp_probs_b.bias" in p:
            named = {"lfm2_moe": "feed_forward.expert_bias", "deepseek_v4": "ffn.gate.bias"}
            yield named.get(kind, "mlp.gate.e_score_correction_bias"), p.pop("exp_probs_b.bias")
        at, names = EXPERT.get(kind, ("mlp.experts", {n: f"{n}_proj" for n in ("gate", "up", "down")}))
        for part in ("gate", "up", "down"):
            if f"ffn_{part}_exps.weight" in p:
                for e, x in enumerate(p.pop(f"ffn_{part}_exps.weight")):
                    yield f"{at}.{e}.{names[part]}.weight", x
        if "shortconv.conv.weight" in p:
            yield "conv.conv.weight", p.pop("shortconv.conv.weight")[:, None]
        if kind in MAMBA_AT and "ssm_in.weight" in p:
            yield from self.mamba(MAMBA_AT[kind], p)
        elif "ssm_a" in p:
            yield from self.delta(p)
        if kind == "falcon_h1":
            yield "pre_ff_layernorm.weight", p.pop("ffn_norm")
            gate, down = c["mlp_multipliers"]
            for name, factor in (
                ("attn_q", c["attention_in_multiplier"]), ("attn_v", c["attention_in_multiplier"]),
                ("attn_k", c["attention_in_multiplier"] * c["key_multiplier"]),
                ("attn_output", c["attention_out_multiplier"]), ("ffn_gate", gate), ("ffn_down", down),
            ):  # fmt: skip
                p[f"{name}.weight"] = p[f"{name}.weight"] / factor

    def mamba(self, at: str, p: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        c = self.config
        into, out = p.pop("ssm_in.weight"), p.pop("ssm_out.weight")
        if self.kind == "falcon_h1":
            inner, state = c["mamba_d_ssm"], c["mamba_n_groups"] * c["mamba_d_state"]
            sizes = [inner, inner, state, state, c["mamba_n_heads"]]
            rows = np.concatenate([np.full(n, m) for n, m in zip(sizes, c["ssm_multipliers"], strict=True)])
            into = into / (rows * c["ssm_in_multiplier"])[:, None]
            out = out / c["ssm_out_multiplier"]
        yield f"{at}.in_proj.weight", into
        yield f"{at}.out_proj.weight", out
        yield f"{at}.A_log", np.log(-p.pop("ssm_a"))[:, 0]
        yield f"{at}.D", p.pop("ssm_d")[:, 0]
        yield f"{at}.dt_bias", p.pop("ssm_dt.bias")
        yield f"{at}.conv1d.weight", p.pop("ssm_conv1d.weight")[:, None]
        yield f"{at}.conv1d.bias", p.pop("ssm_conv1d.bias")
        if "ssm_norm.weight" in p:
            yield f"{at}.norm.weight", p.pop("ssm_norm.weight").reshape(-1)

    def delta(self, p: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        c, at = self.config, "linear_attn"
        nk, nv = c["linear_num_key_heads"], c["linear_num_value_heads"]
        dk, dv = c["linear_key_head_dim"], c["linear_value_head_dim"]
        per = nv // nk
        qkv, z = p.pop("attn_qkv.weight"), p.pop("attn_gate.weight")
        a, dt, conv = np.log(-p.pop("ssm_a")), p.pop("ssm_dt.bias"), p.pop("ssm_conv1d.weight")
        if self.kind == "qwen3_next":
            q, k, v = qkv[: nk * dk], qkv[nk * dk : 2 * nk * dk], qkv[2 * nk * dk :]
            groups = zip(*(np.split(x, nk) for x in (q, k, v, z)), strict=True)
            yield f"{at}.in_proj_qkvz.weight", np.concatenate([part for group in groups for part in group])
        else:
            # GGUF has V head g * nk + k where the class has k * per + g.
            order = [g * nk + k for k in range(nk) for g in range(per)]
            rows = np.concatenate([np.arange(h * dv, (h + 1) * dv) for h in order])
            behind = np.concatenate([np.arange(2 * nk * dk), 2 * nk * dk + rows])
            yield f"{at}.in_proj_qkv.weight", qkv[behind]
            yield f"{at}.in_proj_z.weight", z[rows]
            yield f"{at}.in_proj_a.weight", p.pop("ssm_alpha.weight")[order]
            yield f"{at}.in_proj_b.weight", p.pop("ssm_beta.weight")[order]
            p["ssm_out.weight"] = p["ssm_out.weight"][:, rows]
            a, dt, conv = a[order], dt[order], conv[behind]
        yield f"{at}.A_log", a
        yield f"{at}.dt_bias", dt
        yield f"{at}.conv1d.weight", conv[:, None]


# --- tokenizers ---


def tokenizer_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer.json that a file's `tokenizer.ggml.*` keys come from."""
    kind, tokens = metadata["tokenizer.ggml.model"], list(metadata["tokenizer.ggml.tokens"])
    types = [int(t) for t in metadata["tokenizer.ggml.token_type"]]
    added = [
        {
            "id": i, "content": token, "special": types[i] != 4, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False,
        }
        for i, token in enumerate(tokens)
        if types[i] in (2, 3, 4)
    ]  # fmt: skip
    vocab = {token: i for i, token in reversed(list(enumerate(tokens)))}
    whole: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
    }  # fmt: skip
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    if kind == "gpt2":
        pre = PRETOKENIZERS[metadata["tokenizer.ggml.pre"]]
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        splits = [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in pre.splits
        ]
        whole["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*splits, level]}
        whole["decoder"] = {**level, "use_regex": True}
        whole["model"] = _bpe(vocab, [m.split(" ", 1) for m in metadata["tokenizer.ggml.merges"]], pre.ignore_merges)
    elif kind in ("llama", "gemma4"):
        if kind == "llama":
            whole["normalizer"] = {
                "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, spaces],
            }  # fmt: skip
            merges = _merges_of_scores(tokens, types, [float(s) for s in metadata["tokenizer.ggml.scores"]])
            strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
        else:
            whole["normalizer"], strip = spaces, []
            split = {"type": "Split", "behavior": "Isolated", "invert": False}
            whole["pre_tokenizer"] = {
                "type": "Sequence",
                "pretokenizers": [{**split, "pattern": {"Regex": p}} for p in PRETOKENIZERS["gemma4"].splits],
            }
            merges = [list(m.partition(" ")[::2]) for m in metadata["tokenizer.ggml.merges"]]
            merges = [m for m in merges if m[0] in vocab and m[1] in vocab and "".join(m) in vocab]
        back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
        whole["decoder"] = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]}
        whole["model"] = {**_bpe(vocab, merges, False), "byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    elif kind == "bert":
        words = {
            t if types[i] in (2, 3) else t[1:] if t.startswith(SPACE) else f"##{t}": i
            for i, t in reversed(list(enumerate(tokens)))
        }
        whole["model"] = {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words,
        }  # fmt: skip
        whole["normalizer"] = {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        }  # fmt: skip
        whole["pre_tokenizer"] = {"type": "BertPreTokenizer"}
        whole["post_processor"] = {"type": "BertProcessing", "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]}
        whole["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    return whole


def _bpe(vocab: dict[str, int], merges: list[list[str]], ignore_merges: bool) -> dict[str, Any]:
    return {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
        "vocab": vocab, "merges": merges,
    }  # fmt: skip


def _merges_of_scores(tokens: list[str], types: list[int], scores: list[float]) -> list[list[str]]:
    """As transformers makes merges of a SentencePiece model: every pair that gives a token, best token first."""
    ids = {t: i for i, t in enumerate(tokens) if types[i] in (1, 4)}
    found = [
        (-scores[i], i, -cut, [token[:cut], token[cut:]])
        for token, i in ids.items()
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    return [pair for *_, pair in sorted(found)]
