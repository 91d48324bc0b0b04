"""A vocabulary, and answers drawn at random under a constraint, without a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import halflap
from halflap.constraints.contract import Constraint, Tokens
from halflap.sampling.chain import SamplerChain

Drawn = Callable[..., tuple[str, str]]
CLOSING = {b'"': 2.0, b"}": 1.5, b"]": 1.5, b"null": 1.0}
"""Tokens that bring JSON to its end, and how much likelier each step makes them; most of all, what ends a string."""


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    tokenizer = halflap.load_tokenizer("starter")
    return Tokens(tokenizer, tokenizer.n_vocab)


@pytest.fixture(scope="session")
def drawn(tokens: Tokens) -> Drawn:
    """Draws an answer from random logits that bend towards an end; gives its text, and "stop" or "length"."""
    pull = np.zeros(tokens.vocab, np.float32)
    for token in range(tokens.vocab):
        pull[token] = CLOSING.get(tokens.tokenizer.token_bytes(token), 0)
    pull[list(tokens.ends)] = 2

    def draw(constraint: Constraint, seed: int, most: int = 600) -> tuple[str, str]:
        rng, chain = np.random.default_rng(seed), SamplerChain(["temperature"], {"temperature": 1.0}, seed)
        out = b""
        for step in range(most):
            mask = constraint.mask()
            if constraint.complete:
                return out.decode(), "stop"
            row = rng.normal(0, 3, tokens.vocab).astype(np.float32) + pull * np.float32(step / 10)
            token = chain.choose(row, mask)
            if token in tokens.ends:
                return out.decode(), "stop"
            constraint.accept(token)
            constraint.ahead()
            out += tokens.tokenizer.token_bytes(token)
        return out.decode("utf-8", "replace"), "length"

    return draw
