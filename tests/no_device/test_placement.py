"""Placement: strict wishes, plans as data, memory that is not there, ops that nobody runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from attrs import evolve

import halflap
from halflap import plugins
from halflap.device.reference import ReferenceDevice
from halflap.errors import NotRegisteredError, PlanError, UnsupportedOpError
from halflap.placement import Plan, Wishes, make_plan, parse_numbers


@pytest.fixture
def file(shared: Path) -> Path:
    return shared / "oracle" / "families" / "gemma3-base.gguf"


@pytest.mark.parametrize(
    ("text", "count", "char"),
    [
        ("63，37", 2, 2), ("63;37", 2, 2), ("1,,2", None, 2), (",1", None, 0), ("1,2,3", 2, 3), ("1", 2, 1),
        ("0,0", 2, 0), ("-1,2", 2, 0),
    ],
)  # fmt: skip
def test_numbers_are_read_strictly(text: str, count: int | None, char: int) -> None:
    with pytest.raises(PlanError) as raised:
        parse_numbers("--tensor-split", text, count)
    assert raised.value.char == char
    assert "--tensor-split" in str(raised.value)


def test_good_numbers_are_read() -> None:
    assert parse_numbers("x", "63,37.5", 2) == (63.0, 37.5)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"devices": ["reference"], "split": [1, 2]}, "one per device"),
        ({"devices": ["reference", "reference"], "layers": [1, 2]}, "as many as the model has"),
        ({"devices": ["reference"], "split": [-1.0]}, "split"),
        ({"devices": ["reference:7"]}, "'reference:7'"),
        ({"devices": ["reference"], "ctx": 0}, "ctx"),
        ({"devices": ["reference"], "kv_type": "f8"}, "'f8'"),
        ({"devices": ["reference"], "pins": {"*": "moon"}}, "'moon'"),
        ({"devices": ["reference"], "kv_bytes": 10}, "kv_bytes"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(file: Path, wishes: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        halflap.plan(file, **wishes)  # type: ignore[arg-type]


def test_an_unknown_backend_is_named(file: Path) -> None:
    with pytest.raises(NotRegisteredError, match="'warp'"):
        halflap.plan(file, devices=["warp"])


def test_layers_follow_the_shares(file: Path) -> None:
    plan = halflap.plan(file, devices=["reference", "reference"], split=[2, 1])
    first, second = (placed.segments for placed in plan.placed)
    assert first == ("embed", "layer.0", "layer.1", "layer.2", "layer.3")
    assert second == ("layer.4", "layer.5", "head")
    counted = halflap.plan(file, devices=["reference", "reference"], layers=[1, 5])
    assert counted.placed[0].segments == ("embed", "layer.0")


def test_pins_move_single_tensors_and_answers_stay_right(file: Path) -> None:
    pins = {"*ffn_down*": "reference"}
    plan = halflap.plan(file, devices=["reference", "reference"], layers=[0, 6], pins=pins, kv_type="f32")
    stored = np.load(file.with_suffix(".npz"))
    with halflap.load(file, plan=plan) as model:
        found = model.logits(stored["tokens"].tolist())
    assert np.abs(found - stored["logits_hf"]).max() < 1e-4 * np.abs(stored["logits_hf"]).max()


def test_a_plan_survives_the_disk(file: Path, tmp_path: Path) -> None:
    plan = halflap.plan(file, devices=["reference"], ctx=64)
    plan.save(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    with halflap.load(file, plan=tmp_path / "plan.json") as model:
        assert model.plan.ctx == 64
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(PlanError, match=r"bad\.json"):
        Plan.read(tmp_path / "bad.json")


def test_a_plan_for_another_model_is_refused(file: Path, shared: Path) -> None:
    plan = halflap.plan(file, devices=["reference"])
    with pytest.raises(PlanError, match="made for this model"):
        halflap.load(shared / "oracle" / "families" / "llama-base.gguf", plan=plan)


class Small(ReferenceDevice):
    """A reference device with little memory."""

    free = 1 << 20
    refused: str | None = None

    @property
    def info(self):  # type: ignore[no-untyped-def]
        return evolve(super().info, id="small", memory_free=self.free, largest_allocation=self.free)

    def supports(self, node, graph):  # type: ignore[no-untyped-def]
        return "too hard" if node.op == self.refused else super().supports(node, graph)


def architecture(file: Path):  # type: ignore[no-untyped-def]
    from halflap import loading

    with loading.open_model(file) as opened:
        return loading.open_architecture(opened)


def test_a_device_that_lacks_bytes_is_named_with_how_many(file: Path) -> None:
    found = architecture(file)
    with pytest.raises(PlanError, match="lacks") as raised:
        make_plan("x", found.graph, found.context, Wishes(ctx=512), [Small()])
    assert raised.value.device == "small"
    assert raised.value.missing
    assert raised.value.missing > 0


def test_the_context_gives_way_before_the_plan_fails(file: Path) -> None:
    found, device = architecture(file), Small()
    device.free = 14 << 20
    plan = make_plan("x", found.graph, 65536, Wishes(), [device])
    assert 512 <= plan.ctx < 65536
    assert plan.placed[0].total <= device.free
    assert any("shrunk" in note for note in plan.notes)


def test_a_cap_holds(file: Path) -> None:
    found = architecture(file)
    with pytest.raises(PlanError, match="lacks"):
        make_plan("x", found.graph, found.context, Wishes(caps=(1000,), ctx=64), [ReferenceDevice()])


def test_an_op_a_device_lacks_runs_elsewhere_visibly_or_is_refused(file: Path) -> None:
    found, device = architecture(file), Small()
    device.free, device.refused = 1 << 30, "glu"
    plan = make_plan("x", found.graph, found.context, Wishes(ctx=64), [device])
    assert plan.devices == ("small", "reference")
    assert any("glu" in note and "too hard" in note for note in plan.notes)
    with pytest.raises(UnsupportedOpError, match="too hard"):
        make_plan("x", found.graph, found.context, Wishes(ctx=64, strict=True), [device])


def test_slots_are_counted_beside_the_kv_cache(shared: Path) -> None:
    path = shared / "oracle" / "families" / "qwen35-dense.gguf"
    plan = halflap.plan(path, devices=["reference"], ctx=64, kv_bytes=1 << 16)
    graph = architecture(path).graph
    per_sequence = 4 * sum(layer.k for layer in graph.group("recurrent").layers)
    assert plan.limits.slots == {"recurrent": 48}
    assert plan.placed[0].slots == 48 * per_sequence
    assert plan.placed[0].state == plan.kv_bytes + plan.placed[0].slots
    assert plan.kv_bytes <= 1 << 16


def test_a_model_without_attention_keeps_as_many_full_contexts_as_it_has_slots(shared: Path) -> None:
    plan = halflap.plan(shared / "oracle" / "families" / "mamba2-base.gguf", devices=["reference"])
    assert plan.kv_bytes == 0
    assert plan.sequences_at_full_length == 16
    assert plan.placed[0].state == plan.placed[0].slots


def test_slots_give_way_before_the_plan_fails(shared: Path) -> None:
    path = shared / "oracle" / "families" / "mamba2-base.gguf"
    found, device = architecture(path), Small()
    whole = make_plan("x", found.graph, 64, Wishes(ctx=64), [ReferenceDevice()])
    device.free = whole.placed[0].total - whole.placed[0].slots // 2 - 1
    plan = make_plan("x", found.graph, 64, Wishes(ctx=64), [device])
    assert plan.limits.slots == {"recurrent": 12}
    assert any("12 sequences at once" in note for note in plan.notes)
    device.free = whole.placed[0].total - whole.placed[0].slots
    with pytest.raises(PlanError, match="lacks"):
        make_plan("x", found.graph, 64, Wishes(ctx=64), [device])


def test_every_backend_is_listed_with_a_priority_below_or_above_zero() -> None:
    facts = {entry.name: entry.facts for entry in plugins.entries("backends")}
    assert facts["reference"]["priority"] < 0
