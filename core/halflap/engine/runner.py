"""A plan made real: weights packed, state allocated, stages compiled; runs steps, knows no queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from halflap.device.conversion import Converted
from halflap.device.interface import Array, Candidates, Device, Weight
from halflap.graph.candidates import Ask, Highest
from halflap.graph.extras import SCALES
from halflap.graph.ir import Graph
from halflap.graph.step import Step
from halflap.placement import Plan, weights_of


class Runner:
    """Owns the devices of a plan.

    Args:
        weights: every tensor of the graph as it lies in the file.
    """

    def __init__(self, plan: Plan, graph: Graph, weights: Mapping[str, Weight], devices: Sequence[Device]) -> None:
        self._devices = list(devices)
        given = graph.values.get("embeds")
        self._given_width = int(given.shape[1]) if given else 0
        self._scales = graph.values.get(SCALES)
        self._closing: list[Any] = []
        self._finder: Candidates | None = None
        self._stages = plan.stages(graph)
        self._executables: list[Any] = []
        states: dict[int, Any] = {}
        # (group, layer) of the whole graph -> where its rows are: a state, and the layer there.
        self._places: dict[tuple[str, int], list[tuple[Any, int]]] = {}
        self._groups = {group.name: group for group in graph.groups}
        try:
            for stage in self._stages:
                device = self._devices[stage.device]
                if stage.device not in states:
                    state = self._own(device.state(stage.graph.groups, plan.limits))
                    for place, layer in stage.places.items():
                        self._places.setdefault(place, []).append((state, layer))
                    needed = weights_of(self._stages, stage.device)
                    states[stage.device] = state, self._own(device.pack(Converted(weights, needed), needed))
                state, packed = states[stage.device]
                executable = device.compile(stage.graph, packed, state, plan.limits)
                self._executables.append(self._own(executable))
                if "logits" in stage.sends:
                    self._finder = getattr(device, "candidates", None)
        except BaseException:
            self.close()
            raise

    def run(
        self,
        step: Step,
        fetch: Sequence[str],
        embeds: Sequence[Array] = (),
        scales: Sequence[Array | None] = (),
        *,
        source: bool = False,
    ) -> dict[str, Array]:
        """Run all stages in order and return the named outputs.

        Args:
            embeds: rows that the step's ids below zero name.
            scales: those of each sequence's adapters.
            source: the step holds source texts: run the stages that read these instead.

        Raises:
            DeviceError: a device failed; the state of this step's sequences is lost.
        """
        parts = [part for part in zip(self._stages, self._executables, strict=True) if part[0].source == source]
        begun = {index: self._devices[index].begin(step) for index in {stage.device for stage, _ in parts}}
        live: dict[str, Array] = {}
        if self._given_width:
            live["embeds"] = _padded(embeds, step.n_tokens, self._given_width)
        if self._scales is not None:
            live[SCALES] = _repeated(scales, np.diff(step.seq_start), int(self._scales.shape[1]))
        for place, (stage, executable) in enumerate(parts):
            later = {name for after, _ in parts[place + 1 :] for name in after.receives}
            wanted = [n for n in stage.sends if n in fetch or n in later]
            inputs = {name: live[name] for name in stage.graph.inputs() if name in live}
            live.update(executable.run(begun[stage.device], inputs, wanted).wait())
        return {name: live[name] for name in fetch}

    def candidates(self, logits: Array, asks: Sequence[Ask | None]) -> Sequence[Highest | None]:
        """What is asked of each row, by one call; None where nothing is, or where the device cannot tell."""
        answers: list[Highest | None] = [None] * len(asks)
        asked = [(row, ask) for row, ask in enumerate(asks) if ask is not None]
        if self._finder is not None and asked:
            for (row, _), highest in zip(asked, self._finder(logits, asked), strict=True):
                answers[row] = highest
        return answers

    def layers(self, group: str) -> int:
        return len(self._groups[group].layers)

    def export(self, group: str, layer: int, block: int) -> Array:
        """The canonical rows of a block, f32 (rows, k width + v width), or the values of a slot."""
        state, place = self._places[group, layer][0]
        slots = self._groups[group].kind == "slots"
        rows: Array = state.export_slot(group, place, block) if slots else state.export_block(group, place, block)
        return rows

    def restore(self, group: str, layer: int, block: int, values: Array) -> None:
        """The other direction, on every device that has the layer.

        Raises:
            IndexError, ValueError: no such layer, or not its number of values.
        """
        shape = self._groups[group]
        if not 0 <= layer < len(shape.layers):
            raise IndexError(f"layer: got {layer}, want one of {len(shape.layers)}")
        width = shape.layers[layer].k + shape.layers[layer].v
        for state, place in self._places[group, layer]:
            if shape.kind == "slots":
                state.import_slot(group, place, block, values.reshape(width))
            else:
                state.import_block(group, place, block, values.reshape(shape.block_rows, width))

    def close(self) -> None:
        """Free everything, last made first."""
        for part in reversed(self._closing):
            part.close()
        self._closing = []
        for device in self._devices:
            device.close()
        self._devices = []

    def _own(self, part: Any) -> Any:
        self._closing.append(part)
        return part


def _padded(parts: Sequence[Array], tokens: int, width: int) -> Array:
    """The rows and then zeros, one row a token."""
    rows = np.zeros((tokens, width), np.float32)
    if parts:
        given = np.concatenate(parts)
        rows[: len(given)] = given
    return rows


def _repeated(scales: Sequence[Array | None], counts: Array, rank: int) -> Array:
    """Each sequence's scales, once for each of its tokens; zeros where there are none."""
    rows = np.zeros((int(counts.sum()), rank), np.float32)
    at = 0
    for scale, count in zip(scales, counts.tolist(), strict=False):
        if scale is not None:
            rows[at : at + count] = scale
        at += count
    return rows
