"""Tokens to text one by one, never showing half a character."""

from __future__ import annotations

import codecs

from halflap.text.tokenizer import Tokenizer

__all__ = ["Detokenizer"]


class Detokenizer:
    """The text of a growing sequence of tokens.

    `push` returns what has become certain: the bytes of an unfinished UTF-8 character wait for the next token, and
    bytes that can no longer become one give U+FFFD. All text pushed and flushed together equals
    `Tokenizer.decode` of the same ids.

    Args:
        tokenizer: whose tokens these are.
        skip_special: give control and unknown tokens no text.
        at_start: the sequence begins a text, so that the space SentencePiece puts in front is not part of it. Not so
            for tokens that continue a prompt.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = True, at_start: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._strip = at_start and tokenizer.adds_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that `token` completes; often empty.

        Raises:
            InvalidRequestError: an id that the vocabulary does not have.
        """
        piece = self._tokenizer.token_bytes(token)
        if self._tokenizer.is_special(token):
            if self._skip_special:
                return ""
        elif self._strip:
            self._strip = False
            piece = piece.removeprefix(b" ")
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never was completed, else nothing."""
        return self._decoder.decode(b"", final=True)
