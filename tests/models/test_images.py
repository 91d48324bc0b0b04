"""Text models that read rows of images: equal to the oracle end to end, however the prompt is cut."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from halflap import loading
from halflap.architectures.changes import Changes
from halflap.device.opening import open_devices
from halflap.engine.engine import Engine
from halflap.engine.given import Given, Images
from halflap.engine.runner import Runner
from halflap.engine.scoring import Scoring
from halflap.placement import Wishes, make_plan
from tests.models.oracle import error

CASES = {  # grid of image tokens, whether they see each other, position axes
    "gemma3": (None, True, 1),
    "gemma4v": (None, True, 1),
    "mistral3": (None, False, 1),
    "qwen35": ((3, 4), False, 3),
    "qwen3vl": ((3, 4), False, 3),
}
BOUNDS = {"reference": 1e-4, "cpu": 2e-3}


def logits(shared: Path, case: str, device: str, tokens: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All logits of the oracle's prompt three times at once, in steps of at most `tokens`, and the wanted ones."""
    answers = np.load(shared / "oracle" / "families" / f"mm-{case}.npz")
    ids, image = answers["tokens"].tolist(), int(answers["image_token_id"])
    grid, whole, axes = CASES[case]
    images = Images((Given(ids.index(image), answers["embd_hf"], grid),), whole, axes)
    with loading.open_model(shared / "oracle" / "families" / f"mm-{case}-text.gguf") as file:
        architecture = loading.open_architecture(file, Changes(given_width=answers["embd_hf"].shape[1]))
        devices = open_devices([device])
        wishes = Wishes(devices=(device,), kv_type=("f32", "f32"), ctx=64)
        plan = make_plan(case, architecture.graph, architecture.context, wishes, devices)
        plan = evolve(plan, limits=evolve(plan.limits, tokens=tokens, rows=tokens))
        weights = loading.weights_of(file)
        engine = Engine(
            lambda: Runner(plan, architecture.graph, weights, devices), architecture.graph.groups, plan.limits
        )
        found: list[Future[Any]] = [Future() for _ in range(3)]
        for future in found:
            engine.submit(Scoring(ids, ("logits",), range(len(ids)), future.set_result, images))
        rows = [future.result(timeout=60)["logits"] for future in found]
        engine.close()
    assert all(np.array_equal(row, rows[0]) for row in rows) or device == "reference"
    return rows[0], answers["logits_hf"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("device", BOUNDS)
def test_logits_with_an_image_equal_the_oracle(shared: Path, device: str, case: str) -> None:
    for tokens in (200, 23, 17):
        found, wanted = logits(shared, case, device, tokens)
        assert error(found, wanted) < BOUNDS[device]
