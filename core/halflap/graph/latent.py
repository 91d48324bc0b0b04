"""The op `latent_attention`: its shape rule. Its meaning is in `latent_reference.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halflap.graph.ir import Value
from halflap.graph.ops import REQUIRED, Op, Typed, mismatch, shown


def _latent_attention(inputs: Sequence[Value | None], attributes: Mapping[str, Any]) -> list[Typed]:
    q, key, latent, k_up, v_up, chosen = inputs
    assert q is not None
    assert k_up is not None
    assert v_up is not None
    heads, plain, rotated, rank, v_head_dim = (
        attributes[name] for name in ("heads", "plain_dim", "rotated_dim", "rank", "v_head_dim")
    )
    for value, width in ((q, heads * (plain + rotated)), (key, rotated), (latent, rank)):
        if value is not None and value.shape != (q.shape[0], width):
            raise mismatch("latent_attention", shown(value), f"rows of {width}")
    if (key is None) != (latent is None):
        raise mismatch("latent_attention", f"{shown(key)} and {shown(latent)}", "both or neither")
    for value, shape in ((k_up, (heads, rank, plain)), (v_up, (heads, v_head_dim, rank))):
        if value.shape != shape:
            raise mismatch("latent_attention", shown(value), f"shape {list(shape)}")
    if chosen is not None and (chosen.dtype != "i32" or len(chosen.shape) != 2 or chosen.shape[0] != "T"):
        raise mismatch("latent_attention", f"chosen {shown(chosen)}", "places for each token")
    return [("f32", (q.shape[0], heads * v_head_dim))]


TABLE = (
    Op(
        "latent_attention",
        ("q", "key?", "latent?", "k_up", "v_up", "chosen?"),  # chosen: the places it sees (`select_rows`); none: all
        _latent_attention,
        {
            "heads": REQUIRED,
            "plain_dim": REQUIRED,  # leading elements of each head's query, which meet the latent row
            "rotated_dim": REQUIRED,  # the others, which meet the key that all heads share
            "rank": REQUIRED,
            "v_head_dim": REQUIRED,
            "scale": REQUIRED,
            "group": REQUIRED,  # keeps a key row and a latent row for each token
            "layer": REQUIRED,
        },
        context=True,
        definition="halflap.graph.latent_reference:latent_attention",
    ),
)
