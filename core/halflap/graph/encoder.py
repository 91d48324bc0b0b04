"""Ops of encoders, which see a whole sequence in one step and keep no state: text encoders and image towers.

What they mean is in `encoder_reference.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halflap.graph.ir import Value
from halflap.graph.ops import REQUIRED, Op, Rows, Typed, check_buckets, mismatch, row_width, shown


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
    check_buckets("self_attention", bias, attributes["buckets"], heads)
    return [("f32", ("T", heads * v_head_dim))]


def _keep_rows(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    x, k, v = inputs
    assert x is not None
    for value, dim in ((k, attributes["head_dim"]), (v, attributes["v_head_dim"])):
        width = row_width(value)
        if value is None or width is None or value.shape != ("T", width) or dim < 1 or width % dim:
            raise mismatch("keep_rows", shown(value), f"rows of heads of {dim}, one per token")
    return [("f32", x.shape)]


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
    # x itself; K and V rows go to the state, for `attention` with `cross`.
    Op(
        "keep_rows",
        ("x", "k", "v"),
        _keep_rows,
        {"head_dim": REQUIRED, "v_head_dim": REQUIRED, "group": REQUIRED, "layer": REQUIRED},
        context=True,
        definition="halflap.graph.encoder_reference:keep_rows",
        rows=lambda inputs, _: (Rows(row_width(inputs[1]), row_width(inputs[2]), True),),
    ),
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
            "buckets": (),  # as in the op `attention`
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
