"""Text to token ids and back, as the model file defines it."""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import attrs
from tokenizers import Tokenizer as HuggingFaceTokenizer

from halflap.errors import InvalidRequestError
from halflap.text.pretokenizers import PreTokenizer
from halflap.text.special_tokens import Splitter, well_formed
from halflap.text.token_models import SPACE, PlainEncoder, plain_encoder
from halflap.text.vocabulary import BYTE, CONTROL, UNKNOWN, USER_DEFINED, Vocabulary

__all__ = ["Tokenizer"]

_C_SPACES: Final = " \t\n\v\f\r"


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable Latin-1 stands for itself, the other 68 follow from U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(rest)}


_BYTES: Final = _byte_alphabet()


class Tokenizer:
    """A model's tokenizer. Immutable and safe to share between threads.

    Attributes:
        vocabulary: the checked metadata it was made from.
        n_vocab: number of tokens.
        bos_id, eos_id, eot_id, eom_id, unk_id, sep_id, pad_id, mask_id: None where the model has no such token.
        eog_ids: every token that ends generation, by id or by its well-known name.
        chat_template: the file's Jinja template, or None.
        add_bos, add_eos: what `add_special` adds.
        adds_space: encoding puts a space in front of the text.
    """

    def __init__(self, vocabulary: Vocabulary, encoder: PlainEncoder) -> None:
        self.vocabulary = vocabulary
        self.n_vocab = len(vocabulary.tokens)
        ids = vocabulary.ids
        self.bos_id, self.eos_id = ids.get("bos"), ids.get("eos")
        self.eot_id, self.eom_id = ids.get("eot"), ids.get("eom")
        self.unk_id, self.sep_id = ids.get("unknown"), ids.get("seperator")
        self.pad_id, self.mask_id = ids.get("padding"), ids.get("mask")
        self.eog_ids = vocabulary.end_ids
        self.chat_template = vocabulary.chat_template
        wordpiece = vocabulary.kind == "wordpiece"
        wants_bos = encoder.add_bos if vocabulary.add_bos is None else vocabulary.add_bos
        self.add_bos = (wants_bos or encoder.force_bos) and self.bos_id is not None
        end = self.sep_id if wordpiece else self.eos_id
        wants_end = wordpiece or (vocabulary.kind == "unigram" if vocabulary.add_eos is None else vocabulary.add_eos)
        self.add_eos = wants_end and end is not None
        self._prefix = [self.bos_id] if self.add_bos and self.bos_id is not None else []
        self._suffix = [end] if self.add_eos and end is not None else []
        self.adds_space = encoder.prefixed
        self._encoder = encoder
        self._backend = encoder.backend
        user, special = vocabulary.of_type(USER_DEFINED), vocabulary.of_type(USER_DEFINED, CONTROL, UNKNOWN)
        self._always = Splitter([vocabulary.tokens[i] for i in user], user)
        self._special = Splitter([vocabulary.tokens[i] for i in special], special)
        self._hidden = frozenset(vocabulary.of_type(CONTROL, UNKNOWN)) | self.eog_ids | frozenset(self._prefix)
        self._strips_left, self._strips_right = encoder.strips or _stripping(vocabulary, special)
        self._later = encoder.later or self._backend

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], *, pretokenizers: Mapping[str, PreTokenizer] | None = None
    ) -> Tokenizer:
        """Build the tokenizer that a model file's metadata describes.

        Args:
            metadata: GGUF metadata, of which `tokenizer.*` and `general.name` are read.
            pretokenizers: further ones by name, as plugins register them.

        Raises:
            ModelFormatError: the metadata is missing, of wrong types, or contradicts itself; the message names the key.
            UnsupportedModelError: a kind of tokenizer, or a pre-tokenizer, that nothing here provides.
        """
        was_enabled = gc.isenabled()
        gc.disable()  # half a million tuples would have the collector run over them again and again
        try:
            vocabulary = Vocabulary.from_metadata(metadata)
            encoder = plain_encoder(vocabulary, pretokenizers)
            return cls(
                attrs.evolve(vocabulary, merges=[], json=""), encoder
            )  # the backend has its own copy of the merges
        finally:
            if was_enabled:
                gc.enable()

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of `text`.

        Args:
            text: any string; lone surrogates count as U+FFFD.
            add_special: add the tokens that the model wants around a text (BOS, EOS, CLS, SEP).
            parse_special: let control tokens be written out ("<|im_end|>"); else they are text like any other.
                User-defined tokens are found in either case, as their models were trained.
        """
        return self.encode_pieces([(text, parse_special)], add_special=add_special)

    def encode_pieces(self, pieces: Sequence[tuple[str, bool]], *, add_special: bool = True) -> list[int]:
        """Token ids of a rendered chat: (text, whether it may form control tokens) in order.

        The text of all pieces is tokenised as one, so that ids are those of the whole prompt, and what SentencePiece
        puts in front of text comes only at the start and after special tokens; only the search for
        special tokens stops at the borders between special and plain pieces. Hence no control token can arise from a
        plain piece, nor from a plain and a special one together.
        """
        parts: list[int | str] = []
        for text, special in _runs(pieces):
            for part in (self._special if special else self._always).split(text):
                if isinstance(part, str) and parts and isinstance(parts[-1], str):
                    parts[-1] += part
                else:
                    parts.append(part)
        ids = list(self._prefix) if add_special else []
        for i, part in enumerate(parts):
            if isinstance(part, int):
                ids.append(part)
                continue
            if i and parts[i - 1] in self._strips_right:
                part = part.lstrip(_C_SPACES)
            if i + 1 < len(parts) and parts[i + 1] in self._strips_left:
                part = part.rstrip(_C_SPACES)
            if part:
                ids += self._encode_plain(part, self._later if i else self._backend)
        return ids + self._suffix if add_special else ids

    def encode_pair(self, query: str, document: str) -> list[int]:
        """Token ids of a question and a text that may answer it, for models that score such pairs.

        A file's own form goes first (`tokenizer.chat_template.rerank`, in which {query} and {document} stand for the
        two). Else they are framed as in training: BOS query END document END; where the file says so, or says nothing
        and END is not BERT's [SEP], a separator follows the first END (XLM-R, RoBERTa: `<s> q </s></s> d </s>`).

        Raises:
            InvalidRequestError: the vocabulary has no token that could end or separate them.
        """
        if (template := self.vocabulary.rerank_template) is not None:
            texts = {"{query}": query, "{document}": document}
            parts = re.split(r"(\{query\}|\{document\})", template)
            return self.encode_pieces([(texts.get(part, part), part not in texts) for part in parts], add_special=False)
        end = self._suffix[0] if self._suffix else self.eos_id if self.eos_id is not None else self.sep_id
        if end is None:
            want = "a vocabulary with an end or separator token"
            raise InvalidRequestError("pair of texts", got="one with neither", want=want, field="model")
        twice = self.token_text(end) != "[SEP]" if self.vocabulary.add_sep is None else self.vocabulary.add_sep
        separator = [end if self.sep_id is None else self.sep_id] if twice else []
        first, second = (self.encode(text, add_special=False) for text in (query, document))
        return [*self._prefix, *first, end, *separator, *second, end]

    def _encode_plain(self, text: str, backend: HuggingFaceTokenizer) -> list[int]:
        text = self._encoder.prepare(text)
        try:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError):
            ids = backend.encode(well_formed(text), add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD.

        Where encoding puts a space in front of the text (SentencePiece), that space comes off the first token of text.

        Args:
            ids: token ids.
            skip_special: leave out control and unknown tokens.

        Raises:
            InvalidRequestError: an id that the vocabulary does not have.
        """
        out = bytearray()
        strip = self.adds_space
        for i in ids:
            piece = self.token_bytes(i)
            if i in self._hidden:
                if not skip_special:
                    out += piece
                continue
            out += piece[1:] if strip and piece.startswith(b" ") else piece
            strip = False
        return out.decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """What `token` adds to the output: its exact bytes, of which several tokens may make one character.

        Raises:
            InvalidRequestError: an id that the vocabulary does not have.
        """
        if not 0 <= token < self.n_vocab:
            raise InvalidRequestError("token id", got=token, want=f"0 to {self.n_vocab - 1}", field="ids")
        text = self.vocabulary.tokens[token]
        kind = self.vocabulary.types[token]
        if kind in (CONTROL, UNKNOWN, USER_DEFINED):
            return text.encode()
        if kind == BYTE and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            try:
                return bytes([int(text[3:5], 16)])
            except ValueError:
                return text.encode()
        if self._encoder.byte_level:
            return b"".join(bytes([_BYTES[c]]) if c in _BYTES else c.encode() for c in text)
        return text.replace(SPACE, " ").encode()

    def is_special(self, token: int) -> bool:
        """Whether `token` is no text: a control or unknown token, or one that ends generation."""
        return token in self._hidden

    def token_text(self, token: int | None) -> str:
        """The stored text of a token; "" for None."""
        return "" if token is None else self.vocabulary.tokens[token]

    @property
    def special_texts(self) -> list[str]:
        """Texts of all control tokens: what a prompt's plain pieces must not form."""
        return [self.vocabulary.tokens[i] for i in self._hidden]

    def ids_containing(self, parts: Sequence[str]) -> frozenset[int]:
        """Every token whose text holds one of these strings."""
        return frozenset(i for i in range(self.n_vocab) if any(p.encode() in self.token_bytes(i) for p in parts))

    def token_to_id(self, text: str) -> int | None:
        """The id of the token whose stored text is `text`, special or not."""
        return self._ids_by_text.get(text)

    @cached_property
    def _ids_by_text(self) -> dict[str, int]:
        return {text: i for i, text in reversed(list(enumerate(self.vocabulary.tokens)))}


def _runs(pieces: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """Neighbours with the same flag joined."""
    runs: list[tuple[str, bool]] = []
    for text, special in pieces:
        if runs and runs[-1][1] == special:
            runs[-1] = (runs[-1][0] + text, special)
        else:
            runs.append((text, special))
    return runs


def _stripping(vocabulary: Vocabulary, special: list[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Special tokens that swallow the space before them, and after. Files do not say; the models are known by name."""
    name, tokens = vocabulary.name.lower(), vocabulary.tokens
    if any(pre in vocabulary.pre for pre in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
        return frozenset(i for i in special if tokens[i] == "<mask>"), frozenset()
    if "phi-3" in name or "phi3" in name:
        kept = ("<unk>", "<s>", "<|endoftext|>")
        return frozenset(), frozenset(i for i in special if tokens[i] not in kept)
    if "modern-bert" in name:
        return frozenset(i for i in special if tokens[i] == "[MASK]"), frozenset()
    return frozenset(), frozenset()
