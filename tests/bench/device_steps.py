"""A model on the CPU device alone, without engine or sampling: what kernels are measured with."""

from __future__ import annotations

import time
from typing import Any

BLOCK = 32


def tokens(count: int, vocabulary: int) -> list[int]:
    return [(i * 7919 + 13) % (vocabulary - 100) + 50 for i in range(count)]


class DeviceSteps:
    """Steps of one or several sequences, each with blocks of its own.

    Args:
        context: most tokens of a sequence.
        tokens: most tokens of a step.
        kv_type: storage of K and V.
    """

    def __init__(
        self, path: str, *, threads: int = 2, context: int = 512, tokens: int = 512, sequences: int = 1,
        kv_type: str = "f16",
    ) -> None:  # fmt: skip
        from halflap import loading
        from halflap.device.opening import open_devices
        from halflap.graph.passes import rotate_kv
        from halflap.graph.step import Limits

        (self.device,) = open_devices(["cpu"], {"threads": str(threads)})
        self.name = self.device.info.about
        file = loading.open_model(path)
        graph = loading.open_architecture(file).graph
        self.graph = rotate_kv(graph) if kv_type.startswith("q") else graph
        self.blocks = (context + BLOCK - 1) // BLOCK
        groups = {group.name: self.blocks * sequences for group in self.graph.groups if group.kind == "blocks"}
        slots = {group.name: sequences for group in self.graph.groups if group.kind == "slots"}
        self.limits = Limits(
            tokens, sequences, sequences, self.blocks * BLOCK, groups, (kv_type, kv_type), slots=slots
        )  # fmt: skip
        self.weights = self.device.pack(loading.weights_of(file), self.graph)
        self.state = self.device.state(self.graph.groups, self.limits)
        self.executable = self.device.compile(self.graph, self.weights, self.state, self.limits)
        self.vocabulary = int(self.graph.values["logits"].shape[1])

    def step(self, start: int, count: int, sequences: int = 1) -> float:
        """Seconds of one step: `count` tokens from position `start` for each sequence."""
        step = self._step(start, count, sequences)
        began = time.perf_counter()
        self.executable.run(self.device.begin(step), {}, ["logits"]).wait()
        return time.perf_counter() - began

    def _step(self, start: int, count: int, sequences: int) -> Any:
        import numpy as np

        from halflap.graph.step import GroupStep, SlotStep, Step

        index = np.tile(np.arange(start, start + count, dtype=np.int32), sequences)
        starts = np.arange(sequences + 1, dtype=np.int32)
        group = GroupStep(
            starts * self.blocks, np.arange(self.blocks * sequences, dtype=np.int32), np.zeros(sequences, np.int32),
            np.full(sequences, start + count, np.int32),
        )  # fmt: skip
        own = np.arange(sequences, dtype=np.int32)
        slots = SlotStep(own if start else np.full(sequences, -1, np.int32), own, np.zeros((0, 2), np.int32))
        return Step(
            np.array(tokens(start + count, self.vocabulary)[start:] * sequences, np.int32), index, index[None],
            starts * count, starts[1:] * count - 1,
            {g.name: group for g in self.graph.groups if g.kind == "blocks"},
            slots={g.name: slots for g in self.graph.groups if g.kind == "slots"},
        )  # fmt: skip

    def fill(self, depth: int) -> None:
        """Give the first sequence `depth` tokens of made-up context, which costs nothing like a prefill."""
        import numpy as np

        rng = np.random.default_rng(0)
        for group in (g for g in self.graph.groups if g.kind == "blocks"):
            rows = {}
            for layer, width in enumerate(group.layers):
                if width not in rows:
                    rows[width] = rng.standard_normal((BLOCK, width.k + width.v)).astype(np.float32)
                for block in range((depth + BLOCK - 1) // BLOCK):
                    self.state.import_block(group.name, layer, block, rows[width])

    def kv_bytes(self, depth: int) -> int:
        """Bytes of the KV cache that `depth` tokens take."""
        from halflap import plugins

        kinds = [plugins.get("weight_types", kind.upper()) for kind in self.limits.kv_types]
        widths = [(w.k, w.v) for g in self.graph.groups if g.kind == "blocks" for w in g.layers]
        return sum(
            depth * n // kind.block * kind.nbytes for pair in widths for n, kind in zip(pair, kinds, strict=True)
        )
