"""What a caller can get wrong is an error with a text, never a crash."""

from __future__ import annotations

import os
import re
from typing import Any

import attrs
import numpy as np
import pytest

import halflap
from halflap.device._abi import ffi
from halflap.device.native import NativeStep, new_error, string
from halflap.errors import DeviceError, DeviceMemoryError, ModelClosedError, UnsupportedOpError
from halflap.graph.ir import Graph, Node, Segment
from halflap.graph.step import Copy, GroupStep, Limits
from halflap.testing.families.compressed_cases import compressed_cases
from halflap.testing.families.encoder_cases import encoder_cases
from halflap.testing.families.op import one_op
from halflap.testing.families.op_cases import op_cases
from halflap.testing.families.recurrent_cases import recurrent_cases
from halflap.testing.rig import Rig, limits_for
from tests.any_device.cpu.kit import Machine, builder, random_weight, simple_step
from tests.any_device.cpu.test_row_invariance import small_model

INVALID, UNSUPPORTED = 1, 2


@pytest.fixture
def machine(cpu: Any) -> Any:
    graph, weights = small_model("Q4_K")
    with Machine(cpu, graph, weights, tokens=8, sequences=2, blocks=4, context=100) as made:
        yield made


def arrays(**changed: Any) -> dict[str, Any]:
    table = {
        "table_start": np.array([0, 4], np.int32), "blocks": np.arange(4, dtype=np.int32),
        "first_token": np.array([0], np.int32), "length": np.array([3], np.int32),
    }  # fmt: skip
    return {name: np.array(changed.get(name, value), np.int32) for name, value in table.items()}


def refuse(machine: Machine, message: str, step: Any) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        machine.run(step)
    assert caught.value.status == "invalid"
    assert re.search("got .* want ", str(caught.value))


def step_with(group: dict[str, Any] | None = None, **changed: Any) -> Any:
    step = simple_step(3, ids=[1, 2, 3], groups=["kv"], blocks=4)
    return attrs.evolve(step, groups={"kv": GroupStep(**arrays(**(group or {})))}, **changed)


def ints(*values: int) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("message", "group", "changed"),
    [
        ("token id", {}, {"ids": ints(1, 50, 0)}),
        ("token id", {}, {"ids": ints(1, -1, 0)}),
        ("block id", {"blocks": [0, 1, 2, 4]}, {}),
        ("block id", {"blocks": [0, -1, 2, 3]}, {}),
        ("table_start", {"table_start": [0, 5]}, {}),
        ("table_start", {"table_start": [3, 1]}, {}),
        ("length", {"length": [129]}, {}),
        ("length", {"length": [101]}, {}),
        ("first_token", {"first_token": [5]}, {}),
        ("first_token", {"first_token": [-32]}, {}),
        ("index", {"length": [2]}, {}),
        ("index", {}, {"index": ints(0, 2, 2)}),
        ("index", {}, {"index": ints(0, -1, 2)}),
        ("seq_start", {}, {"seq_start": ints(0, 2)}),
        ("seq_start", {}, {"seq_start": ints(1, 3)}),
        ("rows", {}, {"rows": ints(3)}),
        ("rows", {}, {"rows": ints(*range(3), *[0] * 6)}),
        ("copy", {}, {"copies": (Copy("kv", 0, 4),)}),
        ("copy", {}, {"copies": (Copy("kv", -1, 0),)}),
    ],
)
def test_a_step_that_would_lead_out_of_bounds(machine: Machine, message: str, group: Any, changed: Any) -> None:
    refuse(machine, message, step_with(group, **changed))
    assert np.isfinite(machine.run(step_with())["y"]).all()


def test_more_tokens_or_sequences_than_the_limits(machine: Machine) -> None:
    refuse(machine, "tokens", simple_step(9, ids=[0] * 9, groups=["kv"], blocks=4))


def test_inputs_of_another_size_or_absent(cpu: Any) -> None:
    g = builder([])
    g.segment("all")
    g.output(g.scale(g.input("x", "f32", "T", 4), factor=2.0), "y")
    with Machine(cpu, g.finish()) as machine:
        for given in ({}, {"x": np.zeros((2, 4), np.float32)}, {"x": np.zeros((3, 5), np.float32)}):
            with pytest.raises(DeviceError):
                machine.run(simple_step(3), given)


def test_weights_whose_bytes_do_not_fit_their_shape(cpu: Any) -> None:
    weight = random_weight("w", "Q4_K", (4, 256))
    g = builder([weight])
    g.segment("all")
    g.output(g.linear(g.input("x", "f32", "T", 256), g.weight("w")), "y")
    graph = g.finish()
    for broken in (
        attrs.evolve(weight, data=weight.data[:-1]),
        attrs.evolve(weight, shape=(2, 512)),
        attrs.evolve(weight, dtype="Q5_K"),
    ):
        with pytest.raises(DeviceError, match="weight w"):
            cpu.pack({"w": broken}, graph)


def changed_graph(**attributes: Any) -> Graph:
    g = builder([])
    g.segment("all")
    g.output(g.scale(g.input("x", "f32", "T", 4), factor=2.0), "y")
    graph = g.finish()
    (node,) = graph.nodes()
    node = Node(
        attributes.pop("op", node.op), attributes.pop("version", 1), node.inputs, node.outputs,
        {**node.attributes, **attributes},
    )  # fmt: skip
    return attrs.evolve(graph, segments=(Segment("all", (node,)),))


def test_unknown_ops_versions_attributes_and_types_are_unsupported(cpu: Any) -> None:
    for graph in (changed_graph(op="fourier"), changed_graph(version=2), changed_graph(extra=1)):
        (node,) = graph.nodes()
        assert "got" in (cpu.supports(node, graph) or "")
        with pytest.raises(UnsupportedOpError):
            cpu.estimate(graph, Limits(1, 1, 1, 32, {}))
    (node,) = changed_graph().nodes()
    weight = random_weight("w", "Q4_K", (4, 256))
    g = builder([attrs.evolve(weight, dtype="I16")])
    g.segment("all")
    g.output(g.linear(g.input("x", "f32", "T", 256), g.weight("w")), "y")
    graph = g.finish()
    (node,) = graph.nodes()
    assert "I16" in cpu.supports(node, graph)


def test_unknown_kv_types_and_too_large_pools(cpu: Any) -> None:
    graph, _ = small_model("F32")
    with pytest.raises(UnsupportedOpError, match="q9_9"):
        cpu.state(graph.groups, Limits(1, 1, 1, 32, {"kv": 1}, ("q9_9", "f16")))
    with pytest.raises(DeviceMemoryError) as caught:
        cpu.state(graph.groups, Limits(1, 1, 1, 32, {"kv": 2**31 - 1}))
    assert caught.value.wanted > caught.value.free > 0


@pytest.mark.parametrize(("key", "value"), [("threads", "0"), ("threads", "two"), ("threads", ""), ("turbo", "1")])
def test_options_are_checked(open_cpu: Any, key: str, value: str) -> None:
    with pytest.raises(DeviceError, match="got"):
        open_cpu(**{key: value})


@pytest.mark.parametrize("name", ["sse9", "AVX2", "avx"])
def test_an_unknown_instruction_set_fails_loudly(open_cpu: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HALFLAP_CPU_ISA", name)
    with pytest.raises(UnsupportedOpError, match="portable"):
        open_cpu()


def test_null_pointers_and_short_structs_are_refused(cpu: Any) -> None:
    api, error, null = cpu.api, new_error(), ffi.NULL
    info = ffi.new("hl_device_info *")
    info.struct_size = 8
    assert api.device_info(cpu.handle, info, error) == INVALID
    assert api.device_info(cpu.handle, null, error) == INVALID
    assert api.device_count(null, error) == INVALID
    assert api.device_open(1, null, 0, ffi.new("hl_device **"), error) == INVALID
    assert api.estimate(cpu.handle, null, null, null, error) == INVALID
    assert api.run(null, null, null, error) == INVALID
    assert api.fence_wait(null, 0, error) == INVALID
    assert api.device_count(null, null) == INVALID  # even without an error to fill
    graph = ffi.new("hl_graph *")
    graph.struct_size = ffi.sizeof("hl_graph")
    assert api.supports(cpu.handle, graph, 0, error) == INVALID
    assert b"got" in ffi.string(error.text)


def test_exports_are_checked(machine: Machine) -> None:
    rows = ffi.new("float[]", 32 * 256)
    api, error, state = machine.device.api, new_error(), machine.state.handle
    for place in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, 4), (0, 0, -1)):
        assert api.state_export(state, *place, rows, error) == INVALID
        assert api.state_import(state, *place, rows, error) == INVALID
    assert api.state_export(state, 0, 0, 0, ffi.NULL, error) == INVALID


def test_a_graph_with_wild_indices_is_refused(cpu: Any) -> None:
    from halflap.device.graph_image import GraphImage

    graph, _ = small_model("F32")
    for change in ("input", "output", "outputs", "dims", "again"):
        image = GraphImage(graph)
        native, node = image.graph, image.graph.nodes[1]  # what is wild has as many elements as its count says
        if change == "input":
            node.inputs = keep = ffi.new("int32_t[]", [9999] * node.n_inputs)
        elif change == "output":
            node.outputs = keep = ffi.new("int32_t[]", [-5] * node.n_outputs)
        elif change == "outputs":
            native.outputs = keep = ffi.new("int32_t[]", [9999] * native.n_outputs)
        elif change == "again":
            assert node.n_outputs == native.nodes[0].n_outputs
            node.outputs = keep = native.nodes[0].outputs
        else:
            native.values[1].dims[0], keep = -7, None
        assert cpu.api.supports(cpu.handle, native, 0, new_error()) == INVALID, change
        del keep


@pytest.mark.parametrize(
    "op",
    ["attention", "compress", "compressed_attention", "glu", "grouped_linear", "latent_attention", "layer_norm",
     "mix_streams", "moe", "rope", "route", "select_rows", "self_attention", "split", "stream_weights"],
)  # fmt: skip
def test_wild_attributes_and_missing_inputs_are_refused_or_compiled(cpu: Any, op: str) -> None:
    rng, refused = np.random.default_rng(0), 0
    for case in [
        case
        for case in (*op_cases(), *encoder_cases(), *recurrent_cases(), *compressed_cases())
        if case.facts["op"] == op
    ][:12]:
        graph, weights = one_op(case.facts, rng)
        node = next(n for n in graph.nodes() if n.op == op)
        changes: list[Node] = [
            attrs.evolve(node, inputs=tuple("" if i == j else name for j, name in enumerate(node.inputs)))
            for i in range(len(node.inputs))
        ]
        for name, value in node.attributes.items():
            wild = {int: (-1, 0, 7, 1 << 40, -(1 << 62)), str: ("", "?")}.get(type(value), ())
            changes += [attrs.evolve(node, attributes={**node.attributes, name: v}) for v in wild]
        for changed in changes:
            wrong = attrs.evolve(graph, segments=(Segment("layer.0", (changed,)),), outputs=changed.outputs)
            if cpu.supports(changed, wrong) is None:
                Rig(cpu, wrong, weights, limits_for(wrong, kv=case.facts["kv"])).close()
            else:
                refused += 1
    assert refused


def test_after_a_fork_every_call_says_so(machine: Machine) -> None:
    step = NativeStep(step_with())
    pid = os.fork()
    if pid == 0:
        error = new_error()
        status = machine.device.api.device_info(machine.device._handle, ffi.new("hl_device_info *"), error)
        machine.device.api.state_close(machine.state.handle)  # leaves the parent's things alone
        try:
            machine.device.probe()
        except ModelClosedError:
            os._exit(0 if status == 7 and b"process" in ffi.string(error.text) else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert np.isfinite(machine.executable.run(step, {}, ["y"]).wait()["y"]).all()


def test_the_device_describes_itself(cpu: Any) -> None:
    info = cpu.info
    assert info.id == "cpu"
    assert "row_invariant" in info.features
    assert info.rounding["F32"] == "none"
    assert info.rounding["Q4_K"] == "i8x256"
    assert "2 threads" in info.about
    assert 0 < info.memory_free <= info.memory_total
    assert string(cpu.probe().id) == "cpu"


def test_every_op_of_the_bundled_model_runs_here() -> None:
    plan = halflap.plan("starter", devices=["cpu"], ctx=512)
    assert plan.devices == ("cpu",)
    assert plan.notes == ()
