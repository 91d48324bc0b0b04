"""Ops of models whose residual is several streams side by side: rules and table. Meanings: streams_reference.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halflap.graph.ir import Value
from halflap.graph.ops import REQUIRED, Op, Typed, mismatch, row_width, shown

MOST_STREAMS = 64

Inputs = Sequence[Value | None]
Attributes = Mapping[str, Any]


def _streams(op: str, attributes: Attributes) -> int:
    streams = attributes["streams"]
    if not isinstance(streams, int) or not 1 <= streams <= MOST_STREAMS:
        raise mismatch(op, f"{streams} streams", f"1 to {MOST_STREAMS}")
    return streams


def _repeat(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    (x,) = inputs
    assert x is not None
    return [("f32", (*x.shape[:-1], (row_width(x) or 0) * _streams("repeat", attributes)))]


def _stream_weights(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    x, scale, base = inputs
    streams, width = _streams("stream_weights", attributes), row_width(x)
    assert x is not None
    parts = (streams,) if width == streams else (streams, streams, streams * streams)
    if width != sum(parts):
        raise mismatch("stream_weights", shown(x), f"width {streams} or {streams * (streams + 2)}")
    if scale is None or base is None or scale.shape != (len(parts),) or base.shape != (width,):
        raise mismatch("stream_weights", f"{shown(scale)} and {shown(base)}", f"shapes [{len(parts)}] and [{width}]")
    if attributes["iterations"] < 1:
        raise mismatch("stream_weights", f"{attributes['iterations']} iterations", "at least 1")
    return [("f32", (*x.shape[:-1], part)) for part in parts]


def _mix_streams(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    x, weights, y, shares = inputs
    streams, rows = _streams("mix_streams", attributes), x.shape[:-1] if x else ()
    width, count = row_width(x) or 0, row_width(weights) or 0
    if width % streams or count % streams or not count or weights is None or weights.shape[:-1] != rows:
        raise mismatch("mix_streams", f"{shown(x)} by {shown(weights)}", f"{streams} weights for each stream made")
    made = count // streams
    if (y is None) != (shares is None):
        raise mismatch("mix_streams", f"{shown(y)} and {shown(shares)}", "both or neither")
    wanted = (*rows, width // streams), (*rows, made)
    if y is not None and shares is not None and (y.shape, shares.shape) != wanted:
        raise mismatch("mix_streams", f"{shown(y)} by {shown(shares)}", f"a stream, and {made} weights")
    return [("f32", (*rows, made * (width // streams)))]


def _entry(name: str, inputs: tuple[str, ...], rule: Any, attributes: dict[str, Any]) -> Op:
    definition = f"halflap.graph.streams_reference:{name}"
    return Op(name, inputs, rule, {"streams": REQUIRED, **attributes}, definition=definition)


TABLE = (
    _entry("repeat", ("x",), _repeat, {}),
    # Weights that read one stream from all; and, if x has so many numbers, that add a result to each and mix them.
    _entry("stream_weights", ("x", "scale", "base"), _stream_weights, {"iterations": 1, "eps": REQUIRED}),
    # Stream k is the sum over j of weights (j, k) times stream j, and share k of y.
    _entry("mix_streams", ("x", "weights", "y?", "shares?"), _mix_streams, {}),
)
