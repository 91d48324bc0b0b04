"""halflap convert: folders, and files again, as one GGUF file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tests.models.oracle import oracle_file
from tests.no_device.cli.shell import halflap

from halflap import loading
from halflap.text.tokenizer import Tokenizer
from halflap.weights import convert, gguf
from tests import folders


@pytest.mark.parametrize("case", ["llama-rope3", "qwen3moe-base", "gptoss-base", "mamba2-base", "gemma3-base"])
def test_a_folder_becomes_the_file_it_came_from(shared: Path, tmp_path: Path, case: str) -> None:
    source = oracle_file(shared, case)
    folder = folders.from_gguf(source, tmp_path / "m")
    done = halflap("convert", folder, "-o", tmp_path / "out.gguf", "--json")
    assert done.code == 0, done.err
    assert done.json["bytes"] == (tmp_path / "out.gguf").stat().st_size
    with gguf.open(tmp_path / "out.gguf") as made, gguf.open(source) as wanted:
        assert set(made.tensors) == set(wanted.tensors)
        for name in wanted.tensors:
            assert np.allclose(made.dequantize(name), wanted.dequantize(name), rtol=1e-5, atol=1e-6), name
        ours, theirs = Tokenizer.from_metadata(made.metadata), Tokenizer.from_metadata(wanted.metadata)
        assert made.metadata["tokenizer.ggml.pre"] == wanted.metadata["tokenizer.ggml.pre"]
        assert ours.encode("Hello, 12 foxes", add_special=False) == theirs.encode("Hello, 12 foxes", add_special=False)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("kind", ["f16", "bf16", "f32"])
def test_matrices_get_the_wanted_type_and_the_rest_stays_f32(shared: Path, tmp_path: Path, kind: str) -> None:
    source = oracle_file(shared, "qwen3-base")
    assert halflap("convert", source, "-o", tmp_path / "out.gguf", "--type", kind).code == 0
    with loading.open_model(tmp_path / "out.gguf") as made, loading.open_model(source) as wanted:
        for name, info in made.tensors.items():
            assert info.type == (kind.upper() if len(info.shape) > 1 else "F32")
            stored = wanted.types[info.type].quantize(wanted.dequantize(name).reshape(-1, 1))
            assert made.tensor_bytes(name).tobytes() == stored.tobytes()


def test_a_file_that_is_there_is_kept_unless_forced(shared: Path, tmp_path: Path) -> None:
    source, out = oracle_file(shared, "qwen2-base"), tmp_path / "out.gguf"
    out.write_text("mine")
    refused = halflap("convert", source, "-o", out)
    assert (refused.code, out.read_text()) == (2, "mine")
    assert "--force" in refused.err
    assert halflap("convert", source, "-o", out, "--force").code == 0
    with gguf.open(out) as made:
        assert made.architecture == "qwen2"


def test_what_fails_leaves_nothing_behind(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = oracle_file(shared, "qwen2-base")
    assert halflap("convert", source, "-o", tmp_path / "no" / "such.gguf").code == 2

    def stop(written: int) -> None:
        raise KeyboardInterrupt

    with loading.open_model(source) as file, pytest.raises(KeyboardInterrupt):
        convert.write(file, tmp_path / "out.gguf", file.metadata, None, stop)
    assert os.listdir(tmp_path) == []
