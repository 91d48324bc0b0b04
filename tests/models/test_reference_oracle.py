"""The numpy reference equals independent implementations of every architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from halflap.architectures import gpt_oss
from halflap.device.reference import ReferenceDevice
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
