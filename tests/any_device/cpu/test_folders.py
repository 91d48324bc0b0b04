"""Folders in BF16 on the CPU: mapped matrices and made tensors give what the reference makes of the same folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halflap.device.reference import ReferenceDevice
from tests import folders
from tests.models.oracle import CASES, ENCODER_CASES, OracleModel, error, oracle_file


@pytest.mark.parametrize("case", [*CASES, *ENCODER_CASES])
def test_a_folder_in_bf16_gives_the_references_logits(shared: Path, tmp_path: Path, cpu: Any, case: str) -> None:
    source = oracle_file(shared, case)
    folder = folders.from_gguf(source, tmp_path / "m", "BF16", shards=2)
    found = []
    for device in (cpu, ReferenceDevice()):
        model = OracleModel(source, device, folder=folder)
        found.append(model.run([len(model.tokens)])[0])
        model.close()
    assert error(*found) < 2e-3
