"""tokenizer.json as a folder has it gives the published ids, and never lets plain text form a control token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.no_device.text.test_tokenizer import pairs

from halflap.errors import HalflapError, ModelFormatError, UnsupportedModelError
from halflap.text.huggingface import as_ggml
from halflap.text.tokenizer import Tokenizer
from halflap.weights import gguf
from halflap.weights.folder import vocabulary
from halflap.weights.folder.settings import Settings
from tests import folders

VOCABULARIES = "gpt-2 llama-bpe qwen2 qwen35 gemma-4 deepseek-llm falcon mpt llama-spm phi-3 bert-bge".split()


def read(folder: Path, config: dict[str, Any] | None = None) -> dict[str, Any]:
    return vocabulary.read(folder, Settings(config or {}, folder / "config.json"))


def folder_of(tmp_path: Path, whole: dict[str, Any], **files: Any) -> Path:
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_published_pair_is_exact(shared: Path, tmp_path: Path, name: str) -> None:
    with gguf.open(shared / "vocab" / f"ggml-vocab-{name}.gguf") as file:
        metadata = dict(file.metadata)
        whole = folders.tokenizer_json(metadata)
    keys = read(folder_of(tmp_path, whole))
    tokenizer = Tokenizer.from_metadata(keys)
    given = Tokenizer.from_metadata(metadata)
    for text, ids in pairs(shared, name):
        found = tokenizer.encode(text, add_special=False)
        assert found == ids, text
        assert tokenizer.decode(found) == given.decode(ids)
    for i in range(tokenizer.n_vocab):
        if tokenizer.is_special(i) and i != tokenizer.unk_id:
            assert i not in tokenizer.encode(tokenizer.vocabulary.tokens[i], add_special=False)
            assert tokenizer.encode(tokenizer.vocabulary.tokens[i], add_special=False, parse_special=True) == [i]


@pytest.mark.parametrize("name", ["llama-bpe", "qwen2", "gpt-2", "llama-spm"])
def test_a_converted_file_names_the_pretokenizer_and_gives_the_same_ids(
    shared: Path, tmp_path: Path, name: str
) -> None:
    with gguf.open(shared / "vocab" / f"ggml-vocab-{name}.gguf") as file:
        whole = folders.tokenizer_json(dict(file.metadata))
    keys = as_ggml(read(folder_of(tmp_path, whole)))
    assert "tokenizer.huggingface.json" not in keys
    assert keys["tokenizer.ggml.pre"] != "huggingface"
    tokenizer = Tokenizer.from_metadata(keys)
    for text, ids in pairs(shared, name):
        assert tokenizer.encode(text, add_special=False) == ids, text


def small(**changes: Any) -> dict[str, Any]:
    """A byte-level vocabulary of a few tokens."""
    tokens = ["<s>", "</s>", "<think>", "a", "b", "ab", "\u0120"]
    whole = folders.tokenizer_json(
        {
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3, 3, 4, 1, 1, 1, 1], "tokenizer.ggml.merges": ["a b"],
        }
    )  # fmt: skip
    return {**whole, **changes}


def test_special_tokens_ends_and_template_come_from_the_files_beside_it(tmp_path: Path) -> None:
    processor = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    }
    folder = folder_of(
        tmp_path,
        small(post_processor={"type": "Sequence", "processors": [{"type": "ByteLevel"}, processor]}),
        tokenizer_config={"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "from config"},
        generation_config={"eos_token_id": [1, 5], "temperature": 0.6, "top_k": 20, "top_p": 0.9},
    )
    keys = read(folder)
    tokenizer = Tokenizer.from_metadata(keys)
    assert tokenizer.encode("ab<think>") == [0, 5, 2]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eog_ids) == (0, 1, frozenset({1, 5}))
    assert tokenizer.chat_template == "from config"
    assert vocabulary.sampling(folder) == {
        "general.sampling.temp": 0.6, "general.sampling.top_k": 20, "general.sampling.top_p": 0.9,
    }  # fmt: skip
    (folder / "chat_template.jinja").write_text("from its own file")
    assert read(folder)["tokenizer.chat_template"] == "from its own file"
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "by name"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    (folder / "chat_template.jinja").unlink()
    assert read(folder)["tokenizer.chat_template"] == "by name"


def test_a_space_that_a_word_begins_with_comes_once_and_only_at_the_start(tmp_path: Path) -> None:
    """Metaspace with "first": not after a special token."""
    whole = small(
        pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
        decoder={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
    )
    whole["model"] = {**whole["model"], "vocab": {**whole["model"]["vocab"], "\u2581": 7}}
    tokenizer = Tokenizer.from_metadata(read(folder_of(tmp_path, whole)))
    assert tokenizer.encode("ab<s>ab", parse_special=True, add_special=False) == [7, 5, 0, 5]
    assert tokenizer.decode([7, 5]) == "ab"


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"model": 3}, "'model'"),
        (small(model={"type": "Strange", "vocab": {}}), "model.type"),
        (small(model={"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}), "two tokens of id 0"),
        (small(model={"type": "BPE", "vocab": {"a": 1 << 40}, "merges": []}), "model.vocab"),
        (small(model={"type": "BPE", "vocab": {"a": True}, "merges": []}), "model.vocab"),
        (small(model={"type": "BPE", "vocab": [], "merges": []}), "model.vocab"),
        (small(model={"type": "Unigram", "vocab": [["a"]]}), "model.vocab"),
        (small(added_tokens=[{"id": -1, "content": "x"}]), "added_tokens"),
        (small(added_tokens=[{"id": 1}]), "added_tokens"),
        (small(added_tokens=3), "added_tokens"),
        (small(pre_tokenizer={"type": "Split", "pattern": {"Regex": "x" * 10_000}}), "pattern"),
    ],
)
def test_nonsense_is_refused_with_file_and_key(tmp_path: Path, whole: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelFormatError, UnsupportedModelError), match=message):
        read(folder_of(tmp_path, whole))


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "NoSuchThing"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
        {"normalizer": 17},
        {"decoder": {"type": "Metaspace"}},
        {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}},
        {"model": {"type": "Unigram", "vocab": [["a", 1.0]], "unk_id": 7}},
        {"model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "?", "max_input_chars_per_word": -1}},
    ],
)
def test_what_the_library_cannot_build_is_a_typed_error(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(HalflapError):
        Tokenizer.from_metadata(read(folder_of(tmp_path, small(**change))))


def test_deep_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("[" * 100_000)
    with pytest.raises(ModelFormatError, match="JSON"):
        read(tmp_path)


def test_an_unknown_token_that_the_vocabulary_lacks_is_none(tmp_path: Path) -> None:
    whole = small(normalizer=None, pre_tokenizer=None)
    whole["model"] = {**whole["model"], "unk_token": "<nowhere>"}
    tokenizer = Tokenizer.from_metadata(read(folder_of(tmp_path, whole)))
    assert tokenizer.encode("ab?", add_special=False) == [5]
