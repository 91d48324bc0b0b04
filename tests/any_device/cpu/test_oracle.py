"""Whole tiny models against transformers' logits, with f32 KV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halflap
from halflap.device.reference import ReferenceDevice
from tests.any_device.cpu.kit import relative
from tests.models.oracle import CASES, ENCODER_CASES, EXTRA_CASES, QUANT_CASES, SOURCE_CASES, OracleModel, oracle_file


@pytest.mark.parametrize("case", [*CASES, *EXTRA_CASES])
def test_a_family_gives_the_oracles_logits_however_it_is_fed(cpu: Any, shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), cpu, "f32", sequences=2)
    count = len(model.tokens)
    whole = model.run([count])
    for logits in whole:
        assert relative(logits, model.logits) < 2e-3
    for cuts in ([1] * count, [7, 13, 1, count - 21]):
        assert np.array_equal(model.run(cuts), whole)
    model.close()


@pytest.mark.parametrize("case", [*CASES, *EXTRA_CASES])
def test_a_family_gives_the_same_logits_across_two_devices(cpu: Any, shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), cpu, "f32", second=ReferenceDevice())
    count = len(model.tokens)
    for chunks in ([count], [11, 1, count - 12]):
        assert relative(model.run(chunks)[0], model.logits) < 2e-3
    model.close()


@pytest.mark.parametrize("case", SOURCE_CASES)
def test_a_decoder_that_reads_an_encoders_rows_gives_the_oracles_logits(cpu: Any, shared: Path, case: str) -> None:
    model = OracleModel(oracle_file(shared, case), cpu, "f32", sequences=2)
    two = OracleModel(oracle_file(shared, case), cpu, "f32", second=ReferenceDevice())
    count = len(model.tokens)
    whole = model.run([count])
    assert relative(whole[0], model.logits) < 2e-3
    for cuts in ([1] * count, [5, 1, count - 6]):
        assert np.array_equal(model.run(cuts), whole)
        assert relative(two.run(cuts)[0], model.logits) < 2e-3
    for one in (model, two):
        one.close()


@pytest.mark.parametrize("case", ENCODER_CASES)
def test_an_encoder_gives_the_oracles_hidden_rows(cpu: Any, shared: Path, case: str) -> None:
    alone = OracleModel(oracle_file(shared, case), cpu)
    several = OracleModel(oracle_file(shared, case), cpu, sequences=3)
    two = OracleModel(oracle_file(shared, case), cpu, second=ReferenceDevice())
    count = len(alone.tokens)
    (hidden,) = alone.run([count])
    assert relative(hidden, alone.logits) < 2e-3
    assert np.array_equal(several.run([count]), [hidden] * 3)
    assert relative(two.run([count])[0], alone.logits) < 2e-3
    for model in (alone, several, two):
        model.close()


@pytest.mark.parametrize("case", [*ENCODER_CASES, "qwen3-embed"])
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_text_is_embedded_as_the_oracle_pools_it(shared: Path, case: str, device: str) -> None:
    """Among others of other lengths, which share its steps."""
    pytest.importorskip("halflap_cpu", reason="halflap-cpu is not installed")
    path = oracle_file(shared, case)
    answers = np.load(path.with_suffix(".npz"))
    ids = answers["tokens"].tolist()
    with halflap.load(path, devices=[device], kv_type="f32") as model:
        rows = model.embed([ids, *(ids[:n] for n in range(1, 40, 3)), ids], normalize=False)
        each = model.embed([ids, ids[:7]], pooling="none", normalize=False)
        alone = model.embed([ids[:7]], normalize=False)
    assert relative(rows[0], answers["pooled_hf"]) < 2e-3
    assert relative(each[: len(ids)], answers["logits_hf"]) < 2e-3
    assert each.shape == (len(ids) + 7, len(answers["pooled_hf"]))
    np.testing.assert_allclose(rows[-1], rows[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rows[3], alone[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", [case for case in [*CASES, *EXTRA_CASES] if case != "qwen3-embed"])
def test_a_family_gives_the_oracles_greedy_tokens_through_the_engine(shared: Path, case: str) -> None:
    pytest.importorskip("halflap_cpu", reason="halflap-cpu is not installed")
    path = oracle_file(shared, case)
    answers = np.load(path.with_suffix(".npz"))
    ctx = len(answers["tokens"]) + 88
    with halflap.load(path, devices=["cpu"], ctx=ctx, kv_type="f32") as model:
        done = model.generate(answers["tokens"].tolist(), max_tokens=8, temperature=0)
        said, wanted = [token.id for token in done.tokens], answers["greedy"].tolist()
        assert said == wanted[: len(said)]
        assert len(said) == 8 or wanted[len(said)] in model.tokenizer.eog_ids
        done = model.generate(answers["tokens"].tolist(), max_tokens=60, temperature=0)  # past every window
    assert len(done.tokens) == 60 or done.finish_reason == "stop"


@pytest.mark.parametrize("case", QUANT_CASES)
def test_a_quantised_model_is_off_by_its_activations_rounding_only(cpu: Any, shared: Path, case: str) -> None:
    model = OracleModel(shared / "oracle" / "quant" / f"quant-{case}.gguf", cpu, "f32")
    (logits,) = model.run([len(model.tokens)])
    model.close()
    off = np.sqrt(np.mean((logits - model.logits) ** 2) / np.mean(model.logits**2))
    assert off < (1e-4 if case in ("F32", "F16", "BF16") else 0.03)
