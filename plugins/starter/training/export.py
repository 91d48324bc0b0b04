"""Writes a checkpoint as GGUF: Q8_0 matrices, float32 norms, tokenizer, template and sampling hints in one file.

Usage: python export.py TOKENIZER.json CHECKPOINT.pt OUT.gguf

The file is then read back, and its dequantised weights answer a few prompts beside the checkpoint's.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import torch
from model import Config, Starter
from template import SOURCE, Template
from tokenizer import CONTROL, MARKS
from tokenizers import Tokenizer
from world import CHECKED, held_out

_BLOCK = {
    "attn_norm": "attn_norm", "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.output": "attn_output",
    "attn.q_norm": "attn_q_norm", "attn.k_norm": "attn_k_norm", "ffn_norm": "ffn_norm", "gate": "ffn_gate",
    "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def tensor_names(config: Config) -> dict[str, str]:
    """From the checkpoint's names to GGUF's; the head is the embedding, so there is no output.weight."""
    names = {"embd.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    for i in range(config.layers):
        names |= {f"blocks.{i}.{ours}.weight": f"blk.{i}.{theirs}.weight" for ours, theirs in _BLOCK.items()}
    return names


def write(out: Path, tokenizer: Path, weights: dict[str, torch.Tensor], config: Config) -> None:
    """The whole file."""
    w = gguf.GGUFWriter(out, "qwen3")
    _add_model(w, config)
    _add_tokenizer(w, json.loads(tokenizer.read_text(encoding="utf-8")))
    for ours, theirs in tensor_names(config).items():
        data = weights[ours].float().numpy()
        if data.ndim == 1:
            w.add_tensor(theirs, data)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            w.add_tensor(theirs, gguf.quants.quantize(data, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def _add_model(w: gguf.GGUFWriter, c: Config) -> None:
    w.add_type("model")
    draft = c.layers == 1
    w.add_name("Halflap Starter Draft" if draft else "Halflap Starter")
    w.add_version("0.1.0")
    w.add_size_label("1.3M" if draft else "5.3M")
    w.add_license("mit")
    about = "Guesses the next words of Halflap Starter." if draft else "Stories, sums, remembering, JSON, tools."
    w.add_description(f"{about} Made by plugins/starter/training.")
    w.add_languages(["en"])
    w.add_context_length(c.context)
    w.add_embedding_length(c.width)
    w.add_block_count(c.layers)
    w.add_feed_forward_length(c.hidden)
    w.add_head_count(c.heads)
    w.add_head_count_kv(c.kv_heads)
    w.add_key_length(c.head_dim)
    w.add_value_length(c.head_dim)
    w.add_layer_norm_rms_eps(c.eps)
    w.add_rope_freq_base(c.rope_base)
    w.add_vocab_size(c.vocab)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    # Cool enough for sums and names, warm enough that a second story differs from the first.
    w.add_sampling_temp(0.5)
    w.add_sampling_top_k(20)
    w.add_sampling_top_p(0.95)
    w.add_sampling_min_p(0.1)


def _add_tokenizer(w: gguf.GGUFWriter, source: dict) -> None:
    vocab = source["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.__getitem__)
    types = dict.fromkeys(CONTROL, gguf.TokenType.CONTROL) | dict.fromkeys(MARKS, gguf.TokenType.USER_DEFINED)
    merges = [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in tokens])
    w.add_token_merges(merges)
    w.add_bos_token_id(vocab["<|endoftext|>"])
    w.add_eos_token_id(vocab["<|im_end|>"])
    w.add_eot_token_id(vocab["<|im_end|>"])
    w.add_pad_token_id(vocab["<|endoftext|>"])
    w.add_add_bos_token(False)
    w.add_chat_template(SOURCE)


def read(path: Path, config: Config) -> Starter:
    """The model with the file's own, dequantised weights."""
    theirs = {t.name: t for t in gguf.GGUFReader(path).tensors}
    names = tensor_names(config)
    if set(theirs) != set(names.values()):
        raise ValueError(f"{path}: tensors differ from the model's: {set(theirs) ^ set(names.values())}")
    model = Starter(config).eval()
    weights = {
        ours: torch.from_numpy(np.array(gguf.quants.dequantize(theirs[name].data, theirs[name].tensor_type)))
        for ours, name in names.items()
    }
    model.load_state_dict(weights)
    return model


@torch.inference_mode()
def compare(one: Starter, other: Starter, tokenizer: Tokenizer, prompts: list[str]) -> tuple[float, float]:
    """The largest distance between two models' logits, and the share of tokens on which their first choices agree."""
    distance, same, count = 0.0, 0, 0
    for prompt in prompts:
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        a, b = one(ids, mask), other(ids, mask)
        distance = max(distance, float((a - b).abs().max()))
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
        count += ids.shape[1]
    return distance, same / count


def main() -> None:
    """Write, read back, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    weights = torch.load(args.checkpoint, weights_only=True)["model"]
    layers = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    config = replace(Config(), layers=len(layers))  # one layer: the draft
    write(args.out, args.tokenizer, weights, config)
    trained = Starter(config).eval()
    trained.load_state_dict(weights)
    render = Template()
    prompts = [render(document) for kind in CHECKED for document in held_out(kind, 10)]
    distance, same = compare(trained, read(args.out, config), Tokenizer.from_file(str(args.tokenizer)), prompts)
    size = args.out.stat().st_size
    print(
        f"{args.out}: {size:,} bytes; "
        f"logits differ by at most {distance:.3f}, first choices agree on {same:.2%} of tokens"
    )


if __name__ == "__main__":
    main()
