"""Is an output right? Not bit by bit, for devices round differently: every token must be as good as the best."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from attrs import frozen

Logits = Callable[[Sequence[int]], Any]


@frozen
class Greedy:
    """What `check_greedy` found; true if the output is right.

    Attributes:
        ok: every emitted token's logit lies within the tolerance of its row's maximum.
        gap: the largest distance of an emitted token's logit from its row's maximum.
        place: index in the output of the token with that gap.
        token: that token; `best` is the row's best one.
    """

    ok: bool
    gap: float
    place: int
    token: int
    best: int

    def __bool__(self) -> bool:
        return self.ok


def check_greedy(model: Any, prompt: Sequence[int], output: Sequence[int], tol: float = 0.0) -> Greedy:
    """Judge an output that was decoded greedily, by feeding prompt and output through a trusted model.

    Args:
        model: who judges: a path of a model file, which is opened on the reference device with f32 KV rows; anything
            with `logits(ids)`, such as a loaded Model; or a function of that kind, ids -> f32 (len(ids), n_vocab).
        prompt: token ids that were fed; at least one.
        output: token ids that came out, the end token included if it was sampled.
        tol: logits by which an emitted token may lie below its row's best: 0 on the device that made it under
            `row_invariant`, otherwise a few times the device's rounding (0.05 to 0.5 for i8x256 on usual models).

    Returns:
        The worst place, usable as a truth value: `assert check_greedy(model, prompt, output, 0.1)`.

    Raises:
        ValueError: an empty prompt or output, or fewer rows of logits than tokens.
    """
    if not prompt or not output:
        raise ValueError(f"prompt and output: got {len(prompt)} and {len(output)} tokens, want at least one of each")
    with _judge(model) as logits:
        rows = np.asarray(logits([*prompt, *output[:-1]]))
    if len(rows) != len(prompt) + len(output) - 1:
        raise ValueError(f"logits: got {len(rows)} rows, want {len(prompt) + len(output) - 1}")
    rows = rows[len(prompt) - 1 :].astype(np.float64)
    gaps = rows.max(axis=-1) - rows[np.arange(len(output)), list(output)]
    place = int(np.argmax(np.where(np.isnan(gaps), np.inf, gaps)))
    ok = bool(gaps[place] <= tol)  # not a number: not right
    return Greedy(ok, float(gaps[place]), place, int(output[place]), int(np.argmax(rows[place])))


@contextmanager
def _judge(model: Any) -> Iterator[Logits]:
    if isinstance(model, str | os.PathLike):
        from halflap.assembly import load

        with load(model, devices=["reference"], kv_type="f32") as opened:
            yield opened.logits
    elif hasattr(model, "logits"):
        yield model.logits
    else:
        yield model
