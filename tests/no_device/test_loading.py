"""Finding and opening models: by name, by scheme, by path; what is wrong is said in one typed error."""

from __future__ import annotations

from pathlib import Path

import pytest

import halflap
from halflap import loading
from halflap.errors import ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.text.pretokenizers import PreTokenizer
from halflap.weights import gguf_writer


def write(path: Path, **metadata: object) -> Path:
    gguf_writer.write(path, {"general.architecture": "llama", **metadata}, {})
    return path


class Names:
    def __init__(self, path: Path) -> None:
        self.path = path

    @halflap.hookimpl
    def register_models(self, register) -> None:  # type: ignore[no-untyped-def]
        register("mine", lambda: self.path, about="mine")
        register("box:", lambda rest: self.path.parent / rest)


def test_models_are_found_by_name_scheme_and_path(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    halflap.plugins.register(Names(path), name="names")
    try:
        assert loading.find_model("mine") == path
        assert loading.find_model("box:a.gguf") == path
        assert loading.find_model(path) == path
        with pytest.raises(ModelNotFoundError, match="'mine'"):
            loading.find_model("nowhere.gguf")
    finally:
        halflap.plugins.unregister("names")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="a folder"):
        halflap.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b"GG"])
def test_a_file_of_another_kind_is_named_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelFormatError, match="first bytes"):
        halflap.load(tmp_path / "x.gguf")


def test_an_unknown_architecture_lists_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "x.gguf", **{"general.architecture": "lama"})
    with pytest.raises(UnsupportedModelError, match="Did you mean 'llama'"):
        halflap.load(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "llama.embedding_length"),
        ({"llama.embedding_length": "wide"}, "got 'wide', want an integer"),
        ({"llama.embedding_length": 64, "llama.attention.head_count": 0}, "head_count"),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_named(tmp_path: Path, metadata: dict[str, object], message: str) -> None:
    with pytest.raises(ModelFormatError, match=message):
        halflap.load(write(tmp_path / "x.gguf", **metadata))


def test_a_tensor_of_the_wrong_shape_is_named(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loading.open_model(shared / "oracle" / "families" / "llama-base.gguf") as file:
        metadata = {**file.metadata, "llama.feed_forward_length": 95}
        monkeypatch.setattr(file, "metadata", metadata)
        with pytest.raises(
            ModelFormatError, match=r"tensor 'blk\.0\.ffn_gate\.weight': got shape \[96, 64\], want \[95"
        ):
            loading.open_architecture(file)


class Spaces:
    """A pre-tokenizer that cuts at single spaces only."""

    @halflap.hookimpl
    def register_tokenizers(self, register) -> None:  # type: ignore[no-untyped-def]
        register("spaces", lambda: PreTokenizer((r" ?[^ ]+| +",)), kind="pre")
        register("letters", Letters, kind="model")


class Letters:
    """A tokenizer of a plugin's own."""

    def __init__(self, metadata: dict[str, object]) -> None:
        self.metadata = metadata


def test_tokenizers_of_plugins_are_used(shared: Path) -> None:
    with loading.open_model(shared / "vocab" / "ggml-vocab-gpt-2.gguf") as file:
        metadata = {**file.metadata, "tokenizer.ggml.pre": "spaces"}
        with pytest.raises(UnsupportedModelError, match="'spaces'"):
            loading.open_tokenizer(metadata)
        halflap.plugins.register(Spaces(), name="spaces")
        try:
            assert (
                loading.open_tokenizer(metadata).decode(loading.open_tokenizer(metadata).encode("a  b1.")) == "a  b1."
            )
            assert isinstance(loading.open_tokenizer({"tokenizer.ggml.model": "letters"}), Letters)
        finally:
            halflap.plugins.unregister("spaces")


def test_recommended_sampling_is_used_when_it_makes_sense() -> None:
    hints = {"general.sampling.temp": 0.5, "general.sampling.top_k": 20.0, "general.sampling.top_p": 7.0}
    assert loading._recommended(hints) == {"temperature": 0.5, "top_k": 20}
