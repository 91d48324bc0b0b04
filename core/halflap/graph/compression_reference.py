"""The meaning of the ops of `compression.py`, in numpy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from halflap.graph.ir import BLOCK_TOKENS
from halflap.graph.recurrent_reference import walk
from halflap.graph.reference import F32, I32, Context
from halflap.graph.step import GroupStep


def compress(
    context: Context,
    kv: F32,
    gate: F32,
    bias: F32,
    *,
    rate: int,
    overlap: bool,
    group: str,
    layer: int,
) -> F32:
    """DeepSeek-AI 2026 (V4): an element of a window's row is a mean of its tokens', weighed by softmax(gate + bias).

    With `overlap` the mean also takes in the tokens of the window before, each window through a half of its own. The
    state is a running softmax per element, (sums, 3, width): the highest gate, the sum of weights, the weighted sum;
    of this window, and with `overlap` of the next.
    """
    sets = 2 if overlap else 1
    index, width = context.step.index, kv.shape[1] // sets
    gated = gate + bias[index % rate]
    out = np.zeros((len(kv), width), np.float32)

    def advance(t: int, state: F32) -> F32:
        if index[t] % rate == 0:
            state = np.concatenate([state[1:], np.zeros((1, 3, width), np.float32)])
        # The window's own half is the last; the other is for the next window.
        values, gates = (x[t].reshape(sets, width)[::-1] for x in (kv, gated))
        peak, total, mixed = state[:, 0], state[:, 1], state[:, 2]
        top = np.where(total > 0, np.maximum(peak, gates), gates)
        faded, weight = np.exp(np.where(total > 0, peak - top, -np.inf)), np.exp(gates - top)
        state = np.stack([top, total * faded + weight, mixed * faded + weight * values], axis=1)
        out[t] = state[0, 2] / state[0, 1]
        return state.astype(np.float32)

    walk(context, group, layer, (sets, 3, width), advance)
    return out


def select_rows(
    context: Context,
    q: F32,
    weights: F32,
    key: F32,
    *,
    heads: int,
    rate: int,
    count: int,
    group: str,
    layer: int,
) -> I32:
    """The indexer of DeepSeek 3.2 and 4: a row's score is the sum over heads of weight times relu(q . key).

    Ties: the lower number. The keys of windows that this step completes are stored first.
    """
    step, table, rows = context.step, context.step.groups[group], context.layer(group, layer)
    out = np.full((len(q), count), -1, np.int32)
    queries = q.reshape(len(q), heads, key.shape[1])
    for s in range(step.n_sequences):
        tokens = slice(step.seq_start[s], step.seq_start[s + 1])
        index, blocks, first = step.index[tokens], _blocks(table, s), table.first_token[s] // rate
        whole, of_blocks, places = _windows(index, table.first_token[s], rate)
        rows.write(blocks[of_blocks], places, key[tokens][whole], np.zeros((int(whole.sum()), 0), np.float32))
        keys = rows.read(blocks)[0]
        for t, seen in enumerate((index + 1) // rate - first, step.seq_start[s]):
            scores = np.maximum(queries[t] @ keys[:seen].T, 0).T @ weights[t]
            best = np.sort(np.argsort(-scores, kind="stable")[:count])
            out[t, : len(best)] = best + first
    return out


def compressed_attention(
    context: Context,
    q: F32,
    row: F32,
    far: F32 | None,
    chosen: I32 | None,
    sinks: F32 | None,
    *,
    heads: int,
    scale: float,
    window: int,
    rate: int,
    far_group: str,
    far_layer: int,
    group: str,
    layer: int,
) -> F32:
    """One softmax over the rows of the newest tokens and those of all complete windows, or of the chosen ones.

    This step's rows are stored first. A sink is a logit per head that carries no value.
    """
    step, width = context.step, row.shape[1]
    queries, out = q.reshape(len(q), heads, width), np.zeros((len(q), heads, width), np.float32)
    none = np.zeros((len(row), 0), np.float32)
    for s in range(step.n_sequences):
        tokens = slice(step.seq_start[s], step.seq_start[s + 1])
        index, table = step.index[tokens], step.groups[group]
        first, blocks, near = table.first_token[s], _blocks(table, s), context.layer(group, layer)
        local = index - first
        near.write(blocks[local // BLOCK_TOKENS], local % BLOCK_TOKENS, none[tokens], row[tokens])
        newest = near.read(blocks)[1]
        older, begin, seen = newest[:0], 0, index - index
        if far is not None:
            table, layer_rows = step.groups[far_group], context.layer(far_group, far_layer)
            blocks, begin = _blocks(table, s), table.first_token[s] // rate
            whole, of_blocks, places = _windows(index, table.first_token[s], rate)
            layer_rows.write(blocks[of_blocks], places, none[tokens][whole], far[tokens][whole])
            older, seen = layer_rows.read(blocks)[1], (index + 1) // rate - begin
        for t, place, complete in zip(range(tokens.start, tokens.stop), index, seen, strict=True):
            oldest = max(place - window + 1, first) if window else first
            taken = np.arange(complete) if chosen is None else chosen[t][chosen[t] >= 0] - begin
            if np.any((taken < 0) | (taken >= complete)):
                raise IndexError(f"chosen rows {chosen}")
            rows = np.concatenate([newest[oldest - first : place - first + 1], older[taken]])
            scores = queries[t] @ rows.T * np.float32(scale)
            top = scores.max(axis=1) if sinks is None else np.maximum(scores.max(axis=1), sinks)
            shares = np.exp(scores - top[:, None])
            total = shares.sum(axis=1) + (0 if sinks is None else np.exp(sinks - top))
            out[t] = (shares / total[:, None]) @ rows
    return out.reshape(q.shape)


def _blocks(table: GroupStep, sequence: int) -> I32:
    return table.blocks[table.table_start[sequence] : table.table_start[sequence + 1]]


def _windows(index: I32, first_token: int, rate: int) -> tuple[npt.NDArray[np.bool_], I32, I32]:
    """Which tokens are the last of their window; the place of its block in the table, and of its row there."""
    whole = (index + 1) % rate == 0
    rows, block_rows = (index[whole] - first_token) // rate, math.lcm(BLOCK_TOKENS, rate) // rate
    return whole, rows // block_rows, rows % block_rows
