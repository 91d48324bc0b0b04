"""The meaning of the recurrent ops, in numpy: plain loops over the tokens of each sequence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from halflap.graph.reference import ACTIVATIONS, F32, Context


def walk(context: Context, group: str, layer: int, shape: tuple[int, ...], advance: Callable[[int, F32], F32]) -> None:
    """Carry each sequence's state, of this shape, over its tokens: advance(token, state) -> state after it."""
    step, rows, slots = context.step, context.layer(group, layer), context.step.slots[group]
    kept = [(int(token), int(slot)) for token, slot in slots.emit]
    for s in range(step.n_sequences):
        state = rows.read(int(slots.source[s])).reshape(shape)
        for t in range(step.seq_start[s], step.seq_start[s + 1]):
            state = advance(t, state)
            for token, slot in kept:
                if token == t:
                    rows.write(slot, state)
        rows.write(int(slots.target[s]), state)


def l2_norm(x: F32, *, eps: float, groups: int) -> F32:
    """Each of `groups` equal parts of a row over its length: x / sqrt(sum x^2 + eps)."""
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    squares = np.sum(parts.astype(np.float64) ** 2, axis=-1, keepdims=True)
    return np.asarray((parts / np.sqrt(squares + eps)).astype(np.float32).reshape(x.shape))


def conv_state(
    context: Context, x: F32, weight: F32, bias: F32 | None, *, activation: str, group: str, layer: int
) -> F32:
    """Causal convolution over the sequence, each channel on its own: weight (channels, taps), the last tap is now's.

    The state is the newest taps - 1 rows of x, oldest first.
    """
    out = np.zeros_like(x)

    def advance(t: int, state: F32) -> F32:
        window = np.concatenate([state, x[t : t + 1]])
        out[t] = np.sum(window * weight.T, axis=0)
        return window[1:]

    walk(context, group, layer, (weight.shape[1] - 1, weight.shape[0]), advance)
    if bias is not None:
        out = out + bias
    return out if activation == "none" else ACTIVATIONS[activation](out)


def delta_rule(
    context: Context,
    q: F32,
    k: F32,
    v: F32,
    decay: F32,
    beta: F32,
    *,
    heads: int,
    k_heads: int,
    sharing: str,
    scale: float,
    group: str,
    layer: int,
) -> F32:
    """The gated delta rule, Yang et al. 2024: S = e^decay S + k (beta (v - (e^decay S)' k))'; y = S' (scale q).

    The state S is (heads, size of k's heads, size of v's heads). A k head serves several heads.
    """
    of_head = np.arange(heads) // (heads // k_heads) if sharing == "grouped" else np.arange(heads) % k_heads
    queries, keys = (part.reshape(len(part), k_heads, part.shape[1] // k_heads)[:, of_head] for part in (q, k))
    values = v.reshape(len(v), heads, v.shape[1] // heads)
    out = np.zeros_like(values)

    def advance(t: int, state: F32) -> F32:
        state = state * np.exp(decay[t])[:, None, None]
        missing = values[t] - np.einsum("hkv,hk->hv", state, keys[t])
        state = state + keys[t][:, :, None] * (beta[t][:, None] * missing)[:, None, :]
        out[t] = np.einsum("hkv,hk->hv", state, queries[t] * np.float32(scale))
        return state

    walk(context, group, layer, (heads, keys.shape[2], values.shape[2]), advance)
    return np.asarray(out.reshape(v.shape))


def ssm_scan(
    context: Context,
    x: F32,
    dt: F32,
    b: F32,
    c: F32,
    a: F32,
    d: F32 | None,
    dt_bias: F32 | None,
    *,
    heads: int,
    groups: int,
    group: str,
    layer: int,
) -> F32:
    """Selective state spaces: h = e^(dt a) h + dt b x; y = c h + d x, where dt = softplus(dt + dt_bias).

    Mamba 2 (Dao & Gu 2024): dt, a, d one number per head. Mamba (Gu & Dao 2023): one head, dt and d per channel,
    a (channels, state). The state h is (heads, state, head size); b and c (tokens, groups x state) serve the heads of
    their group.
    """
    size, states = x.shape[1] // heads, b.shape[1] // groups
    inputs = x.reshape(len(x), heads, 1, size)
    step = np.logaddexp(np.float32(0), dt if dt_bias is None else dt + dt_bias).astype(np.float32)
    steps = step.reshape(len(x), heads, 1, step.shape[1] // heads)  # one per head, or one per channel
    rates = a.reshape(heads, 1, 1) if a.size == heads else a.reshape(heads, size, states).swapaxes(1, 2)
    of_group = np.repeat(np.arange(groups), heads // groups)
    gates, reads = (part.reshape(len(x), groups, states)[:, of_group, :, None] for part in (b, c))
    out = np.zeros((len(x), heads, size), np.float32)

    def advance(t: int, state: F32) -> F32:
        state = state * np.exp(steps[t] * rates) + gates[t] * (steps[t] * inputs[t])
        out[t] = np.sum(state * reads[t], axis=1)
        return np.asarray(state)

    walk(context, group, layer, (heads, states, size), advance)
    if d is not None:
        out = out + d.reshape(heads, -1) * inputs[:, :, 0]
    return np.asarray(out.reshape(x.shape))
