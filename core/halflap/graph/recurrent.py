"""Ops that carry a state of fixed size from token to token: rules and table entries. Meanings: recurrent_reference.py.

Each keeps its state in one layer of a slots group, named by the attributes `group` and `layer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halflap.graph.ir import Value
from halflap.graph.ops import REQUIRED, Op, Typed, mismatch, shown

Inputs = Sequence[Value | None]
Attributes = Mapping[str, Any]


def _width(op: str, value: Value | None, parts: int = 1) -> int:
    """Elements of one of `parts` equal parts of a value's row."""
    width = value.shape[-1] if value is not None else None
    if not isinstance(width, int) or parts < 1 or width % parts:
        raise mismatch(op, shown(value), f"a width that {parts} divides")
    return width // parts


def _rows(op: str, *values: Value | None) -> None:
    """All values have as many rows, one per token."""
    for value in values:
        if value is None or len(value.shape) != 2 or value.shape[0] != "T":
            raise mismatch(op, shown(value), "one row per token")


def _check(op: str, value: Value | None, *shapes: tuple[int, ...]) -> None:
    if value is not None and value.shape not in shapes:
        raise mismatch(op, shown(value), f"shape {' or '.join(str(list(s)) for s in shapes)}")


def _l2_norm(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    (x,) = inputs
    assert x is not None
    _width("l2_norm", x, attributes["groups"])
    return [("f32", x.shape)]


def _conv_state(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    x, weight, bias = inputs
    assert x is not None
    assert weight is not None
    _rows("conv_state", x)
    channels = _width("conv_state", x)
    if len(weight.shape) != 2 or weight.shape[0] != channels or not isinstance(weight.shape[1], int):
        raise mismatch("conv_state", shown(weight), f"shape [{channels}, taps]")
    if weight.shape[1] < 2:
        raise mismatch("conv_state", f"{weight.shape[1]} tap", "at least 2")
    _check("conv_state", bias, (channels,))
    if attributes["activation"] not in ("none", "silu"):
        raise mismatch("conv_state", f"activation {attributes['activation']!r}", "'none' or 'silu'")
    return [("f32", x.shape)]


def _conv_keeps(inputs: Inputs, attributes: Attributes) -> int:
    weight = inputs[1]
    assert weight is not None
    return int(weight.shape[0]) * (int(weight.shape[1]) - 1)


def _delta_rule(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    q, k, v, decay, beta = inputs
    assert q is not None
    assert k is not None
    assert v is not None
    _rows("delta_rule", q, k, v, decay, beta)
    heads, k_heads = attributes["heads"], attributes["k_heads"]
    if k_heads < 1 or heads % k_heads:
        raise mismatch("delta_rule", f"{heads} heads over {k_heads} of k", "a whole number of heads for each")
    if attributes["sharing"] not in ("grouped", "tiled"):
        raise mismatch("delta_rule", f"sharing {attributes['sharing']!r}", "'grouped' or 'tiled'")
    _width("delta_rule", v, heads)
    _width("delta_rule", k, k_heads)
    if q.shape != k.shape:
        raise mismatch("delta_rule", f"{shown(q)} and {shown(k)}", "equal shapes")
    for value in (decay, beta):
        if _width("delta_rule", value) != heads:
            raise mismatch("delta_rule", shown(value), f"width {heads}")
    return [("f32", v.shape)]


def _delta_keeps(inputs: Inputs, attributes: Attributes) -> int:
    heads = int(attributes["heads"])
    k, v = _width("delta_rule", inputs[1], attributes["k_heads"]), _width("delta_rule", inputs[2], heads)
    return heads * k * v


def _ssm_scan(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    x, dt, b, c, a, d, dt_bias = inputs
    assert x is not None
    assert b is not None
    assert a is not None
    heads, groups = attributes["heads"], attributes["groups"]
    _rows("ssm_scan", x, dt, b, c)
    _width("ssm_scan", x, heads)
    width, state = _width("ssm_scan", x), _width("ssm_scan", b, groups)
    if heads % groups:
        raise mismatch("ssm_scan", f"{heads} heads in {groups} groups", "a whole number of heads in each")
    if b.shape != c.shape:  # type: ignore[union-attr]
        raise mismatch("ssm_scan", f"{shown(b)} and {shown(c)}", "equal shapes")
    steps = _width("ssm_scan", dt)
    if steps not in (heads, width):
        raise mismatch("ssm_scan", shown(dt), f"width {heads} or {width}")
    _check("ssm_scan", a, (heads,), (heads, 1), (width, state))
    _check("ssm_scan", d, (heads,), (heads, 1), (width,), (width, 1))
    _check("ssm_scan", dt_bias, (steps,))
    return [("f32", x.shape)]


def _ssm_keeps(inputs: Inputs, attributes: Attributes) -> int:
    return _width("ssm_scan", inputs[0]) * _width("ssm_scan", inputs[2], attributes["groups"])


def _entry(name: str, inputs: tuple[str, ...], rule: Any, keeps: Any, attributes: dict[str, Any]) -> Op:
    return Op(
        name, inputs, rule, {**attributes, "group": REQUIRED, "layer": REQUIRED}, context=True, keeps=keeps,
        definition=f"halflap.graph.recurrent_reference:{name}",
    )  # fmt: skip


TABLE = (
    Op(
        "l2_norm",
        ("x",),
        _l2_norm,
        {"eps": REQUIRED, "groups": 1},
        definition="halflap.graph.recurrent_reference:l2_norm",
    ),
    _entry("conv_state", ("x", "weight", "bias?"), _conv_state, _conv_keeps, {"activation": "none"}),
    _entry(
        "delta_rule",
        ("q", "k", "v", "decay", "beta"),
        _delta_rule,
        _delta_keeps,
        {
            "heads": REQUIRED,
            "k_heads": REQUIRED,
            "sharing": "grouped",  # which k head serves head j: "grouped" j // (heads / k_heads), "tiled" j % k_heads
            "scale": 1.0,  # multiplies q
        },
    ),
    _entry(
        "ssm_scan",
        ("x", "dt", "b", "c", "a", "d?", "dt_bias?"),
        _ssm_scan,
        _ssm_keeps,
        {"heads": REQUIRED, "groups": 1},
    ),
)
