"""Thoughts before an answer that is held: in them anything may come but the answer's end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from halflap.constraints.contract import Bits, Constraint, Tokens
from halflap.constraints.spellings import SPACE
from halflap.text.chat.contract import Thoughts

GAP = 8
"""Bytes of white space between a thought and what follows it, beside what the constraint allows."""


class AfterThoughts:
    """A constraint that begins where an answer's thoughts end, or with the answer if it has none.

    Either something else is `_close`d at the moment, a thought, or one of a few texts may come (`_texts`), or what is
    held (`_held`) has begun. The last two go on side by side while both fit.

    Args:
        words: text before what is held, behind that which parts it from a thought.
        make: makes the constraint; it is asked twice where the answer may begin with a thought or without, for a
            thought's opening can look like the beginning of what is held.
    """

    def __init__(self, tokens: Tokens, thoughts: Thoughts, words: str, make: Callable[[], Constraint]) -> None:
        self._spellings, self._token_bytes = tokens.spellings, tokens.tokenizer.token_bytes
        self._breaks = [text.encode() for text in thoughts.breaks]
        self._between, self._next = (thoughts.turn + words).encode(), make()
        self._held: Constraint | None = None
        self._close, self._tail, self._kept = b"", b"", 0
        self._texts: dict[bytes, bytes] = {}  # text -> what closes the thought that it opens; b"": it opens none
        self._said, self._gap = b"", 0
        if thoughts.opened:
            self._think(thoughts.opened.encode())
            return
        if thoughts.may_open:
            self._texts = {opens.encode(): closes.encode() for opens, closes in thoughts.tags}
        if words:
            self._texts[words.encode()] = b""
        else:
            self._held = make() if thoughts.may_open else self._next

    def mask(self) -> Bits | None:
        if self._close:
            return self._thinking()
        mask = self._held.mask() if self._held is not None else None
        if self._held is not None and (mask is None or not (self._texts or self._gap)):
            return mask
        size = len(self._spellings.going_on)
        found = np.zeros(size, np.uint8) if mask is None else mask[:size].copy()
        for text in self._texts:
            found |= self._spellings.towards(text[len(self._said) :])
        if self._gap:
            found |= self._spellings.spaces
        return found

    def accept(self, token: int) -> None:
        if not self._close and not self._texts and not self._gap:
            assert self._held is not None
            return self._held.accept(token)
        text = self._token_bytes(token)
        if self._close:
            return self._thought(token, text)
        said = self._said + text
        for literal, close in self._texts.items():
            if said.startswith(literal):
                return self._think(close) if close else self._hold(self._next)
        allowed = self._held is not None and _has(self._held.mask(), token)
        if not allowed and self._gap and not text.strip(SPACE):
            self._gap = max(self._gap - len(text), 0)
            return None
        self._texts = {literal: close for literal, close in self._texts.items() if literal.startswith(said)}
        self._said, self._gap = said, 0
        if self._held is not None and allowed:
            self._held.accept(token)
        else:
            self._held = None
        return None

    def drafted(self, draft: Sequence[int]) -> Sequence[int]:
        if not self._close:
            return self._held.drafted(draft) if self._held is not None else ()
        tail, close = self._tail, self._close
        for place, token in enumerate(draft):
            tail += self._token_bytes(token)
            if close in tail:
                return draft[: place + 1]
        return draft

    def ahead(self) -> None:
        if self._held is not None:
            self._held.ahead()

    @property
    def complete(self) -> bool:
        return self._held is not None and not self._texts and self._held.complete

    def _think(self, close: bytes) -> None:
        self._close, self._held, self._texts, self._tail = close, None, {}, b""
        self._kept = max(map(len, (close, *self._breaks))) - 1
        calls = [token for text in self._breaks for token in self._spellings.spelling(text)]
        first = self._next.mask() if calls else None
        self._calls = [token for token in calls if _has(first, token)]
        free = self._spellings.going_on & ~self._spellings.holding_past(close)
        for text in self._breaks:
            free &= ~self._spellings.holding(text)
        self._free = free

    def _thinking(self) -> Bits:
        """All but ends, what runs on behind the thought's end, and calls, if they are no part of what is held."""
        found = self._free.copy()
        for size in range(1, min(len(self._tail), self._kept) + 1):
            end = self._tail[-size:]
            if self._close.startswith(end) and end != self._close:
                found &= ~self._spellings.past(self._close[size:])
            for text in self._breaks:
                if text.startswith(end) and end != text:
                    found &= ~self._spellings.completing(text[size:])
        for token in self._calls:
            found[token >> 3] |= 1 << (token & 7)
        return found

    def _thought(self, token: int, text: bytes) -> None:
        if token in self._calls:
            self._hold(self._next)
            self._next.accept(token)
            return
        text = self._tail + text
        if self._close not in text:
            self._tail = text[-self._kept :] if self._kept else b""
            return
        self._close, self._said = b"", b""
        if self._between:
            self._texts = {self._between: b""}
        else:
            self._held, self._gap = self._next, GAP

    def _hold(self, constraint: Constraint) -> None:
        self._held, self._close, self._texts, self._gap = constraint, b"", {}, 0


def _has(mask: Bits | None, token: int) -> bool:
    return mask is None or bool(mask[token >> 3] >> (token & 7) & 1)
