"""Models read otherwise than their file says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from tests.models.oracle import oracle_file
from tests.no_device.cli.shell import halflap as shell

import halflap
from halflap import loading
from halflap.architectures import loading as architectures
from halflap.architectures.changes import Changes, parse_override
from halflap.device.reference import ReferenceDevice
from halflap.errors import InvalidRequestError, ModelFormatError
from halflap.graph.ir import Graph
from halflap.testing.rig import Rig, Tables, limits_for


def changed(shared: Path, case: str, **changes: Any) -> Graph:
    with loading.open_model(oracle_file(shared, case)) as file:
        return loading.open_architecture(file, Changes(**changes)).graph


def test_overrides_reach_the_graph(shared: Path) -> None:
    graph = changed(shared, "mixtral-base", overrides={"llama.expert_used_count": 1, "llama.rope.freq_base": 500.0})
    assert {n.attributes["used"] for n in graph.nodes() if n.op == "route"} == {1}
    (frequencies,) = {n.attributes["frequencies"] for n in graph.nodes() if n.op == "rope"}
    assert frequencies[1] == pytest.approx(500 ** (-2 / (2 * len(frequencies))))


def test_a_scaling_rule_may_be_put_on(shared: Path) -> None:
    plain, scaled = changed(shared, "qwen3-base"), changed(shared, "qwen3-base", overrides={
        "qwen3.rope.scaling.type": "linear", "qwen3.rope.scaling.factor": 4.0})  # fmt: skip
    before, after = (next(n.attributes["frequencies"] for n in g.nodes() if n.op == "rope") for g in (plain, scaled))
    assert np.allclose(np.divide(before, 4), after)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"llama.expert_used_cuont": 1}, r"llama.expert_used_cuont.*Did you mean 'llama.expert_used_count'"),
        ({"mystery": 1}, "override"),
        ({"tokenizer.ggml.add_bos_token": 1}, "a bool"),
        ({"qwen3.block_count": 2}, "override"),
    ],
)
def test_an_override_that_nobody_reads_is_named(shared: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        changed(shared, "mixtral-base", overrides=overrides)


@pytest.mark.parametrize("value", [0, -1, "two", 2.5, True, 10**12])
def test_an_override_of_a_wrong_kind_names_its_key(shared: Path, value: object) -> None:
    with pytest.raises(ModelFormatError, match=r"llama\.expert_used_count"):
        changed(shared, "mixtral-base", overrides={"llama.expert_used_count": value})


def test_override_texts() -> None:
    assert parse_override("a.b=int:-3") == ("a.b", -3)
    assert parse_override("a=float:1e3") == ("a", 1000.0)
    assert parse_override("a=bool:false") == ("a", False)
    assert parse_override("a=str:x=y:z") == ("a", "x=y:z")
    for text in ("a", "a=3", "=int:3", "a=int:x", "a=int:1.5", "a=bool:yes", "a=list:1"):
        with pytest.raises(InvalidRequestError, match=re.escape(text)):
            parse_override(text)


def logits(graph: Graph, weights: dict[str, Any], ids: Sequence[int]) -> np.ndarray[Any, Any]:
    limits = evolve(limits_for(graph, kv="f32"), tokens=64, rows=64)
    with Rig(ReferenceDevice(), graph, weights, limits) as rig:
        step = Tables(graph, limits, np.random.default_rng(0)).step({0: list(ids)})
        return np.asarray(rig.run(step)["logits"])


def without_layer(name: str, layer: int) -> str | None:
    """A tensor's name in a file that never had the layer."""
    found = re.match(r"blk\.(\d+)\.(.*)", name)
    if not found or int(found[1]) < layer:
        return name
    return None if int(found[1]) == layer else f"blk.{int(found[1]) - 1}.{found[2]}"


@pytest.mark.parametrize("case", ["llama-base", "qwen3moe-base"])
def test_a_skipped_layer_was_never_there(shared: Path, case: str) -> None:
    with loading.open_model(oracle_file(shared, case)) as file:
        count = file.metadata[f"{file.architecture}.block_count"]
        weights = loading.weights_of(file)
        for layer in range(count):
            graph = loading.open_architecture(file, Changes(skip_layers=(layer,))).graph
            names = {new: name for name in weights if (new := without_layer(name, layer))}
            metadata = {**file.metadata, f"{file.architecture}.block_count": count - 1}
            tensors = {new: (file.tensors[name].type, file.tensors[name].shape) for new, name in names.items()}
            wanted = architectures.load(file.architecture, metadata, tensors).graph
            others = {new: evolve(weights[name], name=new) for new, name in names.items()}
            ids = range(40, 57)
            assert np.array_equal(logits(graph, weights, ids), logits(wanted, others, ids))
            assert [len(g.layers) for g in graph.groups] == [count - 1]


@pytest.mark.parametrize("case", ["gemma3-base", "qwen35-dense", "gemma4-moe", "granitehybrid-base", "gpt2-base"])
def test_layers_of_every_kind_can_go(shared: Path, case: str) -> None:
    with loading.open_model(oracle_file(shared, case)) as file:
        layers = [int(s.name[6:]) for s in loading.open_architecture(file).graph.segments if s.name[:6] == "layer."]
        weights = loading.weights_of(file)
        for skipped in ((0,), (layers[-1],), tuple(layers[:-1])):
            graph = loading.open_architecture(file, Changes(skip_layers=skipped)).graph
            assert np.isfinite(logits(graph, weights, range(5, 9))).all()


def test_layers_that_are_not_there_are_refused(shared: Path) -> None:
    for layer in (-1, 99):
        with pytest.raises(InvalidRequestError, match="skip_layers"):
            changed(shared, "llama-base", skip_layers=(layer,))


def test_load_and_shell_take_changes(shared: Path) -> None:
    path = oracle_file(shared, "mixtral-base")
    prompt = list(range(30, 40))
    with (
        halflap.load(path) as plain,
        halflap.load(path, overrides={"llama.expert_used_count": 1}, skip_layers=[0]) as other,
    ):
        assert not np.allclose(plain.logits(prompt), other.logits(prompt))
    done = shell("plan", str(path), "--skip-layers", "0", "--json")
    assert done.code == 0
    assert '"layer.0"' not in done.out
    done = shell("inspect", str(path), "--graph", "--override-kv", "llama.expert_used_count=int:1")
    assert done.code == 0
    assert "used=1" in done.out
