"""Ops of encoders, which see a whole sequence in one step and keep no state: text encoders and image towers.

What they mean is in `encoder_reference.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halflap.graph.ir import Value
from halflap.graph.ops import REQUIRED, Op, Typed, mismatch, shown


def _self_attention(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    q, k, v, bias = inputs
    assert q is not None
    heads, kv_heads = attributes["heads"], attributes["kv_heads"]
    head_dim, v_head_dim = attributes["head_dim"], attributes["v_head_dim"]
    if kv_heads < 1 or heads % kv_heads:
        raise mismatch("self_attention", f"{heads} heads over {kv_heads} KV heads", "whole heads per KV head")
    for value, width in ((q, heads * head_dim), (k, kv_heads * head_dim), (v, kv_heads * v_head_dim)):
        if value is None or value.shape != ("T", width):
            raise mismatch("self_attention", shown(value), f"shape [T, {width}]")
    buckets = attributes["buckets"]
    if (bias is None) != (not buckets) or (buckets and len(buckets) % 2 == 0):
        raise mismatch(
            "self_attention", f"{len(buckets)} buckets with {shown(bias)}", "bias and an odd number, or none"
        )
    if bias is not None and (bias.shape[1:] != (heads,) or not all(0 <= b < int(bias.shape[0]) for b in buckets)):
        raise mismatch("self_attention", shown(bias), f"a row of {heads} numbers for each bucket")
    return [("f32", ("T", heads * v_head_dim))]


def _fewer_rows(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    (x,) = inputs
    assert x is not None
    if x.shape[0] != "T" or len(x.shape) != 2 or attributes["count"] < 1:
        raise mismatch(
            "mean_rows or join_rows", f"{shown(x)} by {attributes['count']}", "a matrix of T rows, by 1 or more"
        )
    width = x.shape[1]
    assert isinstance(width, int)
    return [("f32", ("R", width * attributes["count"] if "interleaved" in attributes else width))]


def _clamp(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, *bounds = inputs
    assert x is not None
    for value in bounds:
        if value is None or value.shape != (1,):
            raise mismatch("clamp", shown(value), "a bound of shape [1]")
    return [("f32", x.shape)]


TABLE = (
    Op("clamp", ("x", "low", "high"), _clamp, definition="halflap.graph.encoder_reference:clamp"),
    Op(
        "self_attention",
        ("q", "k", "v", "bias?"),
        _self_attention,
        {
            "heads": REQUIRED,
            "kv_heads": REQUIRED,
            "head_dim": REQUIRED,
            "v_head_dim": REQUIRED,
            "scale": REQUIRED,
            "window": 0,  # 0: all; w: tokens less than w away
            # Which row of `bias` is added to the scores, for a key this far behind its query: from -r to r, where the
            # first and the last also serve what is further away (T5's relative positions).
            "buckets": (),
        },
        context=True,
        definition="halflap.graph.encoder_reference:self_attention",
        whole=True,
    ),
    # Both make R rows of T, so a step that feeds them wants T / count rows.
    Op("mean_rows", ("x",), _fewer_rows, {"count": REQUIRED}, definition="halflap.graph.encoder_reference:mean_rows"),
    Op(
        "join_rows",
        ("x",),
        _fewer_rows,
        {"count": REQUIRED, "interleaved": False},
        definition="halflap.graph.encoder_reference:join_rows",
    ),
)
