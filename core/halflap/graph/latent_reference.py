"""The meaning of the op `latent_attention`, in numpy; see `reference.py`."""

from __future__ import annotations

import numpy as np

from halflap.graph.ir import BLOCK_TOKENS
from halflap.graph.reference import F32, I32, Context


def latent_attention(
    context: Context,
    q: F32,
    key: F32 | None,
    latent: F32 | None,
    k_up: F32,
    v_up: F32,
    chosen: I32 | None,
    *,
    heads: int,
    plain_dim: int,
    rotated_dim: int,
    rank: int,
    v_head_dim: int,
    scale: float,
    group: str,
    layer: int,
) -> F32:
    """DeepSeek-AI 2024 (MLA): heads share one latent row and one rotated key per token, which is all that is stored.

    Head h's key is (k_up[h]·latent, key), its value v_up[h]·latent. The matrices are applied to the query and to the
    weighted sum of latent rows instead, which is the same. Without key and latent the layer is only read. A token sees
    the `chosen` places alone, if they are given; -1 is none.
    """
    step, table, rows = context.step, context.step.groups[group], context.layer(group, layer)
    parts = q.reshape(len(q), heads, plain_dim + rotated_dim)
    absorbed = np.einsum("thp,hrp->thr", parts[..., :plain_dim], k_up)
    mixed = np.zeros((len(q), heads, rank), np.float32)
    for s in range(step.n_sequences):
        tokens = slice(step.seq_start[s], step.seq_start[s + 1])
        index, blocks = step.index[tokens], table.blocks[table.table_start[s] : table.table_start[s + 1]]
        local = index - table.first_token[s]
        if key is not None and latent is not None:
            rows.write(blocks[local // BLOCK_TOKENS], local % BLOCK_TOKENS, key[tokens], latent[tokens])
        count = table.length[s] - table.first_token[s]
        keys, latents = (part[:count] for part in rows.read(blocks))
        scores = absorbed[tokens] @ latents.T + parts[tokens, :, plain_dim:] @ keys.T
        later = np.arange(count)[None, :] > local[:, None]
        if chosen is not None:
            first = table.first_token[s]
            if np.any((chosen[tokens] > index[:, None]) | ((chosen[tokens] < first) & (chosen[tokens] != -1))):
                raise IndexError(f"chosen places {chosen[tokens].tolist()!s:.80}")
            seen = np.zeros((len(index), count + 1), np.bool_)
            np.put_along_axis(seen, np.where(chosen[tokens] < 0, count, chosen[tokens] - first), True, axis=1)
            later = ~seen[:, :count]
        scores = np.where(later[:, None, :], -np.inf, scores * np.float32(scale))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed[tokens] = weights / weights.sum(axis=-1, keepdims=True) @ latents
    return np.asarray(np.einsum("thr,hvr->thv", mixed, v_up).reshape(len(q), heads * v_head_dim), np.float32)
