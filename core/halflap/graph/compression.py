"""Ops of attention over rows that stand for several tokens each: rules and table. Meanings: compression_reference.py.

A window is `rate` tokens from a multiple of `rate` on; its row is written with its last token, and seen from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halflap.graph.ir import Value
from halflap.graph.ops import REQUIRED, Op, Rows, Typed, mismatch, row_width, shown

Inputs = Sequence[Value | None]
Attributes = Mapping[str, Any]


def _rows(op: str, value: Value | None, width: int | None = None) -> int:
    """Elements of a row of a value that has one per token."""
    found = row_width(value)
    if value is None or found is None or value.shape != ("T", found) or width not in (None, found):
        raise mismatch(op, shown(value), f"rows of {width or 'f32'}, one per token")
    return found


def _rate(op: str, attributes: Attributes) -> int:
    rate = attributes["rate"]
    if not isinstance(rate, int) or rate < 1:
        raise mismatch(op, f"rate {rate}", "at least 1 token")
    return rate


def _compress(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    kv, gate, bias = inputs
    width = _rows("compress", kv)
    _rows("compress", gate, width)
    if bias is None or bias.shape != (_rate("compress", attributes), width):
        raise mismatch("compress", shown(bias), f"a row of {width} for each token of a window")
    if attributes["overlap"] and width % 2:
        raise mismatch("compress", f"width {width}", "two halves")
    return [("f32", ("T", width // 2 if attributes["overlap"] else width))]


def _compress_keeps(inputs: Inputs, attributes: Attributes) -> int:
    return 3 * (row_width(inputs[0]) or 0)


def _select_rows(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    q, weights, key = inputs
    heads, count = attributes["heads"], attributes["count"]
    width = _rows("select_rows", key)
    _rows("select_rows", q, heads * width)
    _rows("select_rows", weights, heads)
    _rate("select_rows", attributes)
    if heads < 1 or count < 1:
        raise mismatch("select_rows", f"{count} rows by {heads} heads", "at least 1 of both")
    return [("i32", ("T", count))]


def _select_keeps(inputs: Inputs, attributes: Attributes) -> tuple[Rows, ...]:
    return (Rows(row_width(inputs[2]), 0, True, rate=attributes["rate"]),)


def _compressed_attention(inputs: Inputs, attributes: Attributes) -> list[Typed]:
    q, row, far, chosen, sinks = inputs
    op, heads = "compressed_attention", attributes["heads"]
    width = _rows(op, row)
    _rows(op, q, heads * width)
    _rate(op, attributes)
    if far is not None:
        _rows(op, far, width)
    if (far is None) != (not attributes["far_group"]):
        raise mismatch(op, f"{shown(far)} with group {attributes['far_group']!r}", "both or neither")
    if chosen is not None and (
        far is None or chosen.dtype != "i32" or len(chosen.shape) != 2 or chosen.shape[0] != "T"
    ):
        raise mismatch(op, f"chosen {shown(chosen)}", "numbers of far rows for each token")
    if sinks is not None and sinks.shape != (heads,):
        raise mismatch(op, f"sinks {shown(sinks)}", f"shape [{heads}]")
    return [("f32", ("T", heads * width))]


def _attention_keeps(inputs: Inputs, attributes: Attributes) -> tuple[Rows, ...]:
    near = Rows(0, row_width(inputs[1]), True, attributes["window"])
    far = Rows(0, row_width(inputs[2]), True, rate=attributes["rate"], prefix="far_")
    return (near, far) if attributes["far_group"] else (near,)


def _entry(name: str, inputs: tuple[str, ...], rule: Any, attributes: dict[str, Any], **more: Any) -> Op:
    return Op(
        name, inputs, rule, {**attributes, "group": REQUIRED, "layer": REQUIRED}, context=True,
        definition=f"halflap.graph.compression_reference:{name}", **more,
    )  # fmt: skip


TABLE = (
    # Row t is what the newest window up to token t makes of its tokens so far; with its last token it is complete.
    _entry(
        "compress",
        ("kv", "gate", "bias"),
        _compress,
        {
            "rate": REQUIRED,
            "overlap": False,  # a row has two halves: the first serves the window after its own, the second its own
        },
        keeps=_compress_keeps,
    ),
    # Numbers of the `count` complete windows whose keys suit a token best, ascending; -1 where there are fewer.
    _entry(
        "select_rows",
        ("q", "weights", "key"),
        _select_rows,
        {"heads": REQUIRED, "rate": REQUIRED, "count": REQUIRED},
        rows=_select_keeps,
    ),
    # One row per token is key and value of all heads; so is one of each complete window, if `far` gives them.
    _entry(
        "compressed_attention",
        ("q", "row", "far?", "chosen?", "sinks?"),
        _compressed_attention,
        {
            "heads": REQUIRED,
            "scale": REQUIRED,
            "window": 0,  # of the rows of single tokens: the newest w, or 0 for all
            "rate": 1,
            "far_group": "",
            "far_layer": 0,
        },
        rows=_attention_keeps,
    ),
)
