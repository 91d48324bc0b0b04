"""Folders that transformers itself saved, against its own logits: the guard over the tables of names.

Slow, and only where torch and transformers are: in this interpreter, or in the one that HALFLAP_TRANSFORMERS_PYTHON
names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from halflap.device.reference import ReferenceDevice
from tests.models import oracle
from tests.models.oracle import CASES, ENCODER_CASES, OracleModel, error

WRAPPED = ("mm-gemma3", "mm-gemma4v", "mm-mistral3", "mm-qwen35")
"""Models that also see: the text part of their folders."""
GENUINE = (*CASES, *ENCODER_CASES, *WRAPPED, "gptoss-notrunc", "t5-base", "t5-tied")


@pytest.fixture(scope="module")
def genuine(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = sys.executable if find_spec("transformers") else os.environ.get("HALFLAP_TRANSFORMERS_PYTHON")
    if not python:
        pytest.skip("no transformers: set HALFLAP_TRANSFORMERS_PYTHON to an interpreter that has it and torch")
    out = tmp_path_factory.mktemp("genuine")
    script = Path(__file__).with_name("genuine_folders.py")
    done = subprocess.run(
        [python, str(script), str(shared / "oracle"), str(out), *GENUINE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("case", GENUINE)
def test_a_saved_model_gives_its_own_logits(genuine: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    with np.load(genuine / case / "answers.npz") as saved:
        answers = {name: saved[name] for name in saved.files}
    wanted = answers.get("logits", answers.get("hidden"))
    known = {name: x for name, x in answers.items() if name.endswith("tokens")} | {"logits_hf": wanted}
    known |= {"pooled_hf": wanted} if "hidden" in answers else {}
    monkeypatch.setattr(oracle.np, "load", lambda path: known)
    model = OracleModel(genuine / case, ReferenceDevice())
    assert error(model.run([len(model.tokens)])[0], model.logits) < 1e-4
    model.close()
