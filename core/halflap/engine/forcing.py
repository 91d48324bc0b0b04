"""Thoughts that have used up their tokens are ended: the closing tag's come next, whatever the model would say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from halflap.constraints.contract import Bits


class ThoughtBudget:
    """Follows one answer's tokens, and says which must come next.

    Args:
        budget: tokens of thought, all thoughts together.
        opens, closes: what begins a thought, and what ends it.
        ending: tokens that end it when the budget is spent.
        inside: the prompt ends in a thought.
        token_bytes: what a token adds to the text.
    """

    def __init__(
        self,
        budget: int,
        opens: Sequence[str],
        closes: Sequence[str],
        ending: Sequence[int],
        inside: bool,
        token_bytes: Callable[[int], bytes],
    ) -> None:
        self._budget, self._ending, self._inside = budget, tuple(ending), inside
        self._opens, self._closes = [text.encode() for text in opens], [text.encode() for text in closes]
        self._keep = max(len(tag) for tag in (*self._opens, *self._closes)) - 1
        self._token_bytes = token_bytes
        self._used, self._tail = 0, b""
        self._due: list[int] = []
        self._check()

    def choose(self, token: int, mask: Bits | None) -> int:
        """The token that comes next where this one was chosen; a constraint that forbids the ending has its way."""
        if not self._due:
            return token
        due = self._due[0]
        return due if mask is None or mask[due >> 3] >> (due & 7) & 1 else token

    def accept(self, token: int) -> None:
        """A token was added to the answer."""
        if self._due:
            if token == self._due[0]:
                del self._due[0]
            if not self._due:
                self._inside, self._tail = False, b""
            return
        text = self._tail + self._token_bytes(token)
        self._used += self._inside
        if any(tag in text for tag in (self._closes if self._inside else self._opens)):
            self._inside, text = not self._inside, b""
        self._tail = text[len(text) - self._keep :] if len(text) > self._keep else text
        self._check()

    def _check(self) -> None:
        if self._inside and self._used >= self._budget:
            self._due = list(self._ending)
