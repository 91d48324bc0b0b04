"""Trains the byte-level BPE of the starter model: 2,048 tokens, split like qwen2, every digit alone.

Usage: python tokenizer.py OUT.json
"""

from __future__ import annotations

import sys
from itertools import islice

from template import Template
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from world import documents

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKS = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tools>",
    "</tools>",
    "<tool_response>",
    "</tool_response>",
]
VOCAB = 2048
# The pattern that GGUF calls `qwen2`; its single \p{N} keeps digits apart, which arithmetic needs.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train(documents_seen: int = 30_000, seed: int = 1) -> Tokenizer:
    """A tokenizer fitted to the generator's own text."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=CONTROL + MARKS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    render = Template()
    tokenizer.train_from_iterator((render(d) for d in islice(documents(seed), documents_seen)), trainer)
    return tokenizer


if __name__ == "__main__":
    train().save(sys.argv[1])
