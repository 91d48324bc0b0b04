"""Folders made from the oracle's files, under the names of the published classes, give the oracle's logits."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

from halflap import loading
from halflap.device.reference import ReferenceDevice
from halflap.errors import ModelError
from halflap.text.tokenizer import Tokenizer
from halflap.weights import gguf
from tests import folders
from tests.models.oracle import CASES, ENCODER_CASES, OracleModel, error, oracle_file

DIFFERENT = {("granitehybrid-base", "granitehybrid.context_length")}
"""The converter writes 2^20 for hybrids, config.json has 512."""


@pytest.mark.parametrize("case", [*CASES, *ENCODER_CASES, "gptoss-notrunc"])
def test_a_folder_gives_the_oracles_logits(shared: Path, tmp_path: Path, case: str) -> None:
    source = oracle_file(shared, case)
    folder = folders.from_gguf(source, tmp_path / case)
    model = OracleModel(source, ReferenceDevice(), folder=folder)
    assert error(model.run([len(model.tokens)])[0], model.logits) < 1e-4
    model.close()


@pytest.mark.parametrize("case", ["llama-rope3", "qwen3moe-base", "gemma3-base"])
def test_a_folder_in_bf16_and_shards_gives_what_a_file_in_bf16_does(shared: Path, tmp_path: Path, case: str) -> None:
    source = oracle_file(shared, case)
    folder = folders.from_gguf(source, tmp_path / "f", dtype="BF16", shards=3)
    with loading.open_model(folder) as file:
        assert len(file.regions) == 3
        kept = [info for info in file.tensors.values() if info.region >= 0]
        assert kept
        for info in kept:
            assert info.type == "BF16"
            assert np.shares_memory(file.tensor_bytes(info.name), file.regions[info.region].array)
    model = OracleModel(source, ReferenceDevice(), folder=folder)
    assert error(model.run([len(model.tokens)])[0], model.logits) < 0.05
    model.close()


@pytest.mark.parametrize("case", CASES)
def test_keys_of_a_folder_agree_with_those_of_the_file(shared: Path, tmp_path: Path, case: str) -> None:
    source = oracle_file(shared, case)
    folder = folders.from_gguf(source, tmp_path / case)
    with loading.open_model(folder) as made, gguf.open(source) as wanted:
        assert made.architecture == wanted.architecture
        lacking = {
            name: (made.tensors.get(name), info.shape)
            for name, info in wanted.tensors.items()
            if name not in made.tensors or made.tensors[name].shape != info.shape
        }
        assert not lacking
        for key, value in wanted.metadata.items():
            if key.startswith(f"{wanted.architecture}.") and key in made.metadata:
                found = made.metadata[key]
                if found != value and (case, key) not in DIFFERENT:
                    assert np.allclose(np.asarray(found, float), np.asarray(value, float), rtol=1e-6), key


def test_the_tokenizer_of_a_folder_gives_the_files_ids(shared: Path, tmp_path: Path) -> None:
    source = oracle_file(shared, "qwen2-base")
    folder = folders.from_gguf(source, tmp_path / "f")
    with loading.open_model(folder) as made, gguf.open(source) as wanted:
        ours, theirs = Tokenizer.from_metadata(made.metadata), Tokenizer.from_metadata(wanted.metadata)
    for text in ("", "Hello there, 12 times!", "Grüße <s> </s>", "a\n\n b\t"):
        for special in (False, True):
            ids = ours.encode(text, add_special=False, parse_special=special)
            assert ids == theirs.encode(text, add_special=False, parse_special=special)
            assert ours.decode(ids) == theirs.decode(ids) == text


NONSENSE = 'null -1 0 1 3 2147483648 1e300 NaN "" "text" [] [0] ["full_attention"] {} {"a":1} true'.split()


@pytest.mark.parametrize("case", [*CASES, *ENCODER_CASES])
def test_settings_changed_at_random_give_typed_errors_only(shared: Path, tmp_path: Path, case: str) -> None:
    """One or two keys of config.json, or of an object in it, replaced or left out."""
    folder = folders.from_gguf(oracle_file(shared, case), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    rng = random.Random(case)
    opened = 0
    for _ in range(60):
        changed = json.loads(json.dumps(config))
        for _ in range(rng.randint(1, 2)):
            at = rng.choice([changed, *(v for v in changed.values() if isinstance(v, dict) and v)])
            at[rng.choice(sorted(at))] = json.loads(rng.choice(NONSENSE))
        (folder / "config.json").write_text(json.dumps(changed))
        with contextlib.suppress(ModelError), loading.open_model(folder) as file:
            loading.open_architecture(file)
            for name, info in file.tensors.items():
                assert len(file.tensor_bytes(name)) == info.nbytes
            opened += 1
    assert 0 < opened < 60
