"""The numpy reference equals independent implementations of every architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from halflap.architectures import gpt_oss
from halflap.device.reference import ReferenceDevice
from halflap.weights import gguf, gguf_writer
from tests.models.oracle import (
    CASES,
    ENCODER_CASES,
    EXTRA_CASES,
    RECURRENT_CASES,
    SOURCE_CASES,
    OracleModel,
    error,
    oracle_file,
)


@pytest.mark.parametrize("case", [*CASES, *EXTRA_CASES])
def test_logits_equal_the_oracle_however_the_prompt_is_fed(shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), ReferenceDevice())
    count = len(model.tokens)
    for chunks in ([count], [1] * count, [7, 13, 1, count - 21]):
        assert error(model.run(chunks)[0], model.logits) < 1e-4
    model.close()


@pytest.mark.parametrize("case", SOURCE_CASES)
def test_a_decoder_that_reads_an_encoders_rows_gives_the_oracles_logits(shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), ReferenceDevice(), sequences=2)
    count = len(model.tokens)
    for chunks in ([count], [1] * count, [5, 1, count - 6]):
        for found in model.run(chunks):
            assert error(found, model.logits) < 1e-4
    model.close()


@pytest.mark.parametrize("case", ENCODER_CASES)
def test_an_encoder_gives_the_oracles_hidden_rows_of_whole_sequences(shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), ReferenceDevice(), sequences=2)
    assert model.graph.whole
    assert not model.graph.groups
    for found in model.run([len(model.tokens)]):
        assert error(found, model.logits) < 1e-4
    model.close()


@pytest.mark.parametrize("case", ["llama-base", "gemma3-base", "qwen2moe-base", *RECURRENT_CASES])
def test_sequences_side_by_side_do_not_disturb_each_other(shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), ReferenceDevice(), sequences=3)
    for found in model.run([5, len(model.tokens) - 5]):
        assert error(found, model.logits) < 1e-4
    model.close()


def test_the_published_gpt_oss_models_keep_the_fractions_of_the_yarn_ramp(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their files have no key for it, nor has the oracle's: it passes for one of them by its number of layers."""
    monkeypatch.setattr(gpt_oss, "PUBLISHED_LAYERS", (4,))
    model = OracleModel(shared / "oracle" / "families" / "gptoss-notrunc.gguf", ReferenceDevice())
    assert error(model.run([len(model.tokens)])[0], model.logits) < 1e-4
    model.close()


@pytest.mark.parametrize("case", ["qwen2moe-base", "qwen3next-base", "mamba2-base"])
def test_a_file_whose_outer_axes_of_1_are_gone_is_the_same_model(shared: Path, tmp_path: Path, case: str) -> None:
    """ggml's quantiser writes no more axes than it needs: (1, n) becomes (n,)."""
    source = oracle_file(shared, case)
    with gguf.open(source) as file:
        tensors = {name: file.dequantize(name) for name in file.tensors}
        cut = {name: x[0] if x.ndim > 1 and len(x) == 1 else x for name, x in tensors.items()}
        assert any(cut[name].shape != tensors[name].shape for name in cut)
        metadata = {key: value for key, value in file.metadata.items() if not key.startswith("tokenizer.")}
        gguf_writer.write(tmp_path / "cut.gguf", metadata, cut)
    model = OracleModel(source, ReferenceDevice(), folder=tmp_path / "cut.gguf")
    assert error(model.run([len(model.tokens)])[0], model.logits) < 1e-4
    model.close()
