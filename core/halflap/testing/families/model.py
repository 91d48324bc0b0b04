"""Family "model": whole tiny models over several steps, and steps that want few rows or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from halflap.device.interface import Array, Device, DeviceInfo
from halflap.graph.step import Step
from halflap.testing.cases import MODEL_TOLERANCE, Case, Failed, require_support, within
from halflap.testing.expected import Expected, difference
from halflap.testing.rig import Rig, Tables, limits_for
from halflap.testing.tiny import SHAPES, VOCAB, TinyModel, tiny_model

STEPS: tuple[dict[int, int], ...] = ({0: 33}, {0: 4, 1: 5}, {0: 1, 1: 1}, {1: 17, 0: 1, 2: 2}, {0: 1, 1: 1, 2: 1})
"""Per step: sequence -> tokens it is fed."""
ROUTED_STEPS: tuple[dict[int, int], ...] = ({0: 5}, {0: 1, 1: 2}, {0: 1, 1: 1, 2: 1})
"""For models with experts: few tokens, for every one of them must have a choice that is clear."""
TYPES = ("F32", "F16", "Q8_0", "Q4_K")
CLEAR = 0.03
"""Least distance between the last chosen router logit and the first not chosen."""


def cases(info: DeviceInfo, seed: int = 0) -> Iterator[Case]:
    for architecture in SHAPES:
        for dtype in TYPES:
            if dtype in info.rounding:
                facts = {"architecture": architecture, "dtype": dtype}
                yield Case(f"model/{architecture}/{dtype}", "model", 11, facts)
    for rows in ("none", "last", "all", "twice"):
        yield Case(f"model/rows/{rows}", "model", 5, {"architecture": "llama", "dtype": "F32", "rows": rows})
    yield Case("model/rows/nothing-fetched", "model", 5, {"architecture": "llama", "dtype": "F32", "fetch": ()})


def check(case: Case, device: Device) -> float:
    facts, rounding = case.facts, device.info.rounding
    model, steps, expected = prepare(facts, rounding, case.seed)
    require_support(device, model.graph)
    limits = limits_for(model.graph)
    tolerance = MODEL_TOLERANCE[rounding.get(facts["dtype"], "none")]
    worst = 0.0
    with Rig(device, model.graph, model.weights, limits) as rig:
        for step, wanted in zip(steps, expected, strict=True):
            found = rig.run(step, fetch=facts.get("fetch"))
            if set(found) != set(facts.get("fetch", model.graph.outputs)):
                raise Failed(f"fetched: got {sorted(found)}, want {sorted(facts.get('fetch', model.graph.outputs))}")
            for name in found:
                worst = max(worst, within(name, difference(np.asarray(found[name]), wanted[name]), tolerance))
        if "fetch" in facts:  # what was not fetched must still have been stored
            again, wanted = rig.run(steps[-1]), expected[-1]
            worst = max(worst, within("logits", difference(np.asarray(again["logits"]), wanted["logits"]), tolerance))
    return worst


def prepare(
    facts: Mapping[str, Any], rounding: Mapping[str, str], seed: int
) -> tuple[TinyModel, list[Step], list[dict[str, Array]]]:
    """A model, its steps, and what each step should give; drawn again while a router's choice is too close to call."""
    while True:
        model = tiny_model(facts["architecture"], facts["dtype"], seed)
        rng, limits = np.random.default_rng(seed), limits_for(model.graph)
        tables = Tables(model.graph, limits, rng)
        steps = []
        for lengths in ROUTED_STEPS if facts["architecture"].endswith("moe") else STEPS:
            chunks = {s: rng.integers(0, VOCAB, n).tolist() for s, n in lengths.items()}
            steps.append(tables.step(chunks, _rows(facts.get("rows", "all"), sum(lengths.values()))))
        reference = Expected(model.graph, model.weights, limits, rounding)
        expected = [reference.run(step, {}) for step in steps]
        if all(_clear(model, values) for values in expected):
            return model, steps, expected
        seed += 1


def _rows(which: str, tokens: int) -> list[int]:
    chosen = {"none": [], "last": [tokens - 1], "twice": [tokens - 1, 0, tokens - 1]}
    return chosen.get(which, list(range(tokens)))


def _clear(model: TinyModel, values: Mapping[str, Array]) -> bool:
    for node in model.graph.nodes():
        if node.op == "route":
            logits, used = values[node.inputs[0]], node.attributes["used"]
            assert isinstance(used, int)
            ordered = np.sort(logits, axis=-1)[:, ::-1]
            if np.any(ordered[:, used - 1] - ordered[:, used] < CLEAR):
                return False
    return True
