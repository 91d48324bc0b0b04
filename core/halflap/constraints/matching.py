"""Grammars on llguidance: what it takes of a vocabulary and a grammar, and the masks it gives back."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from halflap.constraints.contract import Bits, Tokens, packed
from halflap.errors import ConstraintError
from halflap.text.chat.families import ALL_TAGS

T = TypeVar("T")

CHARACTERS = 100_000
"""Longest text of a schema, regular expression or grammar; with LIMITS this bounds compiling to 1 s and 200 MB."""

LIMITS = {
    "max_lexer_states": 50_000,
    "max_grammar_size": 200_000,
    "step_max_items": 20_000,
    "verbose_errors": False,
}

FORCED = 1000
"""Characters of it that are tokenised at a time."""

STACK = 256 << 20
"""Bytes of address space for compiling: rules that use each other recurse, as far as CHARACTERS lets them."""
_stack_size = threading.Lock()


def library(field: str) -> Any:
    """llguidance.

    Raises:
        ConstraintError: it is not installed.
    """
    try:
        return importlib.import_module("llguidance")
    except ImportError as cause:
        raise ConstraintError(
            f"option {field!r}", got="a constraint, and no llguidance to hold answers to it", want="llguidance",
            fix="Install it: pip install 'halflap[constraints]'.", field=field,
        ) from cause  # fmt: skip


class _Words:
    """A vocabulary in the form that `llguidance.TokenizerWrapper` asks for."""

    def __init__(self, tokens: Tokens) -> None:
        tokenizer = self._tokenizer = tokens.tokenizer
        known = range(min(tokenizer.n_vocab, tokens.vocab))
        texts = [tokenizer.token_bytes(token) for token in known]
        texts += [b""] * (tokens.vocab - len(texts))
        self.special_token_ids = [
            token
            for token in known
            if tokenizer.is_special(token) and (token in tokens.ends or tokenizer.token_text(token) not in ALL_TAGS)
        ]  # what a parser of chats reads is text
        if not tokens.ends:  # it wants one: a token that no row has
            self.special_token_ids.append(len(texts))
            texts.append(b"<end>")
        self.tokens, self.bos_token_id = texts, None
        self.eos_token_id = min(tokens.ends, default=len(texts) - 1)

    def __call__(self, text: str | bytes) -> list[int]:
        """Tokens of text that a grammar leaves no choice about; of very long text the first will do."""
        text = text if isinstance(text, str) else text[:FORCED].decode("utf-8", "replace")
        return self._tokenizer.encode(text[:FORCED], add_special=False)


def trie(tokens: Tokens) -> Any:
    """The vocabulary as llguidance walks it."""
    engine, words = library("constraint"), _Words(tokens)
    ends = sorted(tokens.ends) or [words.eos_token_id]
    return engine.LLTokenizer(engine.TokenizerWrapper(words), n_vocab=len(words.tokens), eos_token=ends)


class Matching:
    """A Constraint that follows a grammar.

    Args:
        grammar: what `llguidance.LLMatcher.grammar_from_…` made, or Lark text.
        field: the request's option that it came from.

    Raises:
        ConstraintError: it cannot be compiled within the limits, or nothing fits it.
    """

    def __init__(self, tokens: Tokens, grammar: str, field: str) -> None:
        engine = library(field)
        self._field, self._thread, self._vocab = field, tokens.thread, tokens.vocab
        if len(grammar) > 2 * CHARACTERS:
            raise refused(field, f"{len(grammar):,} characters", f"at most {2 * CHARACTERS:,} when written out")
        trie, limits = tokens.trie, engine.LLParserLimits(**LIMITS)
        self._matcher = _deep(lambda: engine.LLMatcher(trie, grammar, log_level=0, limits=limits))
        self._check()
        self._bits = np.zeros((trie.vocab_size + 31) // 32, np.int32)
        words = np.full(32 * len(self._bits), True)
        words[list(tokens.ends) or [tokens.vocab]] = False
        self._words = packed(words).view(np.int32)  # as a mask: all but what ends an answer
        self._making: Future[None] | None = None
        self._made = self._over = False
        self._make()
        self._check()

    @property
    def complete(self) -> bool:
        self._wait()
        return bool(self._matcher.is_stopped()) or (self._made and self._over)

    def mask(self) -> Bits:
        self._wait()
        if not self._made:
            self._make()
            self._check()
        return self._bits.view(np.uint8)

    def accept(self, token: int) -> None:
        self._wait()
        self._made = False
        self._matcher.consume_token(token)
        self._check()

    def drafted(self, draft: Sequence[int]) -> Sequence[int]:
        self._wait()
        return draft[: self._matcher.validate_tokens(list(draft))]

    def ahead(self) -> None:
        if not self._made and self._making is None:
            self._making = self._thread.submit(self._make)

    def _make(self) -> None:
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        self._over = self._matcher.is_accepting() and not (self._bits & self._words).any()
        self._made = True

    def _wait(self) -> None:
        if self._making is not None:
            making, self._making = self._making, None
            making.result()
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise refused(self._field, _first_lines(self._matcher.get_error()), "one that fits some text, in bounds")


def _deep(do: Callable[[], T]) -> T:
    """Does something on a thread with room for deep recursion."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(do())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="halflap-grammar", daemon=True)
    with _stack_size:
        before = threading.stack_size(STACK)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return done.result()


def refused(field: str, got: str, want: str, fix: str | None = None) -> ConstraintError:
    return ConstraintError(f"option {field!r}", got=got, want=want, fix=fix, field=field)


def checked_length(text: str, field: str) -> str:
    """Raises ConstraintError if a text is too long to be compiled in bounds."""
    if len(text) > CHARACTERS:
        raise refused(field, f"{len(text):,} characters", f"at most {CHARACTERS:,}")
    return text


def _first_lines(message: str) -> str:
    """What llguidance says, without the state it adds."""
    if message.startswith("NoExtension"):
        return "something that no text fits"
    lines = message.split("<state>")[0].split("<backtrace>")[0].strip().splitlines()
    return f"an error: {' '.join(' '.join(lines).split())[:300]}"
