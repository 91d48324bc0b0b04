"""Finding special tokens in text, before anything else looks at it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, models

__all__ = ["Splitter", "well_formed"]


class Splitter:
    """Parts text at a set of literal tokens: leftmost first, and of those that begin there the longest.

    Args:
        tokens: their texts; none empty.
        ids: the id of each.
    """

    def __init__(self, tokens: Sequence[str], ids: Sequence[int]) -> None:
        self._ids: list[int] | None = None
        if tokens:
            # A word-level tokenizer with no words serves as the automaton: all it can find are added tokens.
            other = "\0" * (1 + max(map(len, tokens)))
            self._finder = Tokenizer(models.WordLevel({other: 0}, unk_token=other))
            self._finder.add_tokens([AddedToken(token, normalized=False, special=False) for token in tokens])
            by_text = dict(zip(reversed(tokens), reversed(ids), strict=True))  # of equal texts the first
            found = self._finder.get_vocab()
            self._ids = [-1] * len(found)
            for text, number in found.items():
                self._ids[number] = by_text.get(text, -1)

    def split(self, text: str) -> list[int | str]:
        """The text in order, as token ids and the texts between them (never empty)."""
        if self._ids is None or not text:
            return [text] if text else []
        ids = self._ids
        try:
            found = self._finder.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeError):
            text = well_formed(text)
            found = self._finder.encode(text, add_special_tokens=False)
        return [
            text[start:end] if ids[number] < 0 else ids[number]
            for number, (start, end) in zip(found.ids, found.offsets, strict=True)
        ]


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined and lone surrogates, which no UTF-8 has, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
