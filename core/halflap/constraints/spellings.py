"""Which tokens begin, spell out or complete a text, as masks: for rules about text, held without a grammar."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from halflap.constraints.contract import Bits, Tokens, packed

SPACE = b" \n\t\r"
"""White space as JSON has it."""


class Spellings:
    """The bytes of a model's tokens, in order. Each mask is made once; nobody may write to one."""

    def __init__(self, tokens: Tokens) -> None:
        tokenizer = tokens.tokenizer
        known = (i for i in range(min(tokenizer.n_vocab, tokens.vocab)) if i not in tokens.ends)
        self._vocab = tokens.vocab
        self._sorted = sorted((text, i) for i in known if (text := tokenizer.token_bytes(i)))
        self._masks: dict[tuple[str, bytes], Bits] = {}
        going_on = np.ones(tokens.vocab, bool)
        going_on[list(tokens.ends)] = False
        self.going_on = packed(going_on)
        """All that do not end an answer."""
        self.spaces = self._mask(i for text, i in self._sorted if not text.strip(SPACE))

    def spelling(self, text: bytes) -> list[int]:
        """Tokens that are this text."""
        return [i for whole, i in self._beginning(text) if whole == text]

    def towards(self, text: bytes) -> Bits:
        """Tokens that begin this text, or are it, with white space behind it at the most."""

        def find() -> Iterator[int]:
            for size in range(1, len(text)):
                yield from self.spelling(text[:size])
            yield from (i for whole, i in self._beginning(text) if _blank(whole[len(text) :]))

        return self._once("towards", text, find)

    def completing(self, text: bytes) -> Bits:
        """Tokens that begin with this text."""
        return self._once("completing", text, lambda: (i for _, i in self._beginning(text)))

    def holding(self, text: bytes) -> Bits:
        """Tokens in which this text is."""
        return self._once("holding", text, lambda: (i for whole, i in self._sorted if text in whole))

    def past(self, text: bytes) -> Bits:
        """Tokens that begin with this text and go on with more than white space."""
        return self._once("past", text, lambda: (i for b, i in self._beginning(text) if not _blank(b[len(text) :])))

    def holding_past(self, text: bytes) -> Bits:
        """Tokens in which this text is, and more than white space behind it."""

        def find() -> Iterator[int]:
            return (i for b, i in self._sorted if text in b and not _blank(b.partition(text)[2]))

        return self._once("holding_past", text, find)

    def _beginning(self, text: bytes) -> Iterator[tuple[bytes, int]]:
        for place in range(bisect_left(self._sorted, (text, -1)), len(self._sorted)):
            if not self._sorted[place][0].startswith(text):
                return
            yield self._sorted[place]

    def _once(self, what: str, text: bytes, find: Callable[[], Iterable[int]]) -> Bits:
        if (what, text) not in self._masks:
            self._masks[what, text] = self._mask(find())
        return self._masks[what, text]

    def _mask(self, ids: Iterable[int]) -> Bits:
        found = np.zeros(self._vocab, bool)
        found[list(ids)] = True
        return packed(found)


def _blank(text: bytes) -> bool:
    return not text.strip(SPACE)
