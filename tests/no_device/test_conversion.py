"""Weights of types that a device lacks: converted while packed, counted and shown by the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

import halflap
from halflap import loading, plugins
from halflap.device.conversion import CHUNK, Converted, convert, stand_ins
from halflap.device.interface import Weight
from halflap.device.reference import ReferenceDevice
from halflap.errors import ModelFormatError
from halflap.placement import Plan
from halflap.testing.drawing import dequantized, draw_weight
from halflap.testing.fake import FakeDevice


class Few(ReferenceDevice):
    """A reference device that reads few types, in place as a CPU does."""

    types: Mapping[str, str] = {"F32": "none", "F16": "none"}

    @property
    def info(self) -> Any:
        return evolve(super().info, id="few", rounding=self.types)

    def supports(self, node: Any, graph: Any) -> str | None:
        lacking = [v.dtype for n in node.inputs if n and (v := graph.values[n]).kind == "weight"]
        wrong = [dtype for dtype in lacking if dtype not in self.types]
        return f"type {wrong[0]}" if wrong else super().supports(node, graph)

    def estimate(self, graph: Any, limits: Any) -> Any:
        assert {graph.values[name].dtype for name in graph.weights()} <= set(self.types)
        report = super().estimate(graph, limits)
        return evolve(report, weights={"in place": report.weights["f32"]})

    def pack(self, weights: Any, graph: Any) -> Any:
        assert {weights[name].dtype for name in graph.weights()} <= set(self.types)
        return super().pack(weights, graph)


class OnlyF32(Few):
    types = {"F32": "none"}  # noqa: RUF012


@pytest.fixture
def few(request: pytest.FixtureRequest) -> Any:
    """Registers a device class as backend "few"."""

    class Backend:
        @halflap.hookimpl
        def register_backends(self, register: Any) -> None:
            register("few", lambda: self)

        def devices(self) -> list[Any]:
            return [request.param()]

    plugins.register(Backend(), "few")
    yield
    plugins.unregister("few")


@pytest.mark.parametrize(
    ("few", "wanted"), [(Few, "F16"), (OnlyF32, "F32"), (lambda: FakeDevice(Few(), id="few"), "F16")], indirect=["few"]
)
def test_a_model_of_a_type_that_the_device_lacks_runs_there(
    few: None, wanted: str, shared: Path, tmp_path: Path
) -> None:
    path = shared / "oracle" / "quant" / "quant-Q4_0.gguf"
    plan = halflap.plan(path, devices=["few"], kv_type="f32", ctx=64)
    (placed,) = plan.placed
    assert placed.stand_ins == {"Q4_0": wanted, "Q6_K": wanted}
    assert placed.weights[f"Q4_0 as {wanted}"] > placed.weights[f"Q6_K as {wanted}"] > 0
    plan.save(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    stored = np.load(path.with_suffix(".npz"))
    with halflap.load(path, plan=plan) as model:
        found = model.logits(stored["tokens"].tolist())
    tolerance = 1e-4 if wanted == "F32" else 2e-3
    assert np.abs(found - stored["logits_dequant"]).max() < tolerance * np.abs(stored["logits_dequant"]).max()


@pytest.mark.parametrize("few", [Few], indirect=True)
def test_what_is_converted_is_counted_apart_and_no_longer_in_place(few: None, shared: Path) -> None:
    path = shared / "oracle" / "quant" / "quant-Q4_0.gguf"
    with loading.open_model(path) as file:
        sizes = Counter[str]()
        for name in loading.open_architecture(file).graph.weights():
            info = file.tensors[name]
            form = "in place" if info.type in Few.types else f"{info.type} as F16"
            sizes[form] += 4 * info.n_elements  # as this device counts
    (placed,) = halflap.plan(path, devices=["few"], ctx=64).placed
    assert placed.weights == sizes


def test_every_type_has_a_stand_in_that_holds_its_values() -> None:
    rng = np.random.default_rng(2)
    for name in plugins.names("weight_types"):
        kind = plugins.get("weight_types", name)
        weight = draw_weight("w", name, (3, max(kind.block, 32)), rng)
        made = convert(weight, kind.stand_in)
        values, wanted = dequantized(made), dequantized(weight)
        assert made.dtype == kind.stand_in
        assert np.abs(values - wanted).max() <= 2.0**-11 * np.abs(wanted).max()


def test_long_tensors_are_converted_in_parts_and_only_when_asked_for() -> None:
    rng = np.random.default_rng(3)
    weight = draw_weight("w", "Q8_0", (3, CHUNK), rng)
    np.testing.assert_array_equal(dequantized(convert(weight, "F32")), dequantized(weight))
    asked = []

    class Watched(dict[str, Weight]):
        def __getitem__(self, name: str) -> Weight:
            asked.append(name)
            return super().__getitem__(name)

    from halflap.graph.builder import GraphBuilder

    g = GraphBuilder("one", {"w": ("F16", (3, CHUNK)), "v": ("F32", (8,))})
    g.segment("embed")
    g.output(g.embed(g.input("ids", "i32", "T"), g.weight("w")), "out")
    given = Converted(Watched(w=weight, v=draw_weight("v", "F32", (8,), rng)), g.finish())
    assert asked == []
    assert given["w"].dtype == "F16"
    assert asked == ["w"]
    assert given["v"] is not None
    assert list(given) == ["w", "v"]
    assert len(given) == 2


def test_a_value_beyond_f16_is_refused_by_name() -> None:
    blocks = np.zeros((2, 34), np.uint8)
    blocks[1, :3] = [0xFF, 0x7B, 2]  # a scale of 65504, and a level of 2
    with pytest.raises(ModelFormatError, match=r"weight 'big' of type Q8_0: got a value of 131008, want at most 65504"):
        convert(Weight("big", "Q8_0", (2, 32), blocks.reshape(-1)), "F16")


def test_a_device_without_any_stand_in_leaves_the_type_alone() -> None:
    from halflap.graph.builder import GraphBuilder

    g = GraphBuilder("one", {"w": ("Q4_0", (3, 32))})
    g.segment("embed")
    g.output(g.embed(g.input("ids", "i32", "T"), g.weight("w")), "out")
    assert stand_ins(g.finish(), evolve(ReferenceDevice().info, rounding={"BF16": "none"})) == {}
