"""Apertus equals the published model's code, whole and token by token."""

import numpy as np
import pytest

import halflap


@pytest.mark.parametrize("devices", [["reference"], ["cpu"], ["cpu", "reference"]])
def test_logits(shared, devices):
    path = shared / "oracle" / "extra" / "apertus-base.gguf"
    wanted = np.load(path.with_suffix(".npz"))
    with halflap.load(path, devices=devices, kv_type="f32") as model:
        found = model.logits(wanted["tokens"])
        answer = model.generate(wanted["tokens"], max_tokens=8, temperature=0, ignore_eos=True)
    assert np.abs(found - wanted["logits_hf"]).max() < 2e-3 * np.abs(wanted["logits_hf"]).max()
    assert [token.id for token in answer.tokens] == wanted["greedy"].tolist()
