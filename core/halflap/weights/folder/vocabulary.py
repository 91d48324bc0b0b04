"""tokenizer.json and the files beside it, as `tokenizer.*` and `general.sampling.*` keys.

The tokenizer itself is used as tokenizer.json has it (`tokenizer.huggingface.json`, a key of the GGUF specification,
with `tokenizer.ggml.pre` = "huggingface"); the other keys say what the runtime needs to know besides: texts and kinds
of tokens, which of them are special, and what is added around a text.

Source: https://huggingface.co/docs/tokenizers and the files that transformers' `save_pretrained` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from halflap.errors import ModelFormatError, UnsupportedModelError
from halflap.weights.folder.settings import Settings, read_bytes, read_json
from halflap.weights.model_file import show

__all__ = ["read", "sampling"]

MAX_TOKENIZER: Final = 64 << 20  # bytes (gemma 3: 33 MB)
MAX_TEMPLATE: Final = 4 << 20
MAX_TOKENS: Final = 1 << 20
MAX_TEXT: Final = 65_536  # characters of one token
MAX_PATTERN: Final = 8_192  # characters of one regular expression

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPECIAL: Final = {
    "bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token", "seperator": "sep_token",
    "mask": "mask_token", "cls": "cls_token",
}  # fmt: skip
"""GGUF's name (its spelling) -> that of tokenizer_config.json."""


def sampling(folder: Path) -> dict[str, Any]:
    """What generation_config.json recommends."""
    path = folder / "generation_config.json"
    values = read_json(path) if path.is_file() else {}
    if values.get("do_sample") is False:
        return {}
    names = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
    return {
        f"general.sampling.{ours}": values[theirs]
        for theirs, ours in names.items()
        if type(values.get(theirs)) in (int, float)
    }


def read(folder: Path, settings: Settings) -> dict[str, Any]:
    """`tokenizer.*` keys; none where the folder has no tokenizer.json.

    Raises:
        ModelFormatError: a file does not hold together; names it and the key.
        UnsupportedModelError: a kind of tokenizer that is not known here.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {}
    raw = read_bytes(path, MAX_TOKENIZER)
    try:
        text = raw.decode()
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        _fail(path, "content", f"no JSON ({str(error)[:80]})", "a JSON object")
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        _fail(path, "model", "no object", "an object")
    table = _Table(path, data, settings.integer("vocab_size", default=0, most=MAX_TOKENS))
    config = _optional(folder / "tokenizer_config.json")
    named = _special_ids(table, config, _optional(folder / "special_tokens_map.json"))
    ends = _end_ids(folder, settings, len(table.tokens))
    if "eos" not in named and ends:
        named["eos"] = ends[0]
    before, after = _around(path, data.get("post_processor"), table)
    if table.model == "bert":
        named |= {"cls": before[0]} if before else {}
        named |= {"seperator": after[0]} if after else {}
    else:
        named |= {"bos": before[0]} if before else {}
        named |= {"eos": after[0]} if after else {}
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": table.model,
        "tokenizer.ggml.pre": "huggingface",
        "tokenizer.ggml.tokens": table.tokens,
        "tokenizer.ggml.token_type": table.types,
        "tokenizer.ggml.add_bos_token": bool(before),
        "tokenizer.ggml.add_eos_token": bool(after),
        **{f"tokenizer.ggml.{name}_token_id": i for name, i in named.items()},
        "tokenizer.huggingface.json": text,
    }
    if table.model == "gpt2":
        keys["tokenizer.ggml.merges"] = _merges(path, data["model"])
    if table.scores is not None:
        keys["tokenizer.ggml.scores"] = table.scores
    if ends:
        keys["tokenizer.ggml.eog_token_ids"] = ends
    template = _template(folder, config)
    return keys | ({"tokenizer.chat_template": template} if template is not None else {})


class _Table:
    """Texts, kinds and scores of all tokens by id.

    Attributes:
        model: GGUF's name of the kind.
        ids: text -> id, as tokenizer.json writes the text.
        tokens: as GGUF writes them.
    """

    def __init__(self, path: Path, data: Mapping[str, Any], least: int) -> None:
        self.path, model = path, data["model"]
        kind = model.get("type") or ("Unigram" if isinstance(model.get("vocab"), list) else "BPE")
        byte_level = "ByteLevel" in [node.get("type") for node in _parts(path, data)]
        names = {"BPE": "gpt2" if byte_level else "llama", "Unigram": "t5", "WordPiece": "bert"}
        if kind not in names:
            raise UnsupportedModelError(
                f"{path.name}: 'model.type'", got=show(kind), want=f"one of {', '.join(names)}", what_kind="tokenizer",
                name=str(kind)[:80],
            )  # fmt: skip
        self.model = names[kind]
        pieces = list(self._pieces(model.get("vocab")))
        self.ids = {text: i for text, i, _ in pieces}
        added = list(self._added(data.get("added_tokens") or []))
        count = max([least, *(i + 1 for _, i, _ in pieces), *(i + 1 for _, i, _ in added)])
        if not pieces or count > MAX_TOKENS:
            _fail(path, "model.vocab", f"ids to {count}", f"1 to {MAX_TOKENS} tokens")
        self.tokens = [f"[PAD{i}]" for i in range(count)]
        self.types = [UNUSED] * count
        scores = [0.0] * count
        for text, i, score in pieces:
            if self.types[i] != UNUSED:
                _fail(path, "model.vocab", f"two tokens of id {i}", "each id once")
            self.tokens[i], self.types[i] = self._spelt(text), NORMAL
            if self.model == "t5":
                scores[i] = score
            elif self.model == "llama" and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
                self.types[i] = BYTE
        unknown = model.get("unk_id") if self.model == "t5" else self.ids.get(str(model.get("unk_token")))
        if type(unknown) is int and 0 <= unknown < count:
            self.types[unknown], self.tokens[unknown] = UNKNOWN, self.tokens[unknown].removeprefix("\u2581")
        for text, i, special in added:
            self.ids[text], self.tokens[i] = i, text
            self.types[i] = UNKNOWN if i == unknown else CONTROL if special else USER_DEFINED
        self.unknown = unknown if type(unknown) is int else None
        self.scores = scores if self.model in ("t5", "llama") else None

    def _spelt(self, text: str) -> str:
        """As GGUF spells it: the start of a word is marked, not its continuation as BERT does."""
        if self.model != "bert":
            return text
        return text[2:] if text.startswith("##") and len(text) > 2 else f"\u2581{text}"

    def _pieces(self, vocab: Any) -> Iterator[tuple[str, int, float]]:
        if isinstance(vocab, dict) and self.model != "t5":
            entries: list[Any] = [[text, i] for text, i in vocab.items()]
        elif isinstance(vocab, list) and self.model == "t5":
            entries = [
                [*piece, i] if isinstance(piece, list) and len(piece) == 2 else [None] for i, piece in enumerate(vocab)
            ]
        else:
            _fail(self.path, "model.vocab", type(vocab).__name__, "the tokens")
        if len(entries) > MAX_TOKENS:
            _fail(self.path, "model.vocab", f"{len(entries)} tokens", f"at most {MAX_TOKENS}")
        for entry in entries:
            text, i, score = entry[0], entry[-1], entry[1] if len(entry) == 3 else 0.0
            sound = isinstance(text, str) and len(text) <= MAX_TEXT and type(i) is int and 0 <= i < MAX_TOKENS
            if not sound or type(score) not in (int, float):
                _fail(self.path, "model.vocab", show(entry), "a text, and an id or a score")
            yield text, i, float(score)

    def _added(self, tokens: Any) -> Iterator[tuple[str, int, bool]]:
        if not isinstance(tokens, list) or len(tokens) > MAX_TOKENS:
            _fail(self.path, "added_tokens", type(tokens).__name__, f"at most {MAX_TOKENS} tokens")
        for token in tokens:
            text, i = (token.get("content"), token.get("id")) if isinstance(token, dict) else (None, None)
            sound = isinstance(text, str) and text and len(text) <= MAX_TEXT and type(i) is int and 0 <= i < MAX_TOKENS
            if not sound:
                _fail(self.path, "added_tokens", show(token), "a content and an id")
            yield text, i, token.get("special") is True  # type: ignore[misc]


def _parts(path: Path, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in normaliser, pre-tokenizer and decoder."""
    waiting = [data.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")]
    for _ in range(10_000):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, dict):
            pattern = node.get("pattern")
            if isinstance(pattern, dict) and any(isinstance(p, str) and len(p) > MAX_PATTERN for p in pattern.values()):
                _fail(path, "pattern", "a longer one", f"at most {MAX_PATTERN} characters")
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    _fail(path, "pre_tokenizer", "over 10000 parts", "a few")


def _merges(path: Path, model: Mapping[str, Any]) -> list[str]:
    merges = model.get("merges")
    if not isinstance(merges, list) or len(merges) > 2 * MAX_TOKENS:
        _fail(path, "model.merges", type(merges).__name__, "a list of merges")
    found = [" ".join(m) if isinstance(m, list) and all(isinstance(p, str) for p in m) else m for m in merges]
    if not all(isinstance(m, str) for m in found):
        _fail(path, "model.merges", "something else", "pairs of tokens")
    return found


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _special_ids(table: _Table, *configs: Mapping[str, Any]) -> dict[str, int]:
    """GGUF's name -> id, by the first file that names such a token."""
    found = {}
    for ours, theirs in SPECIAL.items():
        for config in configs:
            named = config.get(theirs)
            named = named.get("content") if isinstance(named, dict) else named
            if isinstance(named, str) and named in table.ids:
                found[ours] = table.ids[named]
                break
    if table.unknown is not None:
        found["unknown"] = table.unknown
    return found


def _end_ids(folder: Path, settings: Settings, count: int) -> list[int]:
    """Ids that end generation, by generation_config.json or config.json."""
    for values in (_optional(folder / "generation_config.json"), settings.values):
        given = values.get("eos_token_id")
        listed = given if isinstance(given, list) else [given]
        found = [i for i in listed[:1024] if type(i) is int and 0 <= i < count]
        if found:
            return found
    return []


def _around(path: Path, processor: Any, table: _Table) -> tuple[list[int], list[int]]:
    """Ids that the post-processor puts before and after one text, one each at most."""
    before: list[int] = []
    after: list[int] = []
    nodes = processor.get("processors") if isinstance(processor, dict) and processor.get("type") == "Sequence" else None
    for node in nodes if isinstance(nodes, list) else [processor]:
        if not isinstance(node, dict):
            continue
        if node.get("type") in ("BertProcessing", "RobertaProcessing"):
            for name, into in (("cls", before), ("sep", after)):
                pair = node.get(name)
                text = pair[0] if isinstance(pair, list) and len(pair) == 2 else None
                if isinstance(text, str) and text in table.ids:
                    into.append(table.ids[text])
        if node.get("type") == "TemplateProcessing" and isinstance(node.get("single"), list):
            into = before
            for piece in node["single"][:16]:
                special = piece.get("SpecialToken") if isinstance(piece, dict) else None
                named = special.get("id") if isinstance(special, dict) else None
                if isinstance(piece, dict) and "Sequence" in piece:
                    into = after
                elif isinstance(named, str) and named in table.ids:
                    into.append(table.ids[named])
    if len(before) > 1 or len(after) > 1:
        raise UnsupportedModelError(
            f"{path.name}: 'post_processor'",
            got=f"{len(before)} tokens before a text and {len(after)} after it",
            want="one each at most",
            what_kind="post_processor",
            name="several tokens",
        )
    return before, after


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read_bytes(path, MAX_TEMPLATE).decode("utf-8", "replace")
    template = config.get("chat_template") or _optional(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _fail(path: Path, what: str, got: object, want: object) -> NoReturn:
    raise ModelFormatError(f"{path.name}: {what!r}", got=got, want=want, file=str(path), field=what)
