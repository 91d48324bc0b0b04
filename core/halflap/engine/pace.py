"""How much of a prompt a step may read while others wait for their next token."""

from __future__ import annotations

from halflap.graph.ir import BLOCK_TOKENS

LONGEST_STEP = 0.25
"""Seconds that a prompt may add to a step in which answers are written."""
MEASURED = 4 * BLOCK_TOKENS
"""Prompt tokens from which a step's time tells what a token costs; below, the weights' reading hides it."""


class Pace:
    """Measures seconds per prompt token, and bounds a step's share of prompts by them.

    Attributes:
        tokens: prompt tokens of a step in which some sequence decodes.
    """

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = self.tokens = step_tokens
        self._per_token = 0.0

    def measured(self, prompt_tokens: int, seconds: float) -> None:
        """A step read so many tokens of prompts."""
        if prompt_tokens >= min(MEASURED, self._step_tokens):
            found = seconds / prompt_tokens
            self._per_token += (found - self._per_token) * (0.3 if self._per_token else 1.0)
            blocks = int(LONGEST_STEP / self._per_token) // BLOCK_TOKENS
            self.tokens = min(self._step_tokens, max(1, blocks) * BLOCK_TOKENS)
