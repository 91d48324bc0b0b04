"""The meaning of the ops of `streams.py`, in numpy."""

from __future__ import annotations

import numpy as np

from halflap.graph.reference import ACTIVATIONS, F32, SCORES


def repeat(x: F32, *, streams: int) -> F32:
    """Each row that many times in a row of its own."""
    return np.tile(x, (1, streams))


def stream_weights(
    x: F32, scale: F32, base: F32, *, streams: int, iterations: int, eps: float
) -> F32 | tuple[F32, F32, F32]:
    """Hyper-connections, Xie et al. 2026: sigmoid + eps, twice a sigmoid, and a doubly stochastic matrix of the rest.

    Sinkhorn and Knopp: rows (softmax) and columns are divided by their sums in turn, `iterations` times each.
    """
    sigmoid, tiny = ACTIVATIONS["sigmoid"], np.float32(eps)
    read = sigmoid(x[:, :streams] * scale[0] + base[:streams]) + tiny
    if x.shape[1] == streams:
        return read
    add = 2 * sigmoid(x[:, streams : 2 * streams] * scale[1] + base[streams : 2 * streams])
    square = (x[:, 2 * streams :] * scale[2] + base[2 * streams :]).reshape(-1, streams, streams)
    mix = SCORES["softmax"](square) + tiny
    for turn in range(iterations):
        if turn:
            mix = mix / (mix.sum(axis=2, keepdims=True) + tiny)
        mix = mix / (mix.sum(axis=1, keepdims=True) + tiny)
    return read, add, mix.reshape(len(x), -1)


def mix_streams(x: F32, weights: F32, y: F32 | None, shares: F32 | None, *, streams: int) -> F32:
    parts = x.reshape(len(x), streams, x.shape[1] // streams)
    mixed = np.einsum("tjk,tjd->tkd", weights.reshape(len(x), streams, weights.shape[1] // streams), parts)
    if y is not None and shares is not None:
        mixed = mixed + shares[:, :, None] * y[:, None, :]
    return np.asarray(mixed.reshape(len(x), -1), np.float32)
