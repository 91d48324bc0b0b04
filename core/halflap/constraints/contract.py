"""What `register_constraints` registers: factory(tokens, **options) -> Constraint, once for each answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from halflap.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from halflap.constraints.spellings import Spellings

Bits = npt.NDArray[np.uint8]


class Constraint(Protocol):
    """One answer's rules; used by one thread at a time."""

    def mask(self) -> Bits | None:
        """u8 (at least vocab / 8,): bit i of byte b says whether token 8 b + i may come next; None: any may.

        What ends an answer may come where the answer may end. Used up before the next call of any method.
        """

    def accept(self, token: int) -> None:
        """A token was chosen, other than one that ends the answer."""

    def drafted(self, draft: Sequence[int]) -> Sequence[int]:
        """As much of a draft as could come next."""

    def ahead(self) -> None:
        """A device computes what `mask` is for: a good time to make it, elsewhere."""

    @property
    def complete(self) -> bool:
        """Nothing may follow any more."""


def packed(allowed: npt.NDArray[np.bool_]) -> Bits:
    """A mask from one bool for each token."""
    return np.packbits(allowed, bitorder="little")


class Tokens:
    """A model's tokens as constraints see them. Made with the model, filled at first use; any thread may ask.

    Attributes:
        tokenizer: whose tokens these are.
        vocab: how many a row of logits has; more than the tokenizer's in some files.
        ends: tokens that end an answer.
    """

    def __init__(self, tokenizer: Tokenizer, vocab: int) -> None:
        self.tokenizer, self.vocab = tokenizer, vocab
        self.ends = frozenset(token for token in tokenizer.eog_ids if token < vocab)
        self._lock = threading.Lock()
        self._trie: Any = None

    @property
    def trie(self) -> Any:
        """The engine's own form of them, an `llguidance.LLTokenizer`; about a second at a vocabulary of 152k."""
        from halflap.constraints.matching import trie  # the engine is optional

        with self._lock:
            if self._trie is None:
                self._trie = trie(self)
            return self._trie

    @cached_property
    def spellings(self) -> Spellings:
        """Their texts, for rules that are held without the engine."""
        from halflap.constraints.spellings import Spellings  # which stands on this

        return Spellings(self)

    @cached_property
    def thread(self) -> ThreadPoolExecutor:
        """Where masks are made while a device computes."""
        return ThreadPoolExecutor(1, "halflap-masks")
