"""The meaning of the ops of encoders, in numpy."""

from __future__ import annotations

import numpy as np

from halflap.graph.ir import BLOCK_TOKENS
from halflap.graph.reference import F32, Context, by_distance


def self_attention(
    context: Context,
    q: F32,
    k: F32,
    v: F32,
    bias: F32 | None,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    v_head_dim: int,
    scale: float,
    window: int,
    buckets: tuple[int, ...],
) -> F32:
    """Attention of every token of a sequence of this step to every other one, or to those less than `window` away."""
    step, out = context.step, np.zeros((len(q), heads * v_head_dim), np.float32)
    for begin, end in zip(step.seq_start[:-1], step.seq_start[1:], strict=True):
        count = end - begin
        queries = q[begin:end].reshape(count, kv_heads, heads // kv_heads, head_dim)
        scores = np.einsum("tgqd,sgd->tgqs", queries, k[begin:end].reshape(count, kv_heads, head_dim))
        scores = scores * np.float32(scale)
        apart = np.arange(count)[None, :] - np.arange(count)[:, None]  # of a key from a query
        if bias is not None:
            added = by_distance(bias, buckets, apart).reshape(count, count, kv_heads, -1)
            scores = scores + added.transpose(0, 2, 3, 1)
        if window:
            scores = np.where((np.abs(apart) >= window)[:, None, None, :], -np.inf, scores)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
        weights = weights / weights.sum(axis=-1, keepdims=True)
        values = v[begin:end].reshape(count, kv_heads, v_head_dim)
        out[begin:end] = np.einsum("tgqs,sgd->tgqd", weights, values).reshape(count, -1)
    return out


def keep_rows(
    context: Context, x: F32, k: F32, v: F32, *, head_dim: int, v_head_dim: int, group: str, layer: int
) -> F32:
    """x itself, after the K and V rows of the step's tokens are stored."""
    step, table, rows = context.step, context.step.groups[group], context.layer(group, layer)
    for s in range(step.n_sequences):
        tokens = slice(step.seq_start[s], step.seq_start[s + 1])
        blocks, local = table.blocks[table.table_start[s] :], step.index[tokens] - table.first_token[s]
        rows.write(blocks[local // BLOCK_TOKENS], local % BLOCK_TOKENS, k[tokens], v[tokens])
    return x


def clamp(x: F32, low: F32, high: F32) -> F32:
    """At least `low`, then at most `high`."""
    return np.asarray(np.minimum(np.maximum(x, low), high))


def mean_rows(x: F32, *, count: int) -> F32:
    """The mean of each `count` rows that follow each other."""
    return np.asarray(x.reshape(-1, count, x.shape[1]).mean(axis=1))


def join_rows(x: F32, *, count: int, interleaved: bool) -> F32:
    """Each `count` neighbouring rows as one, or with their elements in turn: (T, N) to (T / count, count·N)."""
    parts = x.reshape(-1, count, x.shape[1])
    return np.ascontiguousarray(parts.swapaxes(1, 2) if interleaved else parts).reshape(len(parts), -1)
