"""From a vocabulary to the encoder of plain text: a Hugging Face `Tokenizer` and what must happen to text before it.

Special tokens are no business of these encoders: control and unknown tokens are left out of them, so that no plain
text can ever become one. Where the file's own data does not hold together, ModelFormatError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs
import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from halflap.errors import ModelFormatError
from halflap.text.pretokenizers import PreTokenizer, pretokenizer
from halflap.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary

__all__ = ["PlainEncoder", "plain_encoder"]

SPACE: Final = "\u2581"  # SentencePiece writes spaces so
_NONCHARACTER: Final = "\U0010ffff"


@attrs.frozen
class PlainEncoder:
    """How plain text becomes ids.

    Args:
        backend: the Hugging Face tokenizer, without special tokens.
        prepare: text between special tokens -> what the backend is given.
        byte_level: tokens are spelt in GPT-2's byte alphabet.
        prefixed: a space is put in front of the text (and comes off again when decoding).
        add_bos: whether a text begins with BOS, where the file does not say.
        force_bos: it does, whatever the file says.
        later: the backend for text after a special token, where it differs.
        strips: special tokens that swallow the space before them, and after, where the file says so.
    """

    backend: Tokenizer
    prepare: Callable[[str], str]
    byte_level: bool = False
    prefixed: bool = False
    add_bos: bool = False
    force_bos: bool = False
    later: Tokenizer | None = None
    strips: tuple[frozenset[int], frozenset[int]] | None = None


def plain_encoder(vocabulary: Vocabulary, pretokenizers: Mapping[str, PreTokenizer] | None = None) -> PlainEncoder:
    """The encoder of this vocabulary.

    Raises:
        UnsupportedModelError: an unknown pre-tokenizer.
        ModelFormatError: merges, scores or normaliser that cannot be.
    """
    if vocabulary.pre == "huggingface":
        from halflap.text.huggingface import encoder  # with the first model that needs it

        return _guarded(lambda: encoder(vocabulary))
    build = {"bpe": _bpe, "spm": _spm, "unigram": _unigram, "wordpiece": _wordpiece}[vocabulary.kind]
    return _guarded(lambda: build(vocabulary, pretokenizers or {}))


def _guarded(build: Callable[[], PlainEncoder]) -> PlainEncoder:
    try:
        return build()
    except ModelFormatError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise _unbuildable(error) from error
    except BaseException as error:
        # Everything but a fault inside the library, which arrives as pyo3's own class, passes through.
        if type(error).__name__ not in ("Exception", "PanicException"):
            raise
        raise _unbuildable(error) from None


def _unbuildable(error: BaseException) -> ModelFormatError:
    return ModelFormatError("tokenizer", got=str(error)[:200], want="a vocabulary that holds together")


def _text_tokens(vocabulary: Vocabulary) -> dict[str, int]:
    """Text -> id of the tokens that plain text can become; of equal texts the first."""
    tokens = vocabulary.tokens
    table = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(table) < len(tokens):
        table = dict(zip(reversed(tokens), range(len(tokens) - 1, -1, -1), strict=True))
    for i in vocabulary.of_type(CONTROL, UNKNOWN):
        if table.get(tokens[i]) == i:
            del table[tokens[i]]
    return table


def _byte_fallback(vocabulary: Vocabulary) -> bool:
    return any(re.fullmatch(r"<0x[0-9A-F]{2}>", vocabulary.tokens[i]) for i in vocabulary.of_type(BYTE)[:1])


def _as_it_is(text: str) -> str:
    return text


def _with_visible_spaces(text: str) -> str:
    return text.replace(" ", SPACE)


def _bpe(vocabulary: Vocabulary, pretokenizers: Mapping[str, PreTokenizer]) -> PlainEncoder:
    pre = pretokenizers.get(vocabulary.pre) or pretokenizer(vocabulary.pre)
    table = _text_tokens(vocabulary)
    merges = [merge.partition(" ")[::2] for merge in vocabulary.merges]
    options = {"ignore_merges": pre.ignore_merges, "byte_fallback": _byte_fallback(vocabulary)}
    try:
        model = models.BPE(table, merges, **options)
    except Exception:
        model = models.BPE(table, _sound_merges(vocabulary.merges, table), **options)
    backend = Tokenizer(model)
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.splits]
    alphabet = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)] if pre.byte_level else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*steps, *alphabet])
    return PlainEncoder(
        backend,
        _as_it_is if pre.byte_level else _with_visible_spaces,
        byte_level=pre.byte_level,
        add_bos=pre.add_bos,
        force_bos=pre.force_bos,
    )


def _sound_merges(merges: list[str], table: Mapping[str, int]) -> list[tuple[str, str]]:
    """Those merges whose parts and result are tokens; a part may itself begin with a space."""
    pairs = []
    for merge in merges:
        at = merge.find(" ", 1)
        left, right = merge[:at], merge[at + 1 :]
        if at > 0 and left in table and right in table and left + right in table:
            pairs.append((left, right))
    return pairs


def _spm(vocabulary: Vocabulary, _: Mapping[str, PreTokenizer]) -> PlainEncoder:
    table = _text_tokens(vocabulary)
    prefix = vocabulary.add_space_prefix is not False
    merges = _merges_by_score(vocabulary, table)
    backend = Tokenizer(models.BPE(table, merges, byte_fallback=_byte_fallback(vocabulary)))

    def prepare(text: str) -> str:
        return _with_visible_spaces(" " + text if prefix else text)

    return PlainEncoder(backend, prepare, prefixed=prefix, add_bos=True)


def _merges_by_score(vocabulary: Vocabulary, table: Mapping[str, int]) -> list[tuple[str, str]]:
    """SentencePiece joins the pair whose result scores highest: every split of every token, best result first.

    Of the splits of one token the one with the longest left part comes first: that is what joining the leftmost pair
    of equals leads to in runs of one character.
    """
    scores = vocabulary.scores.tolist()
    skipped = set(vocabulary.of_type(BYTE))
    found = [
        (-scores[i], i, -cut, token)
        for token, i in table.items()
        if i not in skipped
        for cut in range(1, len(token))
        if token[:cut] in table and token[cut:] in table
    ]
    found.sort()
    return [(token[:-cut], token[-cut:]) for _, _, cut, token in found]


def _unigram(vocabulary: Vocabulary, _: Mapping[str, PreTokenizer]) -> PlainEncoder:
    unknown = vocabulary.ids.get("unknown")
    if unknown is None:
        raise ModelFormatError("metadata 'tokenizer.ggml.unknown_token_id'", got="nothing", want="a token id")
    scores = np.where(vocabulary.types == USER_DEFINED, 0, vocabulary.scores).astype(float)
    # Padding up to a round number of tokens is unused and scores far below all others; it would spoil the penalty.
    floor = scores[vocabulary.types == NORMAL].min(initial=0.0)
    usable = np.isin(vocabulary.types, (NORMAL, USER_DEFINED)) | ((vocabulary.types == UNUSED) & (scores >= floor))
    if not np.isfinite(scores[usable]).all() or not usable.any():
        raise ModelFormatError("metadata 'tokenizer.ggml.scores'", got="scores that are not finite", want="numbers")
    # Tokens that plain text must not become get a text it cannot hold, and the lowest score of the others, on which
    # the penalty of an unknown character is based.
    lowest = float(scores[usable].min())
    pieces = [
        (token, score) if ok else (f"{_NONCHARACTER}{i}", lowest)
        for i, (token, score, ok) in enumerate(zip(vocabulary.tokens, scores.tolist(), usable.tolist(), strict=True))
    ]
    backend = Tokenizer(models.Unigram(pieces, unknown, byte_fallback=False))
    normaliser = normalizers.Precompiled(vocabulary.charsmap) if vocabulary.charsmap else None
    prefix = vocabulary.add_space_prefix is True
    merge_spaces = vocabulary.remove_extra_whitespaces

    def prepare(text: str) -> str:
        text = text.replace(_NONCHARACTER, "\ufffd")
        if normaliser is not None:
            text = normaliser.normalize_str(text)
        if merge_spaces:
            return "".join(SPACE + word for word in text.split(" ") if word)
        start = len(text) - len(text.lstrip(" "))
        if prefix and start < len(text):
            text = f"{text[:start]} {text[start:]}"
        return _with_visible_spaces(text)

    return PlainEncoder(backend, prepare, prefixed=prefix or merge_spaces)


def _wordpiece(vocabulary: Vocabulary, _: Mapping[str, PreTokenizer]) -> PlainEncoder:
    unknown = vocabulary.ids.get("unknown")
    if unknown is None:
        raise ModelFormatError("metadata 'tokenizer.ggml.unknown_token_id'", got="nothing", want="a token id")
    # GGUF marks the start of a word with U+2581 where BERT marks its continuation with "##".
    table = {token[1:] if token.startswith(SPACE) else f"##{token}": i for token, i in _text_tokens(vocabulary).items()}
    name = vocabulary.tokens[unknown]
    table[name] = unknown
    backend = Tokenizer(models.WordPiece(table, unk_token=name, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=vocabulary.strip_accents,
        lowercase=vocabulary.lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PlainEncoder(backend, _as_it_is, prefixed=True, add_bos=True, force_bos=True)
