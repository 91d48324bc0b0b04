"""The vocabulary as a model file states it: tokens, their kinds, the special ones, and what is added around a text.

Keys and defaults: GGUF specification, "Tokenizer"; token kinds and end-of-generation names: llama.cpp's
src/llama-vocab.cpp, whose reading of these files is the one that publishers test against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from halflap.errors import ModelFormatError, UnsupportedModelError

__all__ = ["BYTE", "CONTROL", "NORMAL", "UNKNOWN", "UNUSED", "USER_DEFINED", "Vocabulary", "metadata_value"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

MODELS: Final = {"gpt2": "bpe", "gemma4": "bpe", "llama": "spm", "t5": "unigram", "bert": "wordpiece"}

# What a missing id means; only for the kinds whose published files rely on it.
_DEFAULT_IDS: Final[dict[str, dict[str, int]]] = {
    "bpe": {},
    "spm": {"bos": 1, "eos": 2, "unknown": 0},
    "unigram": {"eos": 1, "unknown": 2, "padding": 0},
    "wordpiece": {"bos": 101, "unknown": 100, "seperator": 102, "padding": 0, "mask": 103},
}

# Tokens that end an answer, by their text; a token of these names is special whatever its kind says.
_END_NAMES: Final = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
    "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<reponame>",
    "<|file_sep|>",
)  # fmt: skip

_FIM_NAMES: Final = (
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<|fim_suffix|>", "<fim-suffix>",
    "<fim_suffix>", "<｜fim▁hole｜>", "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>",
)  # fmt: skip

T = TypeVar("T", bool, int, str)
_WORDS: Final[dict[type[object], str]] = {bool: "boolean", int: "integer", str: "string"}


def metadata_value(metadata: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    """The value of `key`, or None where it is missing.

    Raises:
        ModelFormatError: it is of another kind; the message names the key.
    """
    value = metadata.get(key)
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return value
    raise _wrong(key, type(value).__name__, _WORDS[kind])


def _wrong(key: str, got: object, want: object) -> ModelFormatError:
    return ModelFormatError(f"metadata '{key}'", got=got, want=want, field=key)


def _strings(metadata: Mapping[str, Any], key: str) -> list[str] | None:
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(key, type(value).__name__, "array of strings")
    strings = list(value)
    if other := set(map(type, strings)) - {str}:
        raise _wrong(key, f"array of {other.pop().__name__}", "array of strings")
    return strings


def _numbers(metadata: Mapping[str, Any], key: str, n: int | None, dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
    value = metadata.get(key)
    if value is None:
        return None
    try:
        numbers = np.asarray(value)
    except ValueError:
        numbers = np.empty(0, object)
    if numbers.ndim != 1 or (numbers.dtype.kind not in "iuf" and len(numbers)):
        raise _wrong(key, type(value).__name__, "array of numbers")
    if n is not None and len(numbers) < n:
        raise _wrong(key, f"{len(numbers)} elements", f"{n}, one for each token")
    with np.errstate(all="ignore"):
        return numbers[:n].astype(dtype)


@attrs.frozen(eq=False)
class Vocabulary:
    """All that a tokenizer is built from.

    Args:
        kind: "bpe", "spm", "unigram" or "wordpiece".
        pre: name of the pre-tokenizer (BPE only).
        tokens: text of each token as stored; byte-level ones in GPT-2's alphabet. Never empty strings.
        types: i32 (n_tokens,): NORMAL … BYTE, with known special names made CONTROL.
        scores: f32 (n_tokens,), zeros where the file has none.
        merges: "left right" in order of rank (BPE only).
        ids: name -> id of special tokens that exist: bos eos eot eom unknown seperator padding mask cls.
        end_ids: every token that ends generation.
        add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces: None where the file does not say.
        lowercase, strip_accents: WordPiece normalisation.
        charsmap: SentencePiece's precompiled normaliser, or empty.
        name: general.name.
        json: the whole tokenizer as tokenizer.json has it, where `pre` says that it is to be used.
    """

    kind: str
    pre: str
    tokens: list[str] = attrs.field(repr=False)
    types: npt.NDArray[np.int32] = attrs.field(repr=False)
    scores: npt.NDArray[np.float32] = attrs.field(repr=False)
    merges: list[str] = attrs.field(repr=False)
    ids: dict[str, int]
    end_ids: frozenset[int]
    add_bos: bool | None
    add_eos: bool | None
    add_sep: bool | None
    add_space_prefix: bool | None
    remove_extra_whitespaces: bool
    lowercase: bool
    strip_accents: bool
    charsmap: bytes = attrs.field(repr=False)
    name: str
    chat_template: str | None = attrs.field(repr=False)
    rerank_template: str | None = attrs.field(repr=False)
    json: str = attrs.field(default="", repr=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Vocabulary:
        """Read and check all `tokenizer.*` keys.

        Raises:
            ModelFormatError: a key is missing, of a wrong type, or contradicts another.
            UnsupportedModelError: `tokenizer.ggml.model` is unknown.
        """
        model = metadata_value(metadata, "tokenizer.ggml.model", str)
        if model is None:
            raise _wrong("tokenizer.ggml.model", "nothing", "a tokenizer: this file has no vocabulary")
        kind = MODELS.get(model)
        if kind is None:
            raise UnsupportedModelError(
                "metadata 'tokenizer.ggml.model'",
                got=repr(model[:80]),
                want=f"one of {', '.join(MODELS)}",
                what_kind="tokenizer",
                name=model,
            )
        pre = metadata_value(metadata, "tokenizer.ggml.pre", str) or "default"
        tokens = _strings(metadata, "tokenizer.ggml.tokens")
        if not tokens:
            raise _wrong("tokenizer.ggml.tokens", "no tokens", "a vocabulary")
        n = len(tokens)
        merges = _strings(metadata, "tokenizer.ggml.merges") if kind == "bpe" else []
        if merges is None:
            raise _wrong("tokenizer.ggml.merges", "nothing", "the merges of a BPE vocabulary")
        types = _numbers(metadata, "tokenizer.ggml.token_type", n, np.int32)
        scores = _numbers(metadata, "tokenizer.ggml.scores", n, np.float32)
        if scores is None and kind in ("spm", "unigram"):
            raise _wrong("tokenizer.ggml.scores", "nothing", "one score for each token")
        types = np.full(n, NORMAL, np.int32) if types is None else types
        tokens = _readable(tokens, types)
        whole = pre == "huggingface"
        ids = _special_ids(metadata, kind, n, {} if whole else _DEFAULT_IDS[kind])
        end_ids = _mark_special(tokens, types, ids, merges) | _listed_ends(metadata, n)
        lowercase = metadata_value(metadata, "tokenizer.ggml.normalizer.lowercase", bool)
        lowercase = True if lowercase is None else lowercase
        strip_accents = metadata_value(metadata, "tokenizer.ggml.normalizer.strip_accents", bool)
        template = metadata_value(metadata, "tokenizer.chat_template", str)
        return cls(
            kind=kind,
            pre="gemma4" if model == "gemma4" else pre,
            tokens=tokens,
            types=types,
            scores=np.zeros(n, np.float32) if scores is None else scores,
            merges=merges,
            ids=ids,
            end_ids=end_ids,
            add_bos=metadata_value(metadata, "tokenizer.ggml.add_bos_token", bool),
            add_eos=metadata_value(metadata, "tokenizer.ggml.add_eos_token", bool),
            add_sep=metadata_value(metadata, "tokenizer.ggml.add_sep_token", bool),
            add_space_prefix=metadata_value(metadata, "tokenizer.ggml.add_space_prefix", bool),
            remove_extra_whitespaces=bool(metadata_value(metadata, "tokenizer.ggml.remove_extra_whitespaces", bool)),
            lowercase=lowercase,
            strip_accents=lowercase if strip_accents is None else strip_accents,
            charsmap=_charsmap(metadata),
            name=metadata_value(metadata, "general.name", str) or "",
            chat_template=template,
            rerank_template=metadata_value(metadata, "tokenizer.chat_template.rerank", str),
            json=(metadata_value(metadata, "tokenizer.huggingface.json", str) or "") if whole else "",
        )

    def of_type(self, *types: int) -> list[int]:
        """Ids of the tokens of these kinds, ascending."""
        found: list[int] = np.flatnonzero(np.isin(self.types, types)).tolist()
        return found


def _readable(tokens: list[str], types: npt.NDArray[np.int32]) -> list[str]:
    """Tokens as valid, non-empty text: others get a name that no text can hold, so that ids keep their places."""
    try:
        "".join(tokens).encode()
        sound = all(tokens)
    except UnicodeEncodeError:
        sound = False
    if sound:
        return tokens
    fixed = []
    for i, token in enumerate(tokens):
        try:
            token.encode()
        except UnicodeEncodeError:
            token = ""
        if not token:
            types[i] = UNUSED
        fixed.append(token or f"[UNREADABLE_{i}]")
    return fixed


def _listed_ends(metadata: Mapping[str, Any], n: int) -> frozenset[int]:
    """Further ends of generation, which folders list."""
    listed = _numbers(metadata, "tokenizer.ggml.eog_token_ids", None, np.int64)
    return frozenset(i for i in listed.tolist() if 0 <= i < n) if listed is not None else frozenset()


def _special_ids(metadata: Mapping[str, Any], kind: str, n: int, defaults: Mapping[str, int]) -> dict[str, int]:
    ids = {name: i for name, i in defaults.items() if i < n}
    for name in ("bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "cls"):
        key = f"tokenizer.ggml.{name}_token_id"
        value = metadata_value(metadata, key, int)
        # 2^32 - 1 is how some converters write "none"; like llama.cpp, an id out of range is as good as absent.
        if value is not None and 0 <= value < n:
            ids[name] = value
    if kind == "wordpiece" and "cls" in ids and "tokenizer.ggml.bos_token_id" not in metadata:
        ids["bos"] = ids["cls"]
    return ids


def _mark_special(
    tokens: list[str], types: npt.NDArray[np.int32], ids: Mapping[str, int], merges: list[str]
) -> frozenset[int]:
    """Make tokens with well-known special names CONTROL, in place; return those that end generation."""
    wanted = {*_END_NAMES, *_FIM_NAMES}
    found = {token: i for i, token in enumerate(tokens) if token in wanted}
    if any(types[i] == NORMAL for i in found.values()):
        # What merges lead to is ordinary text that only looks so: "</s>" in qwen's vocabulary is a bit of HTML.
        for made in wanted.intersection(merge.replace(" ", "", 1) for merge in merges):
            if made in found and types[found[made]] == NORMAL:
                del found[made]
    ends = {i for token, i in found.items() if token in _END_NAMES}
    ends |= {ids[name] for name in ("eos", "eot", "eom") if name in ids}
    # gpt-oss and solar end messages, not answers, with <|end|>; gemma 4's </s> is plain text.
    harmony = {"<|return|>", "<|call|>", "<|end|>"} <= found.keys()
    solar = {"<|flush|>", "<|end|>"} <= found.keys() and not found.keys().isdisjoint({"<|call|>", "<|calls|>"})
    if harmony or solar:
        ends.discard(found["<|end|>"])
    if {"<|tool_response>", "</s>"} <= found.keys() and found["</s>"] != ids.get("eos"):
        plain = found.pop("</s>")
        ends.discard(plain)
        types[plain] = NORMAL
    for i in found.values():
        types[i] = CONTROL
    return frozenset(ends)


def _charsmap(metadata: Mapping[str, Any]) -> bytes:
    key = "tokenizer.ggml.precompiled_charsmap"
    numbers = _numbers(metadata, key, None, np.int64)
    if numbers is None or not len(numbers):
        return b""
    if numbers.min() < -128 or numbers.max() > 255:
        raise _wrong(key, "numbers beyond a byte", "array of bytes")
    return numbers.astype(np.uint8).tobytes()
