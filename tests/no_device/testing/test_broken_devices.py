"""The suite catches what it is for: a device broken in one way fails, and a whole one does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from halflap.device import reference
from halflap.device.reference import ReferenceDevice, ReferenceExecutable
from halflap.errors import DeviceLostError
from halflap.graph import ops
from halflap.graph import reference as definitions
from halflap.testing import FakeDevice, cases, run


class Device(ReferenceDevice):
    """The reference device with some of its parts replaced.

    Args:
        info: fields of DeviceInfo to say otherwise.
        before: what happens to a step before it runs.
        after: what happens to the fetched values.
        names: functions of the instance to replace.
    """

    def __init__(
        self,
        info: Mapping[str, Any] | None = None,
        before: Callable[[Any], Any] | None = None,
        after: Callable[[dict[str, Any], Any], dict[str, Any]] | None = None,
        **names: Any,
    ) -> None:
        self._info, self.before, self.after = info or {}, before, after
        self.allocated = 0
        for name, function in names.items():
            setattr(self, name, function)

    @property
    def info(self) -> Any:
        return evolve(super().info, **self._info)

    def compile(self, *arguments: Any) -> Any:
        device, inner = self, super().compile(*arguments)

        class Executable:
            def run(self, begun: Any, inputs: Mapping[str, Any], fetch: Sequence[str]) -> Any:
                fence = inner.run(device.before(begun) if device.before else begun, inputs, fetch)
                return type(fence)(device.after(dict(fence.wait()), begun)) if device.after else fence

            def close(self) -> None:
                inner.close()

        return Executable()


def failing(device: Any, only: str) -> list[str]:
    return [case.name for case in cases(device.info, only) if not run(case, device).ok]


def noise(values: dict[str, Any], step: Any) -> dict[str, Any]:
    """A result that depends on how many tokens the step has."""
    return {n: v * np.float32(1 + 1e-6 * step.n_tokens) if v.dtype == np.float32 else v for n, v in values.items()}


def patched(name: str, change: Callable[..., Any]) -> dict[str, Any]:
    return {"name": name, "change": change}


OPS: list[tuple[str, str, Callable[..., Any]]] = [
    ("no window", "op/attention/window-*", lambda f, *a, **k: f(*a, **{**k, "window": 0})),
    ("no softcap", "op/attention/softcap", lambda f, *a, **k: f(*a, **{**k, "softcap": 0.0})),
    ("no sinks", "op/attention/sinks", lambda f, c, q, k, v, s, **a: f(c, q, k, v, None, **a)),
    ("heads swapped", "op/attention/6over2*", lambda f, *a, **k: f(*a, **k)[:, ::-1]),
    ("other layout", "op/rope/half-*", lambda f, *a, **k: f(*a, **{**k, "layout": "interleaved"})),
    ("no factors", "op/rope/*factors*", lambda f, c, x, factors, **a: f(c, x, None, **a)),
    ("one norm for all heads", "op/rms_norm/T3-*", lambda f, x, w, **a: f(x, None, **{**a, "groups": 1})),
    ("first bias forgotten", "op/linear/bias", lambda f, x, w, b: f(x, w, None)),
    ("softmax once more", "op/route/softmax_chosen-*", lambda f, *a, **k: f(*a, **{**k, "gating": "softmax"})),
    ("first expert only", "op/moe/T17-1of5", lambda f, x, i, *a, **k: f(x, np.zeros_like(i), *a, **k)),
    ("wrong gelu", "op/glu/gelu_tanh", lambda f, *a, **k: f(*a, activation="silu")),
    ("column as row", "op/mul/column", lambda f, a, b: f(a, b[:1] if b.shape[-1] == 1 else b)),
    ("rows in order", "op/take/rows-4-0-4", lambda f, x, rows: f(x, np.sort(rows))),
]


@pytest.mark.parametrize(("what", "only", "change"), OPS, ids=[what for what, _, _ in OPS])
def test_a_wrong_op_is_caught(
    what: str, only: str, change: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    op = only.split("/")[1]
    right = getattr(definitions, op)
    broken = Device()
    names = [case.name for case in cases(broken.info, only)]
    run_whole = [run(case, broken).ok for case in cases(broken.info, only)]
    assert names
    assert all(run_whole)

    class Changed(ReferenceExecutable):
        def run(self, *arguments: Any) -> Any:
            changed: Any = Meaning(op, change, right)
            self._calls = [(changed if node.op == op else spec, node) for spec, node in self._calls]
            return super().run(*arguments)

    monkeypatch.setattr(reference, "ReferenceExecutable", Changed)
    assert failing(broken, only), f"{what} went unnoticed"


class Meaning:
    """An op whose definition on the device is not the table's."""

    def __init__(self, op: str, change: Callable[..., Any], right: Callable[..., Any]) -> None:
        self.context, self._change, self._right = ops.find(op).context, change, right

    def meaning(self) -> Callable[..., Any]:
        return lambda *a, **k: self._change(self._right, *a, **k)


def test_a_wrong_dequantiser_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = reference._dequantized

    def wrong(weight: Any) -> Any:
        values = right(weight)
        return values * np.float32(1.001) if weight.dtype == "Q6_K" else values

    monkeypatch.setattr(reference, "_dequantized", wrong)
    assert len(failing(Device(), "weight/Q6_K/*")) == 7
    assert failing(Device(), "weight/Q5_K/*") == []


@pytest.mark.parametrize("kind", ["f16", "bf16", "i8x256"])
def test_a_rounding_that_is_not_the_declared_one_is_caught(kind: str) -> None:
    declared = {"Q8_0": kind, "Q4_K": kind}
    failed = failing(Device({"rounding": declared}), "weight/*")
    assert "weight/Q8_0/linear-T33-36x288" in failed
    assert "weight/Q4_K/linear-T1-33x256" in failed
    assert not any("embed" in name for name in failed)


def test_rows_that_depend_on_their_neighbours_are_caught() -> None:
    claims = {"features": frozenset({"row_invariant"}), "rounding": {"F32": "none"}}
    assert len(failing(Device(claims, after=noise), "invariance/llama/F32/*")) == 4  # all but other blocks
    assert failing(Device(after=noise), "invariance/*") == []  # nothing was claimed


def test_a_model_with_stale_rows_is_caught() -> None:
    def first_block_only(step: Any) -> Any:
        groups = {n: evolve(g, blocks=np.full_like(g.blocks, g.blocks[0])) for n, g in step.groups.items()}
        return evolve(step, groups=groups)

    assert "model/llama/F32" in failing(Device(before=first_block_only), "model/*")


def test_wrong_numbers_of_rows_are_caught() -> None:
    last = Device(after=lambda values, step: {n: v[-1:] for n, v in values.items()})
    failed = failing(last, "model/rows/*")
    assert {"model/rows/all", "model/rows/twice"} <= set(failed)
    assert "model/rows/nothing-fetched" in failing(Device(after=lambda v, s: {"logits": 0}), "model/rows/*")


def test_a_lying_estimate_is_caught() -> None:
    class Liar(FakeDevice):
        def estimate(self, graph: Any, limits: Any) -> Any:
            report = super().estimate(graph, limits)
            return evolve(report, state=report.state // 2)

    device = Liar(delay=0)
    try:
        assert set(failing(device, "memory/*")) == {"memory/estimate-agrees", "memory/estimate-grows"}
    finally:
        device.close()


def test_an_estimate_that_allocates_is_caught() -> None:
    device = Device()
    right = device.estimate

    def allocating(graph: Any, limits: Any) -> Any:
        device.allocated += 1
        return right(graph, limits)

    device.estimate = allocating  # type: ignore[method-assign]
    assert "memory/estimate-allocates-nothing" in failing(device, "memory/*")


def test_a_leak_is_caught() -> None:
    device = Device()
    right = device.pack

    def leaking(*arguments: Any) -> Any:
        device.allocated += 8
        return right(*arguments)

    device.pack = leaking  # type: ignore[method-assign]
    assert failing(device, "lifetime/parts-20-times") == ["lifetime/parts-20-times"]


def test_an_untyped_memory_error_is_caught() -> None:
    def state(groups: Any, limits: Any) -> Any:
        raise MemoryError("no")

    assert failing(Device(state=state), "memory/too-much-state") == ["memory/too-much-state"]


def test_copies_that_come_last_or_never_are_caught() -> None:
    never = Device(before=lambda step: evolve(step, copies=()))
    assert set(failing(never, "order/*")) == {"order/copies-first", "order/copies-in-order"}
    backwards = Device(before=lambda step: evolve(step, copies=step.copies[::-1]))
    assert failing(backwards, "order/*") == ["order/copies-in-order"]


def moved(**change: Callable[[Any], Any]) -> Device:
    """A device that takes another step of slots than it was given."""

    def before(step: Any) -> Any:
        slots = {name: evolve(s, **{key: f(s) for key, f in change.items()}) for name, s in step.slots.items()}
        return evolve(step, slots=slots)

    return Device(before=before)


def test_slots_that_are_not_kept_as_the_step_says_are_caught() -> None:
    dirty = moved(source=lambda s: np.where(s.source < 0, s.target, s.source))
    assert "slots/starts-at-zero" in failing(dirty, "slots/*")
    forgetful = moved(emit=lambda s: s.emit[:0])
    assert "slots/snapshot-is-kept" in failing(forgetful, "slots/*")
    assert "op/ssm_scan/plain" in failing(forgetful, "op/ssm_scan/*")
    in_place = moved(target=lambda s: np.where(s.source < 0, s.target, s.source))
    assert "slots/stays-or-moves" in failing(in_place, "slots/*")


def test_slots_that_are_not_checked_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "check_step", lambda *_: None)
    assert len(failing(Device(), "slots/*")) >= 9


def test_reading_host_arrays_late_is_caught() -> None:
    class Late(ReferenceDevice):
        """Computes when it is waited for, from the host's own arrays."""

        def compile(self, *arguments: Any) -> Any:
            inner = super().compile(*arguments)

            class Fence:
                def __init__(self, *call: Any) -> None:
                    self.call, self.found = call, None

                @property
                def done(self) -> bool:
                    return True

                def wait(self, timeout: float | None = None) -> Any:
                    self.found = self.found or inner.run(*self.call).wait()
                    return self.found

                def cancel(self) -> None:
                    pass

            class Executable:
                def run(self, *call: Any) -> Any:
                    return Fence(*call)

                def close(self) -> None:
                    pass

            return Executable()

    failed = failing(Late(), "order/*")
    assert {"order/host-arrays", "order/queued-steps", "order/freed-blocks", "order/export-import"} <= set(failed)


@pytest.mark.parametrize("what", ["unknown-op", "unknown-attribute", "unknown-version", "unknown-weight-type"])
def test_a_device_that_supports_everything_is_caught(what: str) -> None:
    device = Device(supports=lambda node, graph: None)
    assert failing(device, f"errors/{what}") == [f"errors/{what}"]


@pytest.mark.parametrize("what", ["block-negative", "too-many-tokens", "copy-beyond-pool", "input-missing"])
def test_crashing_instead_of_refusing_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "check_step", lambda *_: None)
    monkeypatch.setattr(reference, "check_inputs", lambda *_: None)
    assert failing(Device(), f"errors/{what}") == [f"errors/{what}"]


def test_unchecked_weights_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "check_weight", lambda *_: None)
    assert "errors/weight-too-long" in failing(Device(), "errors/weight-*")


def test_dying_of_a_bad_step_is_caught() -> None:
    def die(step: Any) -> Any:
        if step.n_tokens > 16:
            raise DeviceLostError("device", got="a fall", want="a refusal")
        return step

    assert failing(Device(before=die), "errors/too-many-tokens") == ["errors/too-many-tokens"]


def test_an_expensive_plugin_module_is_caught(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from halflap import plugins

    source = "import halflap, numpy\n@halflap.hookimpl\ndef register_backends(register): register('heavy', print)\n"
    (tmp_path / "heavy_plugin.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import heavy_plugin  # type: ignore[import-not-found]

    plugins.register(heavy_plugin)
    try:
        (case,) = cases(Device().info, "lifetime/import")
        result = run(case, Device({"id": "heavy", "backend": "heavy"}))
    finally:
        plugins.unregister("heavy_plugin")
    assert not result.ok
    assert "numpy" in result.detail
