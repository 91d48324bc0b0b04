"""Vocabularies: the shared real ones, and small ones of every kind made here."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from halflap.text.tokenizer import Tokenizer
from halflap.weights import gguf

SPACE = "\u2581"


@pytest.fixture(scope="session")
def real(shared: Path) -> Callable[[str], Tokenizer]:
    """name -> the tokenizer of that shared vocabulary."""

    @cache
    def load(name: str) -> Tokenizer:
        with gguf.open(shared / "vocab" / f"ggml-vocab-{name}.gguf") as file:
            return Tokenizer.from_metadata(file.metadata)

    return load


def byte_letters() -> list[str]:
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(256))
    return [chr(b) if b in plain else chr(0x100 + next(rest)) for b in range(256)]


@pytest.fixture
def bpe_metadata() -> dict[str, Any]:
    """Byte-level BPE: four special tokens, 256 bytes, a user-defined token and two merges."""
    letters = byte_letters()
    tokens = ["<unk>", "<s>", "</s>", "<|im_end|>", *letters, "<think>", "he", "hel"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3, 3, *[1] * 256, 4, 1, 1],
        "tokenizer.ggml.merges": ["h e", "he l"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


@pytest.fixture
def spm_metadata() -> dict[str, Any]:
    """SPM: specials, 256 byte tokens, letters and a few joined pieces, a user-defined token last."""
    pieces = [SPACE, "a", "b", "c", "ab", "bc", "abc", SPACE + "a", SPACE + "ab", SPACE * 2]
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{b:02X}>" for b in range(256)], *pieces, "[TOOL]"]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * len(pieces), 4],
        "tokenizer.ggml.scores": [0.0] * 259 + [-10.0, -11, -12, -13, -1, -2, -3, -4, -0.5, -5, 0],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


@pytest.fixture
def unigram_metadata() -> dict[str, Any]:
    pieces = {SPACE: 0.1, "a": 0.05, "b": 0.05, "ab": 0.04, SPACE + "ab": 0.03, "bb": 0.02, "ba": 0.001, "abba": 0.0005}
    tokens = ["<pad>", "</s>", "<unk>", *pieces, "<extra>"]
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 2, *[1] * len(pieces), 4],
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, *map(math.log, pieces.values()), 0.0],
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 2,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.ggml.remove_extra_whitespaces": True,
    }


@pytest.fixture
def wordpiece_metadata() -> dict[str, Any]:
    words = [SPACE + w for w in ("un", "aff", "able", "hello", ",", "!", "u", "cafe", "世")] + ["aff", "able", "s"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 5 + [1] * len(words),
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
    }
