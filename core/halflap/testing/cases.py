"""What a conformance case is, and how one ends. Cases are data: a name, a family, a seed and some facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from halflap.device.interface import Device
from halflap.graph.ir import Dim, Graph

TOLERANCE = 1e-5
"""Of results under the device's own rounding, relative to the largest wanted value."""

MODEL_TOLERANCE = {"none": 1e-3, "f16": 5e-3, "bf16": 6e-2, "i8x256": 6e-2}
"""Of a tiny model's logits: an activation on a tie may be rounded either way there, and f16 KV rows too."""


@frozen
class Case:
    """One thing a device must get right.

    Attributes:
        name: "family/what/variant": what `--only` matches and gaps.toml names.
        family: which of `halflap.testing.families` checks it.
        seed: of everything random in it.
        facts: what the family needs to know, plain data.
    """

    name: str
    family: str
    seed: int = 0
    facts: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen
class Result:
    """How a case ended.

    Attributes:
        ok: it passed, or the device says that it does not offer this.
        detail: what went wrong, with the seed; or what was not offered; or a number worth knowing.
        error: largest difference measured, relative to the largest wanted value; None where nothing was measured.
        offered: False if the device refuses this op, type or feature through its interface.
    """

    case: Case
    ok: bool
    detail: str = ""
    error: float | None = None
    offered: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {
            "case": self.case.name, "seed": self.case.seed, "ok": self.ok, "offered": self.offered,
            "detail": self.detail, "error": self.error,
        }  # fmt: skip


@frozen
class Operand:
    """One input of an op under test.

    Attributes:
        kind: "input" or "weight".
        draw: "normal", "positive", "negative", "share" (0 to 1), "ties" or "signed ties" (small integers), "unit:H" for
            rows of H parts of length 1 each, "experts:E" for ids below E, or "first rows" for numbers of complete
            windows, then -1.
    """

    name: str
    shape: tuple[Dim, ...]
    kind: str = "input"
    dtype: str = "f32"
    draw: str = "normal"


class Failed(Exception):  # noqa: N818  an outcome of a case, not a fault of the program
    """A case's check did not hold.

    Args:
        detail: `what: got X, want Y`.
        error: the measured difference, if there is one.
    """

    def __init__(self, detail: str, error: float | None = None) -> None:
        super().__init__(detail)
        self.error = error


class NotOffered(Exception):  # noqa: N818  an outcome of a case, not a fault of the program
    """The device says through its interface that it does not do this."""


def within(what: str, error: float, tolerance: float) -> float:
    """The error itself.

    Raises:
        Failed: it is above the tolerance, or not a number.
    """
    if not error <= tolerance:
        raise Failed(f"{what}: got a difference of {error:.3g}, want at most {tolerance:.3g}", error)
    return error


def require_support(device: Device, graph: Graph) -> None:
    """Every node of the graph is one that the device takes.

    Raises:
        NotOffered: with the device's reason.
    """
    for node in graph.nodes():
        reason = device.supports(node, graph)
        if reason is not None:
            raise NotOffered(f"{node.op}: {reason}")
