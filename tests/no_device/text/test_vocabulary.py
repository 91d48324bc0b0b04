"""Metadata that is odd, wrong or hostile: read as far as it makes sense, else a typed error that names the key."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from halflap.errors import ModelFormatError, UnsupportedModelError
from halflap.text.tokenizer import Tokenizer


def test_unreadable_tokens_keep_their_places(bpe_metadata: dict[str, Any]) -> None:
    bpe_metadata["tokenizer.ggml.tokens"] += ["", "\udcff", "he", "\0"]
    bpe_metadata["tokenizer.ggml.token_type"] += [1, 4, 1, 4]
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    assert tokenizer.n_vocab == 267
    assert tokenizer.encode("he", add_special=False) == [tokenizer.token_to_id("he")]
    assert tokenizer.token_to_id("he") == 261
    assert tokenizer.encode("a\0", add_special=False) == [4 + ord("a"), 266]


def test_merges_of_absent_tokens_are_left_out(bpe_metadata: dict[str, Any]) -> None:
    bpe_metadata["tokenizer.ggml.merges"] += ["he x", "hel lo", "nospace", " ", "a "]
    tokenizer = Tokenizer.from_metadata(bpe_metadata)
    assert tokenizer.encode("hel", add_special=False) == [tokenizer.token_to_id("hel")]


BAD: list[tuple[str, Any, str]] = [
    ("model", None, "got nothing"),
    ("model", 3, "got int, want string"),
    ("tokens", None, "no tokens"),
    ("tokens", [], "no tokens"),
    ("tokens", "abc", "got str, want array of strings"),
    ("tokens", [1, 2], "array of int"),
    ("tokens", ["a", 2], "array of int"),
    ("token_type", [1], "1 elements"),
    ("token_type", "x", "token_type"),
    ("token_type", [[1], [2, 3]], "token_type"),
    ("merges", None, "got nothing"),
    ("merges", 5, "array of strings"),
    ("bos_token_id", "1", "got str, want integer"),
    ("bos_token_id", True, "got bool, want integer"),
    ("add_bos_token", 1, "got int, want boolean"),
    ("pre", 4, "got int, want string"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_wrong_metadata_names_its_key(bpe_metadata: dict[str, Any], key: str, value: Any, message: str) -> None:
    bpe_metadata[f"tokenizer.ggml.{key}"] = value
    with pytest.raises(ModelFormatError, match=message) as caught:
        Tokenizer.from_metadata(bpe_metadata)
    assert f"tokenizer.ggml.{key}" in str(caught.value)
    assert caught.value.field == f"tokenizer.ggml.{key}"


def test_unknown_kinds_are_refused(bpe_metadata: dict[str, Any]) -> None:
    bpe_metadata["tokenizer.ggml.model"] = "rwkv"
    with pytest.raises(UnsupportedModelError, match="got 'rwkv', want one of gpt2"):
        Tokenizer.from_metadata(bpe_metadata)


@pytest.mark.parametrize("kind", ["bpe_metadata", "spm_metadata", "unigram_metadata", "wordpiece_metadata"])
def test_damaged_metadata_gives_only_typed_errors(request: pytest.FixtureRequest, kind: str) -> None:
    sound = request.getfixturevalue(kind)
    rng = np.random.default_rng(9)
    values: list[Any] = [
        *[None, 0, -1, 2**32 - 1, 2**64, True, "", "x", [], [0], ["a"], [[]], [1.5], float("nan"), np.arange(3)],
        *[["a b"] * 3, [float("nan")] * 500, [float("inf")] * 500, list(range(-5, 600)), ["\0"] * 500, ["\udc80"]],
    ]
    for _ in range(400):
        metadata = dict(sound)
        for _ in range(rng.integers(1, 3)):
            key = list(metadata)[rng.integers(len(metadata))]
            metadata[key] = values[rng.integers(len(values))]
        if rng.random() < 0.5:
            metadata["tokenizer.ggml.precompiled_charsmap"] = rng.integers(0, 256, rng.integers(1, 40)).astype(np.uint8)
        try:
            tokenizer = Tokenizer.from_metadata(metadata)
        except (ModelFormatError, UnsupportedModelError):
            continue
        ids = tokenizer.encode("hello ab </s> <think> é", parse_special=True)
        assert isinstance(tokenizer.decode(ids), str)
        json.dumps(ids)
