"""Makes tiny random models with transformers, saves them as their classes do, and writes down their logits.

    PYTHON tests/models/genuine_folders.py ORACLE OUT [CASE …]

PYTHON has torch and transformers; ORACLE is the shared oracle's folder, whose configurations and tokens are used.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

SPREAD = 0.8
"""Matrices keep the size of what they multiply, so that every part of a model matters to its logits."""


def configuration(values: dict[str, Any]) -> Any:
    values = dict(values)
    if "time_step_limit" in values:  # the oracle's JSON spells infinity as an object
        limits = (0.0, float("inf"))
        values["time_step_limit"] = limits if values["model_type"] == "mamba2" else list(limits)
    config = CONFIG_MAPPING[values["model_type"]].from_dict(values)
    config._attn_implementation = config._experts_implementation = "eager"
    return config


def make(description: Path, out: Path) -> None:
    facts = json.loads(description.read_text())
    torch.manual_seed(5)
    model = getattr(transformers, facts["hf_class"])(configuration(facts["config"])).float().eval()
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if not values.is_floating_point() or any(part in name for part in ("inv_freq", "rotary", "embed_scale")):
                continue
            noise = torch.randn_like(values)
            if values.ndim > 1:
                values.copy_(noise * (SPREAD / values.shape[-1] ** 0.5))
            elif values.ndim == 1:
                values.add_(0.1 * noise)
        tokens = np.arange(10, 50)
        if facts["kind"] != "mmproj":
            tokens = np.load(description.with_suffix(".npz"))["tokens"].astype(np.int64)
        more, known = {}, {"tokens": tokens}
        if facts["kind"] == "t5":
            known["dec_tokens"] = np.load(description.with_suffix(".npz"))["dec_tokens"].astype(np.int64)
            more["decoder_input_ids"] = torch.tensor(known["dec_tokens"])[None]
        answer = model(input_ids=torch.tensor(tokens)[None], **more)
    wanted = answer.logits if hasattr(answer, "logits") else answer.last_hidden_state
    model.save_pretrained(out)
    name = "logits" if hasattr(answer, "logits") else "hidden"
    np.savez(out / "answers.npz", **known, **{name: wanted[0].float().numpy()})


if __name__ == "__main__":
    torch.set_num_threads(1)
    oracle, target, *cases = sys.argv[1:]
    for case in cases:
        make(Path(oracle) / "families" / f"{case}.json", Path(target) / case)
