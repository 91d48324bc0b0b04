"""Running an oracle file by hand, without engine or tokenizer: an independent driver of graph and device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from halflap import loading
from halflap.architectures.loading import Architecture
from halflap.device.conversion import Converted, stand_ins
from halflap.device.interface import Device
from halflap.graph.ir import StateGroup
from halflap.graph.passes import retype, split
from halflap.graph.step import GroupStep, Limits, SlotStep, Step

CASES: tuple[str, ...] = (
    "cohere-base",
    "cohere2-base",
    "deepseek2-lite",
    "deepseek3-base",
    "deepseek4-mxfp4",
    "gemma-base",
    "gemma2-base",
    "gemma3-base",
    "gemma4-dense",
    "gemma4-moe",
    "gemma4-ple",
    "glm4-base",
    "glm4moe-base",
    "gptoss-base",
    "granite-base",
    "granitemoe-base",
    "llama-base",
    "llama-bias",
    "llama-rope3",
    "llama-ropelin",
    "llama-yarn",
    "llama-yarnbeta",
    "llama4-base",
    "ministral3-base",
    "mistral-base",
    "mixtral-base",
    "olmo2-base",
    "olmo3-base",
    "olmoe-base",
    "phi3-base",
    "phi3-partial",
    "qwen2-base",
    "qwen2moe-base",
    "qwen3-base",
    "qwen3-embed",
    "qwen3-yarn",
    "qwen3moe-base",
    "smollm3-base",
    "starcoder2-base",
)
RECURRENT_CASES = (
    "deepseek4-flash",
    "falconh1-base",
    "granitehybrid-base",
    "lfm2-base",
    "lfm2moe-base",
    "mamba2-base",
    "qwen35-dense",
    "qwen35-moe",
    "qwen3next-base",
)
CASES += RECURRENT_CASES
SOURCE_CASES = ("t5-base", "t5-tied")
"""An encoder's text first, then a decoder's tokens."""
ENCODER_CASES = ("bert-base", "embgemma-base", "modernbert-base", "nomicbert-base", "xlmr-base")
"""Of the folder `families`; the graphs take whole sequences only."""
FLOAT_CASES = ("deepseek4-mxfp4",)
"""Where rounded activations choose other experts than the oracle's: compared with weights as F32."""
EXTRA_CASES = tuple(
    "afmoe-base arcee-base bloom-base deepseek32-base dots1-base ernie45-dense ernie45-moe exaone4-base falcon-base "
    "glmdsa-base gpt2-base gptneox-base graniteswa-base hunyuan-dense hunyuan-moe hyv3-base jamba-base mamba-base "
    "minimaxm2-base mistral4-base nemotronh-moe nemotron-base phi2-base seedoss-base stablelm-base".split()
)
"""Files of the folder `extra`."""
QUANT_CASES = tuple(
    "BF16 F16 F32 IQ1_M IQ1_S IQ2_S IQ2_XS IQ2_XXS IQ3_S IQ3_XXS IQ4_NL IQ4_XS MXFP4 NVFP4 Q1_0 Q2_0 Q2_K Q3_K_M Q4_0 "
    "Q4_1 Q4_K_M Q5_0 Q5_1 Q5_K_M Q6_K Q8_0 TQ1_0 TQ2_0".split()
)
"""One file per storage type, or mix of types."""


def oracle_file(shared: Path, case: str) -> Path:
    """Where a case of CASES, ENCODER_CASES or EXTRA_CASES lies."""
    return shared / "oracle" / ("extra" if case in EXTRA_CASES else "families") / f"{case}.gguf"


class OracleModel:
    """One oracle file on one device, or on two with the cut in the middle of its segments.

    Args:
        sequences: how many copies of the prompt run side by side, in blocks of their own.
        folder: the same model in another form, which is run instead; tokens and logits are the file's.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        kv_type: str = "f32",
        sequences: int = 1,
        second: Device | None = None,
        folder: Path | None = None,
    ) -> None:
        self.file = loading.open_model(folder or path)
        self.architecture: Architecture = loading.open_architecture(self.file)
        self.graph, self.sequences = self.architecture.graph, sequences
        answers = np.load(path.with_suffix(".npz"))
        self.tokens: npt.NDArray[np.int32] = answers["tokens"].astype(np.int32)
        self.source = self.tokens[:0]  # what an encoder reads before
        if "dec_tokens" in answers:
            self.source, self.tokens = self.tokens, answers["dec_tokens"].astype(np.int32)
        # A quantised file is compared with exact activations and its own dequantised weights.
        strict = "logits_dequant" if "logits_dequant" in answers else "logits_hf"
        self.logits: npt.NDArray[np.float32] = answers[strict]
        # An embedding model's answer is its last hidden state.
        self.wanted = "hidden" if "pooled_hf" in answers else "logits"
        count = max(len(self.tokens), len(self.source)) * sequences
        pools: dict[str, dict[str, int]] = {"blocks": {}, "slots": {}}
        for group in self.graph.groups:
            pools[group.kind][group.name] = sequences * (self._blocks(group) if group.kind == "blocks" else 1)
        self.limits = Limits(
            count, sequences, count, self.architecture.context, pools["blocks"], (kv_type, kv_type),
            slots=pools["slots"],
        )  # fmt: skip
        self.devices = [device] if second is None else [device, second]
        half = len(self.graph.segments) // len(self.devices)
        at = {s.name: i for i, s in enumerate(self.graph.segments)}
        at |= {name: at.get(name.removesuffix(".rows"), i) for name, i in at.items()}  # with the layer that reads them
        places = [int(second is not None and at[s.name] >= half) for s in self.graph.segments for _ in s.nodes]
        weights = loading.weights_of(self.file)
        self.stages, self.weights = [], []
        for stage in split(self.graph, places):
            instead = stand_ins(stage.graph, self.devices[stage.device].info)
            own = retype(stage.graph, instead | (dict.fromkeys(["MXFP4"], "F32") if path.stem in FLOAT_CASES else {}))
            self.stages.append(attrs.evolve(stage, graph=own))
            self.weights.append(self.devices[stage.device].pack(Converted(weights, own), own))

    def run(self, chunks: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits (sequences, tokens, vocab) with the prompt fed in chunks of these sizes."""
        groups = {stage.device: stage.graph.groups for stage in self.stages}
        states = {i: self.devices[i].state(held, self.limits) for i, held in groups.items()}
        machines = []
        for stage, weights in zip(self.stages, self.weights, strict=True):
            device = self.devices[stage.device]
            machines.append((stage, device, device.compile(stage.graph, weights, states[stage.device], self.limits)))
        parts, start = [], 0
        for size in chunks if not len(self.source) else (0, *chunks):
            step, values = self._step(start, start + size), {}
            for stage, device, executable in machines:
                if stage.source != (size == 0):
                    continue
                given = {name: values[name] for name in stage.receives}
                names = {g.name for g in stage.graph.groups}
                own = attrs.evolve(
                    step,
                    groups={name: group for name, group in step.groups.items() if name in names},
                    slots={name: slots for name, slots in step.slots.items() if name in names},
                )
                values |= executable.run(device.begin(own), given, list(stage.sends)).wait()
            if size:
                parts.append(values[self.wanted].reshape(self.sequences, size, -1))
            start += size
        for part in (*(executable for _, _, executable in machines), *states.values()):
            part.close()
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        for weights in self.weights:
            weights.close()
        self.file.close()

    def _step(self, start: int, stop: int) -> Step:
        tokens = self.tokens[start:stop] if stop > start else self.source
        s, n = self.sequences, len(tokens)
        index = np.tile(np.arange(start, start + n, dtype=np.int32), s)
        target = np.arange(s, dtype=np.int32)[::-1].copy()
        slots = SlotStep(target if start else np.full(s, -1, np.int32), target, np.zeros((0, 2), np.int32))
        return Step(
            ids=np.tile(tokens, s),
            index=index,
            position=index[None],
            seq_start=np.arange(s + 1, dtype=np.int32) * n,
            rows=np.arange(s * (stop - start), dtype=np.int32),
            groups={g.name: self._table(g, stop) for g in self.graph.groups if g.kind == "blocks"},
            slots={g.name: slots for g in self.graph.groups if g.kind == "slots"},
        )

    def _blocks(self, group: StateGroup) -> int:
        tokens = self.source if group.name in self.graph.source_groups() else self.tokens
        return -(-len(tokens) // group.block_tokens)

    def _table(self, group: StateGroup, stop: int) -> GroupStep:
        s, each = self.sequences, self._blocks(group)
        return GroupStep(
            np.arange(s + 1, dtype=np.int32) * each,
            np.arange(s * each, dtype=np.int32)[::-1].copy(),
            np.zeros(s, np.int32),
            np.full(s, len(self.source) if group.name in self.graph.source_groups() else stop, np.int32),
        )


def error(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    """Largest difference over largest logit."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
