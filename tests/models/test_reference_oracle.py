"""The numpy reference equals independent implementations of every architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from halflap.device.reference import ReferenceDevice
from tests.models.oracle import CASES, RECURRENT_CASES, OracleModel, error


@pytest.mark.parametrize("case", CASES)
def test_logits_equal_the_oracle_however_the_prompt_is_fed(shared: Path, case: str) -> None:
    model = OracleModel(shared / "oracle" / "families" / f"{case}.gguf", ReferenceDevice())
    count = len(model.tokens)
    for chunks in ([count], [1] * count, [7, 13, 1, count - 21]):
        assert error(model.run(chunks)[0], model.logits) < 1e-4
    model.close()


@pytest.mark.parametrize("case", ["llama-base", "gemma3-base", "qwen2moe-base", *RECURRENT_CASES])
def test_sequences_side_by_side_do_not_disturb_each_other(shared: Path, case: str) -> None:
    model = OracleModel(shared / "oracle" / "families" / f"{case}.gguf", ReferenceDevice(), sequences=3)
    for found in model.run([5, len(model.tokens) - 5]):
        assert error(found, model.logits) < 1e-4
    model.close()
