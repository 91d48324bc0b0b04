"""What a model file holds, as data, and what in it looks wrong: the material of `halflap inspect`.

`summary` states; `suspicious` judges. A file that opens can still be nonsense: every finding is one sentence that
names the key or tensor, and none of them stops a model from loading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

import numpy as np

from halflap.weights.model_file import ModelFile, TensorInfo, Value, show

__all__ = ["summary", "suspicious"]

_SHOWN_ELEMENTS: Final = 8
_SAMPLED_BLOCKS: Final = 64
_GGML_NAME_BYTES: Final = 63
_LARGE_TEMPLATE: Final = 256_000  # characters; published templates stay below 40,000

_INTEGER_KEYS: Final = (
    "block_count", "context_length", "embedding_length", "vocab_size", "expert_count", "expert_used_count",
    "rope.dimension_count", "attention.key_length", "attention.value_length",
)  # fmt: skip
_PER_LAYER_KEYS: Final = ("attention.head_count", "attention.head_count_kv", "feed_forward_length")
_NUMBER_KEYS: Final = (
    "rope.freq_base", "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "rope.scaling.factor",
)  # fmt: skip
_STRING_KEYS: Final = ("general.name", "general.license", "tokenizer.ggml.model", "tokenizer.ggml.pre")

# What templates of published models do not do, and templates made to escape a sandbox do.
_TEMPLATE_TRICKS: Final = {
    r"__\w+__": "a name in double underscores",
    r"\|\s*attr\b": "the filter 'attr'",
    r"\b(?:cycler|joiner|lipsum|self)\s*[.\[]": "a Jinja global used as an object",
    r"\b(?:globals|subclasses|popen|builtins)\b": "the interpreter's internals",
    r"\{%-?\s*(?:include|import|from|extends)\b": "another template",
    r"\brange\s*\(\s*\d{5,}": "a loop of ten thousand turns or more",
}


def summary(file: ModelFile) -> dict[str, Any]:
    """The file's content in short, ready for JSON.

    Returns:
        path, files, file_bytes, architecture, name; metadata (long arrays by length and first elements); n_tensors;
        tensors (weight type -> count, bytes); n_parameters; bits_per_weight (None without tensors); tokenizer (model,
        pre, n_tokens, or None); chat_template (whether there is one).
    """
    by_type: dict[str, dict[str, int]] = {}
    for info in file.tensors.values():
        row = by_type.setdefault(info.type, {"count": 0, "bytes": 0, "parameters": 0})
        row["count"] += 1
        row["bytes"] += info.nbytes
        row["parameters"] += info.n_elements
    n_parameters = sum(row["parameters"] for row in by_type.values())
    n_bytes = sum(row["bytes"] for row in by_type.values())
    tokens = _array(file.metadata, "tokenizer.ggml.tokens")
    return {
        "path": str(file.path),
        "files": len(file.regions),
        "file_bytes": sum(len(region.array) for region in file.regions),
        "architecture": file.get("general.architecture", str, None) if _is(file, "general.architecture", str) else None,
        "name": file.metadata["general.name"] if _is(file, "general.name", str) else None,
        "metadata": {key: _shown(value) for key, value in file.metadata.items()},
        "n_tensors": len(file.tensors),
        "tensors": dict(sorted(by_type.items(), key=lambda item: -item[1]["bytes"])),
        "n_parameters": n_parameters,
        "bits_per_weight": round(8 * n_bytes / n_parameters, 3) if n_parameters else None,
        "tokenizer": {
            "model": _shown(file.metadata.get("tokenizer.ggml.model")),
            "pre": _shown(file.metadata.get("tokenizer.ggml.pre")),
            "n_tokens": len(tokens),
        }
        if tokens is not None
        else None,
        "chat_template": _is(file, "tokenizer.chat_template", str),
    }


def suspicious(file: ModelFile) -> list[str]:
    """Everything in the file that a sound model of its kind would not have, one sentence each."""
    return [
        finding
        for look in (_metadata_types, _dimensions, _vocabulary, _template, _names, _unreferenced_bytes, _values)
        for finding in look(file)
    ]


def _is(file: ModelFile, key: str, kind: type[object]) -> bool:
    return isinstance(file.metadata.get(key), kind)


def _array(metadata: Mapping[str, Value], key: str) -> Sequence[Any] | None:
    value = metadata.get(key)
    return None if value is None or isinstance(value, str | bool | int | float) else value


def _shown(value: Value) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    head = value[:_SHOWN_ELEMENTS]
    first = head.tolist() if isinstance(head, np.ndarray) else [_shown(item) for item in head]
    return first if len(value) <= _SHOWN_ELEMENTS else {"length": len(value), "first": first}


def _whole(value: Value) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


def _metadata_types(file: ModelFile) -> Iterator[str]:
    metadata = file.metadata
    if not _is(file, "general.architecture", str):
        yield "metadata 'general.architecture': missing or no string, so nothing can run this model"
        return
    prefix = file.architecture
    for key in _INTEGER_KEYS:
        value = metadata.get(f"{prefix}.{key}")
        if value is not None and not _whole(value):
            yield f"metadata '{prefix}.{key}': {show(value)}, want a whole number"
    for key in _PER_LAYER_KEYS:
        value = metadata.get(f"{prefix}.{key}")
        items = [value] if _whole(value) else _array(metadata, f"{prefix}.{key}")
        if value is not None and (items is None or not all(map(_whole, items))):
            yield f"metadata '{prefix}.{key}': {show(value)}, want a whole number, or one for each layer"
    for key in _NUMBER_KEYS:
        value = metadata.get(f"{prefix}.{key}")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            yield f"metadata '{prefix}.{key}': {show(value)}, want a number from 0"
    for key in _STRING_KEYS:
        if key in metadata and not _is(file, key, str):
            yield f"metadata '{key}': {show(metadata[key])}, want a string"


def _dimensions(file: ModelFile) -> Iterator[str]:
    if not file.tensors or not _is(file, "general.architecture", str):
        return
    prefix = file.architecture
    width, n_blocks = file.metadata.get(f"{prefix}.embedding_length"), file.metadata.get(f"{prefix}.block_count")
    embedding = file.tensors.get("token_embd.weight")
    if embedding is not None and _whole(width) and embedding.shape[-1:] != (width,):
        yield f"tensor 'token_embd.weight': rows of {embedding.shape[-1:]}, but embedding_length says {width}"
    norm = file.tensors.get("output_norm.weight")
    if norm is not None and _whole(width) and norm.shape != (width,):
        yield f"tensor 'output_norm.weight': shape {norm.shape}, but embedding_length says {width}"
    found = {int(m[1]) for name in file.tensors if (m := re.match(r"blk\.(\d{1,6})\.", name))}
    if found and _whole(n_blocks):
        extra = sorted(i for i in found if i >= n_blocks)
        missing = sorted(set(range(min(n_blocks, 10_000))) - found)
        if extra or missing:
            yield f"block_count says {n_blocks}: layers missing {missing[:8]}, layers beyond {extra[:8]}"
    for name, info in file.tensors.items():
        if info.type not in file.types:
            yield f"tensor {show(name)}: weight type {info.type}, which nothing here can read"


def _vocabulary(file: ModelFile) -> Iterator[str]:
    metadata = file.metadata
    tokens = _array(metadata, "tokenizer.ggml.tokens")
    if tokens is None:
        return
    n = len(tokens)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is not None and embedding.shape[:1] != (n,):
        yield f"tensor 'token_embd.weight': {embedding.shape[0]} rows for {n} tokens"
    for key in ("token_type", "scores"):
        values = _array(metadata, f"tokenizer.ggml.{key}")
        if values is not None and len(values) != n:
            yield f"metadata 'tokenizer.ggml.{key}': {len(values)} elements for {n} tokens"
    texts = list(tokens)
    if (twice := n - len(set(map(str, texts)))) > 0:
        yield f"metadata 'tokenizer.ggml.tokens': {twice} texts occur more than once"
    if "" in texts:
        yield "metadata 'tokenizer.ggml.tokens': a token without text"
    for key, value in metadata.items():
        if re.fullmatch(r"tokenizer\.ggml\.\w+_token_id", key) and not (_whole(value) and value < n):
            yield f"metadata '{key}': {show(value)}, want an id below {n}"
    for flag, special in (("add_bos_token", "bos_token_id"), ("add_eos_token", "eos_token_id")):
        if metadata.get(f"tokenizer.ggml.{flag}") is True and f"tokenizer.ggml.{special}" not in metadata:
            yield f"metadata 'tokenizer.ggml.{flag}': true, but there is no {special}"


def _template(file: ModelFile) -> Iterator[str]:
    template = file.metadata.get("tokenizer.chat_template")
    if template is None:
        if "tokenizer.ggml.tokens" in file.metadata:
            yield "metadata 'tokenizer.chat_template': missing, so chat must guess a format"
        return
    if not isinstance(template, str):
        yield f"metadata 'tokenizer.chat_template': {show(template)}, want a string"
        return
    if len(template) > _LARGE_TEMPLATE:
        yield f"metadata 'tokenizer.chat_template': {len(template)} characters"
    for pattern, what in _TEMPLATE_TRICKS.items():
        if match := re.search(pattern, template):
            yield f"metadata 'tokenizer.chat_template': uses {what}: {show(match[0])}"


def _names(file: ModelFile) -> Iterator[str]:
    for name in file.tensors:
        if len(name.encode("utf-8", "surrogateescape")) > _GGML_NAME_BYTES:
            yield f"tensor {show(name)}: a name longer than ggml's {_GGML_NAME_BYTES} bytes"
        if not re.fullmatch(r"[\w.\-/]+", name, re.ASCII):
            yield f"tensor {show(name)}: unusual characters in its name"
    for key in file.metadata:
        if not re.fullmatch(r"[\w.\-]+", key, re.ASCII):
            yield f"metadata {show(key)}: unusual characters in its key"


def _unreferenced_bytes(file: ModelFile) -> Iterator[str]:
    """Bytes in the data that belong to no tensor, beyond what padding explains."""
    alignment = file.metadata.get("general.alignment", 32)
    by_region: dict[int, list[TensorInfo]] = {}
    for info in () if file.made else file.tensors.values():  # what is made has its bytes somewhere in the files
        by_region.setdefault(info.region, []).append(info)
    for region, infos in by_region.items():
        infos.sort(key=lambda info: info.offset)
        size = len(file.regions[region].array)
        for info, end in zip(infos, [*(after.offset for after in infos[1:]), size], strict=True):
            gap = end - info.offset - info.nbytes
            if gap >= alignment and info.type in file.types:
                yield f"{gap} bytes after tensor {show(info.name)} belong to nothing"


def _values(file: ModelFile) -> Iterator[str]:
    """NaN and Inf in all one-dimensional tensors, and in the first blocks of the others."""
    for name, info in file.tensors.items():
        kind = file.types.get(info.type)
        if kind is None or name.startswith("rope_freqs"):
            continue  # gemma writes 1e30 and more there on purpose
        n_blocks = info.nbytes // kind.nbytes if len(info.shape) < 2 else _SAMPLED_BLOCKS
        sample = kind.dequantize(file.tensor_bytes(name)[: n_blocks * kind.nbytes].reshape(-1, kind.nbytes))
        if not np.isfinite(sample).all():
            yield f"tensor {show(name)}: values that are not finite"
        elif name.endswith("norm.weight") and not sample.any():
            yield f"tensor {show(name)}: a norm of zeros only"
