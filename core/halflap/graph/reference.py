"""The meaning of each op, in numpy. Slow, plain, and what every device is held to.

Each function takes its op's inputs in the order of the table, then the attributes by name. Ops that touch positions or
state take a `Context` first. Everything computes in float32 unless a line says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from halflap.graph.ir import BLOCK_TOKENS
from halflap.graph.step import Limits, Step

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]


class StateRows(Protocol):
    """One layer of a blocks group as the definitions see it: rows by (block, place in block)."""

    def write(self, blocks: I32, places: I32, k: F32, v: F32) -> None: ...
    def read(self, blocks: I32) -> tuple[F32, F32]: ...  # (n·32, k width), (n·32, v width)


class SlotRows(Protocol):
    """One layer of a slots group as the definitions see it: a flat row per slot; slot -1 reads as zero."""

    def write(self, slot: int, values: F32) -> None: ...
    def read(self, slot: int) -> F32: ...


class Context(Protocol):
    """What an op may know beyond its inputs."""

    step: Step
    limits: Limits

    def layer(self, group: str, layer: int) -> Any:
        """StateRows of a blocks group, SlotRows of a slots group."""


def embed(ids: I32, table: F32 | None, embeds: F32 | None, *, scale: float, column: int, width: int, blank: int) -> F32:
    if table is None:
        rows = np.zeros((len(ids), width), np.float32)
    else:
        rows = np.asarray(table[np.where(ids < 0, max(blank, 0), ids)] * np.float32(scale))
    if embeds is not None:
        given = ids < 0
        rows[given] = embeds[-1 - ids[given], column : column + rows.shape[1]]
    return rows


def add_positions(context: Context, x: F32, table: F32, *, row: int) -> F32:
    """Learned positions: the table's row of each token's index; or one row of it for all tokens."""
    return x + (table[context.step.index] if row < 0 else table[row])


def linear(x: F32, weight: F32, bias: F32 | None) -> F32:
    y = x @ weight.T
    return y if bias is None else y + bias


def grouped_linear(x: F32, weight: F32, *, groups: int) -> F32:
    parts = x.reshape(len(x), groups, -1)
    return np.asarray(np.einsum("tgk,gnk->tgn", parts, weight.reshape(groups, -1, parts.shape[2])).reshape(len(x), -1))


def rms_norm(x: F32, weight: F32 | None, *, eps: float, groups: int) -> F32:
    """Zhang & Sennrich 2019; `groups` > 1 norms each part of a row on its own, with one weight or a row of it each."""
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)  # -1 would not do for no rows
    mean = np.mean(parts.astype(np.float64) ** 2, axis=-1, keepdims=True)
    y = (parts / np.sqrt(mean + eps)).astype(np.float32)
    if weight is not None:
        y = y * weight
    return np.asarray(y.reshape(x.shape))


def layer_norm(x: F32, weight: F32 | None, bias: F32 | None, *, eps: float, groups: int) -> F32:
    """Ba et al. 2016; `groups` > 1 norms each head on its own, with one weight and bias for all or one for each."""
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups).astype(np.float64)
    centred = parts - np.mean(parts, axis=-1, keepdims=True)
    y = (centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + eps)).astype(np.float32)
    y = y * (np.float32(1) if weight is None else weight) + (np.float32(0) if bias is None else bias)
    return np.asarray(y.reshape(x.shape))


def rope(
    context: Context,
    x: F32,
    factors: F32 | None,
    long_factors: F32 | None,
    *,
    head_dim: int,
    frequencies: tuple[float, ...],
    layout: str,
    magnitude: float,
    offset: int,
    long_from: int,
    axes: tuple[int, ...],
    every: int,
) -> F32:
    """Su et al. 2021. Factors divide the frequencies (llama3's and longrope's tensors in the file).

    Which of longrope's two tensors is fixed with the limits: it must not change while a sequence grows.
    `axes` names the position axis of each pair (M-RoPE); in a step with one axis, that one stands for all.
    """
    if long_factors is not None and (not context.limits.context or context.limits.context > long_from):
        factors = long_factors
    pairs = len(frequencies)
    inverse = np.asarray(frequencies, np.float64)
    if factors is not None:
        inverse = inverse / factors
    position = context.step.position // every * every
    which = np.asarray(axes, np.int64) if axes and len(position) > 1 else np.zeros(pairs, np.int64)
    angle = position[which].T * inverse
    cos = (np.cos(angle) * magnitude).astype(np.float32)[:, None, :]
    sin = (np.sin(angle) * magnitude).astype(np.float32)[:, None, :]
    whole = x.reshape(len(x), -1, head_dim).copy()
    y = whole[..., offset : offset + 2 * pairs]
    heads = y.copy()
    if layout == "interleaved":
        first, second = heads[..., 0::2], heads[..., 1::2]
        y[..., 0::2] = first * cos - second * sin
        y[..., 1::2] = second * cos + first * sin
    else:
        first, second = heads[..., :pairs], heads[..., pairs:]
        y[..., :pairs] = first * cos - second * sin
        y[..., pairs:] = second * cos + first * sin
    return np.asarray(whole.reshape(x.shape))


def hadamard(x: F32, *, block: int) -> F32:
    """The Walsh-Hadamard transform of each `block` of a row, in Sylvester order, over sqrt(block). Its own inverse."""
    matrix = np.ones((1, 1))
    while len(matrix) < block:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    rotated: F32 = (x.reshape(-1, block) @ matrix / np.sqrt(block)).astype(np.float32).reshape(x.shape)
    return rotated


def attention(
    context: Context,
    q: F32,
    k: F32 | None,
    v: F32 | None,
    sinks: F32 | None,
    bias: F32 | None,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    v_head_dim: int,
    scale: float,
    group: str,
    layer: int,
    window: int,
    window_kind: str,
    softcap: float,
    spans: bool,
    buckets: tuple[int, ...],
    slopes: tuple[float, ...],
    cross: bool,
) -> F32:
    """Causal attention over the sequence's rows of one state layer, after storing this step's own K and V there.

    Without k and v the layer is only read: another layer wrote it. A sink is a logit per head that takes part in the
    softmax and carries no value. With `cross` every token sees all rows of the sequence's source text.
    """
    step, table, rows = context.step, context.step.groups[group], context.layer(group, layer)
    out = np.zeros((len(q), heads * v_head_dim), np.float32)
    for s in range(step.n_sequences):
        tokens = slice(step.seq_start[s], step.seq_start[s + 1])
        index, blocks = step.index[tokens], table.blocks[table.table_start[s] : table.table_start[s + 1]]
        local = index - table.first_token[s]
        if k is not None and v is not None:
            rows.write(blocks[local // BLOCK_TOKENS], local % BLOCK_TOKENS, k[tokens], v[tokens])
        count = table.length[s] - table.first_token[s]
        keys, values = (part[:count] for part in rows.read(blocks))
        oldest = oldest_seen(index, window, window_kind)
        places = (np.arange(count) + table.first_token[s])[None, :]
        newest = np.maximum(index, step.span_end[tokens] - 1) if spans and step.span_end is not None else index
        if cross:
            newest, oldest = np.full_like(index, table.length[s] - 1), np.zeros_like(index)
            if len(index) and not count:
                raise IndexError("no row of a source text")
        hidden = (places > newest[:, None]) | (places < oldest[:, None])
        queries = q[tokens].reshape(-1, kv_heads, heads // kv_heads, head_dim)
        scores = np.einsum("tgqd,sgd->tgqs", queries, keys.reshape(count, kv_heads, head_dim)) * np.float32(scale)
        if softcap:
            scores = np.float32(softcap) * np.tanh(scores / np.float32(softcap))
        if bias is not None:
            added = by_distance(bias, buckets, places - index[:, None])
            scores = scores + added.reshape(*hidden.shape, kv_heads, -1).transpose(0, 2, 3, 1)
        if slopes:
            falls = np.asarray(slopes, np.float32).reshape(1, kv_heads, -1, 1)
            scores = scores + falls * (places - index[:, None])[:, None, None, :].astype(np.float32)
        scores = np.where(hidden[:, None, None, :], -np.inf, scores)
        top = scores.max(axis=-1, keepdims=True)
        if sinks is not None:
            sink = sinks.reshape(1, kv_heads, -1, 1)
            top = np.maximum(top, sink)
        weights = np.exp(scores - top)
        total = weights.sum(axis=-1, keepdims=True)
        if sinks is not None:
            total = total + np.exp(sink - top)
        mixed = np.einsum("tgqs,sgd->tgqd", weights / total, values.reshape(count, kv_heads, v_head_dim))
        out[tokens] = mixed.reshape(len(index), -1)
    return out


def by_distance(bias: F32, buckets: tuple[int, ...], apart: I32) -> F32:
    """The bias of each head for keys so far behind their queries: (…, heads)."""
    reach = len(buckets) // 2
    rows: F32 = bias[np.asarray(buckets)[np.clip(apart, -reach, reach) + reach]]
    return rows


def oldest_seen(index: I32, window: int, window_kind: str) -> I32:
    """The first position that a token at each index sees."""
    if window_kind == "chunked" and window:
        return np.asarray(index // window * window)
    return np.asarray(index - window + 1 if window else np.zeros_like(index))


def activate(x: F32, *, activation: str) -> F32:
    return ACTIVATIONS[activation](x)


def glu(gate: F32, up: F32 | None, *, activation: str, limit: float) -> F32:
    """Shazeer 2020: activation(gate) · up.

    "swiglu_oai" is gpt-oss's gate: x·sigmoid(1.702·x) times up + 1.
    """
    if up is None:
        gate, up = np.split(gate, 2, axis=-1)
    if limit:
        gate, up = np.minimum(gate, np.float32(limit)), np.clip(up, np.float32(-limit), np.float32(limit))
    if activation == "swiglu_oai":
        return np.asarray(gate * _sigmoid(np.float32(1.702) * gate) * (up + 1))
    return ACTIVATIONS[activation](gate) * up


def add(a: F32, b: F32) -> F32:
    return a + b


def mul(a: F32, b: F32) -> F32:
    return a * b


def scale(x: F32, *, factor: float) -> F32:
    return x * np.float32(factor)


def softcap(x: F32, *, cap: float) -> F32:
    return np.asarray(np.float32(cap) * np.tanh(x / np.float32(cap)))


def position_scale(context: Context, x: F32, *, beta: float, period: int, offset: int) -> F32:
    """Ministral 3 and Llama 4: queries grow by 1 + beta·ln(1 + floor((index + offset) / period))."""
    growth = 1 + beta * np.log1p((context.step.index + offset) // period)
    return np.asarray(x * growth.astype(np.float32)[:, None])


def take(x: F32, rows: I32) -> F32:
    return np.asarray(x[rows])


def split(x: F32, *, sizes: tuple[int, ...], groups: int) -> F32 | tuple[F32, ...]:
    """Parts of a row: each of `groups` equal stretches holds one piece of every part, in this order."""
    stretches = x.reshape(*x.shape[:-1], groups, sum(sizes))
    parts = np.split(stretches, np.cumsum(sizes)[:-1], axis=-1)
    parts = [np.ascontiguousarray(p).reshape(*x.shape[:-1], groups * n) for p, n in zip(parts, sizes, strict=True)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def route(
    logits: F32,
    bias: F32 | None,
    scales: F32 | None,
    ids: I32 | None,
    table: F32 | None,
    *,
    used: int,
    gating: str,
    normalize: bool,
    scale: float,
    groups: int,
    groups_used: int,
    group_best: int,
) -> tuple[I32, F32]:
    """Experts of each token, highest score first (ties: lower id); a bias takes part in the choice only.

    gating: "softmax" over all experts, "sigmoid", "sqrt_softplus", or "softmax_chosen" over the chosen ones. `scales`:
    a factor on the share of each expert. A `table` (vocabulary, used) names the experts of each token id instead; only
    their shares come from the logits.
    """
    scores = SCORES[gating](logits)
    choice = scores if bias is None else scores + bias
    if groups_used < groups:
        parts = choice.reshape(*choice.shape[:-1], groups, -1)
        best = -np.sort(-parts, axis=-1)[..., :group_best].sum(axis=-1)
        left_out = np.argsort(-best, axis=-1, kind="stable")[..., groups_used:]
        parts = parts.copy()
        np.put_along_axis(parts, left_out[..., None], -np.inf, axis=-2)
        choice = parts.reshape(choice.shape)
    if table is not None and ids is not None:
        chosen = table[ids].astype(np.int32)
        if np.any(ids < 0) or np.any(chosen < 0) or np.any(chosen >= logits.shape[-1]):
            raise IndexError(f"token ids {ids.tolist()!s:.50} with experts {chosen.tolist()!s:.50}")
    else:
        chosen = np.argsort(-choice, axis=-1, kind="stable")[..., :used].astype(np.int32)
    weights = np.take_along_axis(scores, chosen, axis=-1)
    if gating == "softmax_chosen":
        weights = _softmax(weights)
    if normalize:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    if scales is not None:
        weights = weights * scales.reshape(-1)[chosen]
    return chosen, weights * np.float32(scale)


def moe(
    x: F32,
    ids: I32,
    weights: F32,
    gate: F32 | None,
    up: F32,
    down: F32,
    gate_bias: F32 | None,
    up_bias: F32 | None,
    down_bias: F32 | None,
    *,
    activation: str,
    limit: float,
    weigh_input: bool,
) -> F32:
    """Sum over the routed experts, in router order, of weight · down(activation(gate x) · up x)."""

    def of(expert: int, matrix: F32, bias: F32 | None, rows: F32) -> F32:
        return linear(rows, matrix[expert], None if bias is None else bias[expert])

    parts = np.zeros((*ids.shape, x.shape[-1]), np.float32)
    for expert in np.unique(ids):
        token, place = np.nonzero(ids == expert)
        share = weights[token, place, None]
        rows = x[token] * share if weigh_input else x[token]
        gated = None if gate is None else of(expert, gate, gate_bias, rows)
        hidden = expert_hidden(gated, of(expert, up, up_bias, rows), down.shape[-1], activation=activation, limit=limit)
        result = of(expert, down, down_bias, hidden)
        parts[token, place] = result if weigh_input else share * result
    out = np.zeros_like(x)
    for rank in range(ids.shape[1]):
        out += parts[:, rank]
    return out


def expert_hidden(gate: F32 | None, up: F32, width: int, *, activation: str, limit: float) -> F32:
    """What an expert's `down` reads: gate and up as `glu` takes them, or up alone if it is not twice `width`."""
    if gate is not None:
        return glu(gate, up, activation=activation, limit=limit)
    if up.shape[-1] == width:
        return activate(up, activation=activation)
    return glu(up, None, activation=activation, limit=limit)


def _sigmoid(x: F32) -> F32:
    return np.float32(1) / (np.float32(1) + np.exp(np.minimum(-x, np.float32(88))))  # e^89 is no float32


def _softmax(x: F32) -> F32:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float32)


def _gelu_tanh(x: F32) -> F32:
    inner = np.float32(0.7978845608028654) * (x + np.float32(0.044715) * x**3)
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))


def _gelu(x: F32) -> F32:
    erf = np.array([math.erf(value / math.sqrt(2)) for value in x.reshape(-1).tolist()]).reshape(x.shape)
    return np.asarray(x * (1 + erf) / 2, np.float32)


SCORES: dict[str, Callable[[F32], F32]] = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "sqrt_softplus": lambda x: np.sqrt(np.logaddexp(np.float32(0), x)),
    "softmax_chosen": lambda x: x,
}
"""Scores of a router's logits by gating."""

ACTIVATIONS: dict[str, Callable[[F32], F32]] = {
    "silu": lambda x: x * _sigmoid(x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sigmoid": _sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "softplus": lambda x: np.logaddexp(np.float32(0), x),
}
