"""How much of a prompt a step may read while others wait for their next token."""

from __future__ import annotations

LONGEST_STEP = 0.25
"""Seconds that prompts may add to a step in which answers are written."""
MOST = 4
"""Times as many where more admitted sequences wait for their first token than for their next: the sooner those answer,
the fuller are the steps."""
TILE = 16
"""Tokens that kernels multiply together: a step of whole tiles wastes none."""
MEASURED = 8 * TILE
"""Prompt tokens from which a step's time tells what a token costs; below, the weights' reading hides it."""


class Pace:
    """Measures seconds per prompt token, and bounds a step's share of prompts by them."""

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._per_token = 0.0

    def tokens(self, reading: int, answering: int) -> int:
        """Prompt tokens of a step in which so many sequences decode, and others have not read their prompts."""
        if not self._per_token:
            return self._step_tokens
        seconds = LONGEST_STEP * min(MOST, max(1.0, reading / answering))
        whole = (int(seconds / self._per_token) + answering) // TILE * TILE
        return min(self._step_tokens, max(TILE, whole - answering))

    def measured(self, prompt_tokens: int, seconds: float) -> None:
        """A step read so many tokens of prompts."""
        if prompt_tokens >= min(MEASURED, self._step_tokens):
            found = seconds / prompt_tokens
            self._per_token += (found - self._per_token) * (0.3 if self._per_token else 1.0)
