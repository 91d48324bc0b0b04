"""`inspect`: what it states of a sound file, and that each kind of nonsense is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halflap.weights import gguf
from halflap.weights.gguf_writer import TensorData
from halflap.weights.inspect import summary, suspicious


def sound() -> tuple[dict[str, Any], dict[str, Any]]:
    metadata = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "llama.block_count": 1,
        "llama.embedding_length": 32,
        "llama.attention.head_count": [2],
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": list("abcdefghijkl"),
        "tokenizer.ggml.token_type": [1] * 12,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}",
    }
    tensors = {
        "token_embd.weight": TensorData(8, (12, 32), np.ones(12 * 34, np.uint8)),
        "output_norm.weight": np.ones(32, np.float32),
        "blk.0.attn_q.weight": np.ones((32, 32), np.float32),
    }
    return metadata, tensors


def test_summary_of_a_sound_file(make_file) -> None:
    with gguf.open(make_file(*sound())) as file:
        told = summary(file)
        assert suspicious(file) == []
    json.dumps(told)
    assert (told["architecture"], told["name"], told["files"], told["n_tensors"]) == ("llama", "tiny", 1, 3)
    assert told["n_parameters"] == 12 * 32 + 32 + 1024
    assert told["tensors"]["Q8_0"] == {"count": 1, "bytes": 408, "parameters": 384}
    assert told["bits_per_weight"] == round(8 * (408 + 4 * 1056) / 1440, 3)
    assert told["tokenizer"] == {"model": "gpt2", "pre": None, "n_tokens": 12}
    assert told["chat_template"] is True
    assert told["metadata"]["tokenizer.ggml.tokens"] == {"length": 12, "first": list("abcdefgh")}
    assert told["metadata"]["llama.attention.head_count"] == [2]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no architecture": ({"general.architecture": None}, {}, "'general.architecture': missing"),
    "a count that is text": ({"llama.block_count": "one"}, {}, "'llama.block_count': 'one', want a whole number"),
    "heads by words": ({"llama.attention.head_count": "two"}, {}, "head_count': 'two', want a whole number"),
    "a negative base": ({"llama.rope.freq_base": -1.0}, {}, "'llama.rope.freq_base': -1.0, want a number"),
    "a name that is none": ({"general.name": 3}, {}, "'general.name': 3, want a string"),
    "another width": ({"llama.embedding_length": 64}, {}, "embedding_length says 64"),
    "layers missing": ({"llama.block_count": 3}, {}, "layers missing [1, 2]"),
    "layers beyond": ({}, {"blk.7.x.weight": np.ones(8, np.float32)}, "layers beyond [7]"),
    "an unknown type": ({}, {"odd": TensorData(99, (32,), bytes(32))}, "'odd': weight type type 99"),
    "too few tokens": ({"tokenizer.ggml.tokens": list("abcdefghij")}, {}, "12 rows for 10 tokens"),
    "types for other tokens": ({"tokenizer.ggml.token_type": [1] * 11}, {}, "11 elements for 12 tokens"),
    "a token twice": ({"tokenizer.ggml.tokens": list("aacdefghijkl")}, {}, "1 texts occur more than once"),
    "a token without text": ({"tokenizer.ggml.tokens": [*"abcdefghijk", ""]}, {}, "a token without text"),
    "bos out of range": ({"tokenizer.ggml.bos_token_id": 12}, {}, "bos_token_id': 12, want an id below 12"),
    "eos not there": ({"tokenizer.ggml.add_eos_token": True}, {}, "true, but there is no eos_token_id"),
    "no template": ({"tokenizer.chat_template": None}, {}, "'tokenizer.chat_template': missing"),
    "a template of numbers": ({"tokenizer.chat_template": [1]}, {}, "'tokenizer.chat_template': [1], want a string"),
    "a long template": ({"tokenizer.chat_template": "x" * 300_000}, {}, "300000 characters"),
    "an escape": ({"tokenizer.chat_template": "{{ ''.__class__.__mro__ }}"}, {}, "double underscores: '__class__'"),
    "attr": ({"tokenizer.chat_template": "{{ x | attr('y') }}"}, {}, "the filter 'attr'"),
    "a global": ({"tokenizer.chat_template": "{{ cycler.x }}"}, {}, "a Jinja global used as an object"),
    "an include": ({"tokenizer.chat_template": "{%- include 'x' %}"}, {}, "another template"),
    "a long loop": ({"tokenizer.chat_template": "{% for i in range(1000000) %}"}, {}, "a loop of ten thousand"),
    "a long name": ({}, {"w" * 70: np.ones(8, np.float32)}, "longer than ggml's 63 bytes"),
    "an odd name": ({}, {"a b": np.ones(8, np.float32)}, "'a b': unusual characters"),
    "an odd key": ({"a\nb": 1}, {}, "unusual characters in its key"),
    "nan in a norm": ({}, {"x_norm.weight": np.full(8, np.nan, np.float32)}, "values that are not finite"),
    "inf in a scale": ({}, {"w": TensorData(8, (2, 32), b"\x00\x7c" + b"\1" * 66)}, "'w': values that are not finite"),
    "a norm of zeros": ({}, {"x_norm.weight": np.zeros(8, np.float32)}, "a norm of zeros only"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_nonsense_is_named(make_file, case: str) -> None:
    metadata, tensors = sound()
    extra_metadata, extra_tensors, message = CASES[case]
    metadata = {key: value for key, value in (metadata | extra_metadata).items() if value is not None}
    with gguf.open(make_file(metadata, tensors | extra_tensors)) as file:
        findings = suspicious(file)
        json.dumps(summary(file))
    assert [finding for finding in findings if message in finding], findings


def test_hidden_bytes_are_found(make_file) -> None:
    path = make_file(*sound())
    path.write_bytes(path.read_bytes() + b"payload " * 100)
    with gguf.open(path) as file:
        assert [f for f in suspicious(file) if f.startswith("800 bytes after tensor 'blk.0.attn_q.weight'")]


def test_published_and_oracle_files_raise_no_false_alarm(shared: Path) -> None:
    for path in sorted((shared / "oracle" / "quant").glob("*.gguf")):
        with gguf.open(path) as file:
            findings = suspicious(file)
            assert all("chat_template': missing" in finding for finding in findings), (path, findings)


def test_published_templates_raise_no_false_alarm(shared: Path, make_file) -> None:
    metadata, tensors = sound()
    for path in sorted((shared / "templates").glob("*.jinja")):
        metadata["tokenizer.chat_template"] = path.read_text()
        with gguf.open(make_file(metadata, tensors, name="t.gguf")) as file:
            assert suspicious(file) == [], path.name
