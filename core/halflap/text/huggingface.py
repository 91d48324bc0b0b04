"""The encoder of plain text that a tokenizer.json describes: its own normaliser, pre-tokenizer and model.

Special tokens are taken out of it, as of every encoder here: they are found by the runtime, which knows what part of a
prompt may form them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tokenizers import Tokenizer

from halflap.errors import ModelFormatError
from halflap.text.pretokenizers import GPT2_SPLIT, PRETOKENIZERS
from halflap.text.token_models import PlainEncoder
from halflap.text.vocabulary import CONTROL, Vocabulary

__all__ = ["PRE", "as_ggml", "encoder"]

PRE: Final = "huggingface"
"""`tokenizer.ggml.pre` of a model whose tokenizer is `tokenizer.huggingface.json`."""
_NONCHARACTER: Final = "\U0010ffff"


def encoder(vocabulary: Vocabulary) -> PlainEncoder:
    """The encoder of `vocabulary.json`.

    Raises:
        ModelFormatError: no JSON, or no tokenizer.
        ValueError: the library cannot build it.
    """
    try:
        data = json.loads(vocabulary.json)
        model, parts = data["model"], list(_nodes(data))
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelFormatError(
            "metadata 'tokenizer.huggingface.json'", got=str(error)[:80], want="a tokenizer", field="tokenizer"
        ) from None
    strips = {name: _flagged(data.get("added_tokens"), name) for name in ("lstrip", "rstrip")}
    data |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    unigram = isinstance(model.get("vocab"), list)
    _without_specials(model, vocabulary)
    if not unigram and model.get("unk_token") not in model["vocab"]:
        if vocabulary.kind == "wordpiece":
            raise ModelFormatError(
                "metadata 'tokenizer.huggingface.json'", got="no token for what is unknown", want="its 'unk_token'"
            )
        model["unk_token"] = None
    backend = Tokenizer.from_str(json.dumps(data))
    later = None
    first_only = [p for p in parts if p.get("type") == "Metaspace" and p.get("prepend_scheme") == "first"]
    if first_only:
        for part in first_only:
            part["prepend_scheme"] = "never"
        later = Tokenizer.from_str(json.dumps(data))
    return PlainEncoder(
        backend,
        (lambda text: text.replace(_NONCHARACTER, "\ufffd")) if unigram else (lambda text: text),
        byte_level=any(part.get("type") == "ByteLevel" for part in parts),
        prefixed=vocabulary.kind == "wordpiece" or _strips_space(data.get("decoder"), bool(first_only)),
        later=later,
        strips=(strips["lstrip"], strips["rstrip"]),
    )


def _nodes(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in normaliser, pre-tokenizer and decoder."""
    waiting = [data.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _flagged(tokens: Any, flag: str) -> frozenset[int]:
    listed = tokens if isinstance(tokens, list) else []
    return frozenset(
        t["id"] for t in listed if isinstance(t, dict) and t.get(flag) is True and type(t.get("id")) is int
    )


def _without_specials(model: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Take control tokens out of the model's vocabulary, so that no plain text becomes one."""
    vocab, specials = model["vocab"], vocabulary.of_type(CONTROL)
    if isinstance(vocab, list):
        lowest = min((piece[1] for piece in vocab), default=0.0)
        for i in specials:
            if i < len(vocab):
                vocab[i] = [f"{_NONCHARACTER}{i}", lowest]
        return
    kept = model.get("unk_token")
    gone = {vocabulary.tokens[i] for i in specials} & vocab.keys() - {kept}
    for text in gone:
        del vocab[text]
    if gone and isinstance(model.get("merges"), list):
        pairs = (m if isinstance(m, list) else m.split(" ", 1) for m in model["merges"])
        model["merges"] = [list(p) for p in pairs if not gone.intersection((*p, "".join(p)))]


def _strips_space(decoder: Any, first_only: bool) -> bool:
    """Whether decoding takes a space off the beginning that encoding put there."""
    nodes = list(_nodes({"decoder": decoder}))
    return first_only or any(
        (n.get("type") == "Strip" and n.get("content") == " " and n.get("start"))
        or (n.get("type") == "Metaspace" and n.get("prepend_scheme", "always") != "never")
        for n in nodes
    )


def as_ggml(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in which ggml's own keys describe the tokenizer, where they can; else tokenizer.json stays in it."""
    found = dict(metadata)
    if found.get("tokenizer.ggml.pre") != PRE:
        return found
    try:
        data = json.loads(found["tokenizer.huggingface.json"])
        name = _ggml_name(found.get("tokenizer.ggml.model"), data)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return found
    if name is None:
        return found
    del found["tokenizer.huggingface.json"]
    found["tokenizer.ggml.pre"] = name
    if found["tokenizer.ggml.model"] == "llama":
        parts = list(_nodes(data))
        found["tokenizer.ggml.add_space_prefix"] = any(
            p.get("type") == "Prepend" or (p.get("type") == "Metaspace" and p.get("prepend_scheme") != "never")
            for p in parts
        )
        found["tokenizer.ggml.scores"] = _scores(found["tokenizer.ggml.tokens"], data["model"])
    return found


def _scores(tokens: list[str], model: dict[str, Any]) -> list[float]:
    """SentencePiece's scores, which order tokens as the merges that lead to them are ordered."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        ranks.setdefault("".join(merge if isinstance(merge, list) else merge.split(" ", 1)), rank)
    return [-float(ranks.get(token, len(ranks))) for token in tokens]


def _ggml_name(model: Any, data: dict[str, Any]) -> str | None:
    """`tokenizer.ggml.pre` for what this tokenizer.json does before the merges; None: none says it."""
    nodes = list(_nodes({"pre_tokenizer": data.get("pre_tokenizer")}))
    if model == "llama":
        return "default"
    if model != "gpt2" or data.get("normalizer") is not None:
        return None
    splits = tuple(n["pattern"]["Regex"] for n in reversed(nodes) if n.get("type") == "Split")
    if any(n.get("type") == "ByteLevel" and n.get("use_regex", True) for n in nodes):
        splits = (*splits, GPT2_SPLIT)
    ignores = data["model"].get("ignore_merges") is True
    for name, pre in PRETOKENIZERS.items():
        if pre.splits == splits and pre.byte_level and pre.ignore_merges == ignores:
            return name
    return None
