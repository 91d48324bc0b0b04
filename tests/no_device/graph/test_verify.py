"""A graph is broken in one place at a time; the verifier names the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from tests.models.oracle import CASES, ENCODER_CASES, EXTRA_CASES, oracle_file

from halflap import loading
from halflap.errors import HalflapError
from halflap.graph.ir import Graph, LayerWidth, Node, Segment, StateGroup
from halflap.graph.verify import verify


@pytest.fixture
def graph(shared: Path) -> Graph:
    with loading.open_model(shared / "oracle" / "families" / "gemma3-base.gguf") as file:
        return loading.open_architecture(file).graph


@pytest.mark.parametrize("case", [*CASES, *ENCODER_CASES, *EXTRA_CASES])
def test_every_architecture_writes_sound_graphs(shared: Path, case: str) -> None:
    with loading.open_model(oracle_file(shared, case)) as file:
        verify(loading.open_architecture(file).graph)


def changed(graph: Graph, which: str, **change: object) -> Graph:
    """The graph with the first node of op `which` changed."""
    done = False

    def maybe(node: Node) -> Node:
        nonlocal done
        if done or node.op != which:
            return node
        done = True
        attributes = change.get("attributes")
        fields = {
            **change,
            **({"attributes": {**node.attributes, **attributes}} if isinstance(attributes, dict) else {}),
        }
        return evolve(node, **fields)

    return evolve(graph, segments=tuple(Segment(s.name, tuple(map(maybe, s.nodes))) for s in graph.segments))


BREAKS: dict[str, Callable[[Graph], Graph]] = {
    "nothing made before it": lambda g: evolve(g, segments=g.segments[::-1]),
    "version": lambda g: changed(g, "linear", version=9),
    "'linaer'": lambda g: changed(g, "linear", op="linaer"),
    "inputs": lambda g: changed(g, "rms_norm", inputs=("ids",)),
    "attributes": lambda g: changed(g, "scale", attributes={"colour": 1}),
    "results": lambda g: changed(g, "linear", inputs=("layer.0.rms_norm_0", "blk.0.attn_k.weight", "")),
    "layer 99": lambda g: changed(g, "attention", attributes={"layer": 99}),
    "state row": lambda g: evolve(
        g, groups=tuple(StateGroup(s.name, (LayerWidth(1, 1),) * 9, s.window) for s in g.groups)
    ),
    "window": lambda g: changed(g, "attention", attributes={"window": 3}),
    "no op that makes it": lambda g: evolve(g, outputs=("logits", "dreams")),
}


@pytest.mark.parametrize("message", BREAKS)
def test_a_broken_graph_is_refused(graph: Graph, message: str) -> None:
    verify(graph)
    with pytest.raises(HalflapError, match=message):
        verify(BREAKS[message](graph))


@pytest.mark.parametrize("case", [*CASES, *ENCODER_CASES, *EXTRA_CASES])
def test_every_tensor_of_a_file_is_read(shared: Path, case: str) -> None:
    with loading.open_model(oracle_file(shared, case)) as file:
        assert set(loading.open_architecture(file).graph.weights()) == set(file.tensors)


def test_an_encoder_that_takes_parts_of_sequences_is_refused(shared: Path) -> None:
    with loading.open_model(shared / "oracle" / "families" / "bert-base.gguf") as file:
        graph = loading.open_architecture(file).graph
    with pytest.raises(HalflapError, match=r"'self_attention'.* whole ones"):
        verify(evolve(graph, whole=False))


SLOT_BREAKS: dict[str, Callable[[Graph], Graph]] = {
    "one of slots": lambda g: changed(g, "conv_state", attributes={"group": "kv"}),
    "one of blocks": lambda g: changed(g, "attention", attributes={"group": "recurrent"}),
    "384 elements": lambda g: changed(g, "delta_rule", attributes={"layer": 0}),
    "two ops": lambda g: changed(g, "conv_state", attributes={"layer": 2}),
}


@pytest.mark.parametrize("message", SLOT_BREAKS)
def test_a_broken_graph_with_slots_is_refused(shared: Path, message: str) -> None:
    with loading.open_model(shared / "oracle" / "families" / "qwen35-dense.gguf") as file:
        graph = loading.open_architecture(file).graph
    with pytest.raises(HalflapError, match=message):
        verify(SLOT_BREAKS[message](graph))
