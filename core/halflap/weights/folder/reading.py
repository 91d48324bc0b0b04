"""open(folder) -> ModelFile: config.json, shards and tokenizer of a Hugging Face folder under GGUF's names and keys.

Stored tensors are mapped where they lie. What must be changed (rows reordered, experts stacked) is made when a device
asks for it, one tensor at a time; opening reads headers and JSON only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from halflap.errors import ModelError, ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.weights.folder import vocabulary
from halflap.weights.folder.families import FAMILIES, Description
from halflap.weights.folder.recipe import Constant, Recipe, Rule
from halflap.weights.folder.safetensors import MAX_TENSORS, Stored, read_header
from halflap.weights.folder.settings import Settings, read_json
from halflap.weights.gguf import builtin_types
from halflap.weights.gguf_writer import KEPT_F32
from halflap.weights.model_file import ModelFile, Region, TensorInfo, show
from halflap.weights.weight_type import WeightType

__all__ = ["open"]

MAX_SHARDS: Final = 1_024
MAX_INDEX: Final = 32 << 20  # bytes of model.safetensors.index.json
INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
READ_AS: Final = ("F32", "F16", "BF16")

PREFIXES: Final = (
    "model.language_model.model.", "language_model.model.", "model.language_model.", "language_model.", "model.",
    "backbone.", "bert.", "roberta.", "",
)  # fmt: skip
"""What stands before a text model's names, by the class that it was saved from."""
ELSEWHERE: Final = re.compile(
    r"(^|\.)(vision_tower|vision_model|visual|audio_tower|multi_modal_projector|embed_vision|embed_audio|mtp"
    r"|rotary_emb|position_ids|masked_bias|pooler|lm_head\.decoder|predictions|decoder|encoder\.embed_tokens)(\.|$)"
)
"""Stored tensors that are no part of the text model: projectors, further-token heads, buffers."""
WRAPPERS: Final = ("text_config", "llm_config")
_LAYER = re.compile(r"\b(layers|layer|block|h)\.(\d{1,6})\.")
_EXPERT = re.compile(r"\bexperts\.(\d{1,6})\.")


def open(  # noqa: A001 - the name every format's entry point has
    path: str | os.PathLike[str], *, mmap: bool = True, types: Mapping[int, WeightType] | None = None
) -> ModelFile:
    """Open and check a folder with config.json and safetensors.

    Args:
        path: the folder, or its config.json.
        mmap: map the shards; else read them into memory.
        types: further weight types by GGUF number, for what reads the ModelFile.

    Raises:
        ModelNotFoundError: a file of the folder is not there.
        ModelFormatError: one is damaged, cut or hostile; the message names file and field.
        UnsupportedModelError: a `model_type` without a table here, or weights stored in a way that is not read.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == "config.json" and not folder.is_dir() else folder
    settings = _settings(folder)
    model_type = settings.text("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedModelError(
            "config.json: 'model_type'",
            got=show(model_type),
            want=f"one of {', '.join(sorted(FAMILIES))}",
            fix="Convert the model to GGUF with its publisher's converter.",
            what_kind="model_type",
            name=model_type[:80],
        )
    described = FAMILIES[model_type](settings)
    metadata = _metadata(folder, settings, described)
    known = {kind.name: kind for kind in {**(types or {}), **builtin_types()}.values()}
    regions: list[Region] = []
    try:
        stored = _stored(folder, mmap, regions)
        tensors, made = _tensors(folder, settings, described, stored, regions, known)
    except ModelError:
        for region in regions:
            region.close()
        raise
    return ModelFile(folder, metadata, tensors, tuple(regions), known, made)


def _settings(folder: Path) -> Settings:
    """config.json; of a model that also sees or hears, the text part."""
    values = read_json(folder / "config.json")
    if "quantization_config" in values or "quantization_config" in (values.get("text_config") or {}):
        method = (
            Settings(values, folder / "config.json").section("quantization_config").text("quant_method", default="")
        )
        if method != "mxfp4":
            raise UnsupportedModelError(
                "config.json: 'quantization_config'",
                got=show(method),
                want="weights in F32, F16 or BF16, or gpt-oss's mxfp4",
                fix="Use the unquantised folder, or a GGUF file.",
                what_kind="quantization",
                name=method[:80],
            )
    for name in WRAPPERS:
        inner = values.get(name)
        if isinstance(inner, dict):
            outer = {k: v for k, v in values.items() if k in ("architectures", "tie_word_embeddings", "model_type")}
            return Settings(outer | inner, folder / "config.json")
    return Settings(values, folder / "config.json")


def _metadata(folder: Path, settings: Settings, described: Description) -> dict[str, Any]:
    architecture = described.architecture
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        "general.name": folder.resolve().name,
        **{f"{architecture}.{key}": value for key, value in described.keys.items()},
    }
    pooling = _pooling(folder)
    if pooling is not None:
        metadata.setdefault(f"{architecture}.pooling_type", pooling)
    return metadata | vocabulary.sampling(folder) | vocabulary.read(folder, settings)


def _pooling(folder: Path) -> int | None:
    """GGUF's number for how sentence-transformers makes one row of many, if the folder says so."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return None
    values = read_json(path)
    for number, name in ((1, "mean_tokens"), (2, "cls_token"), (3, "lasttoken")):
        if values.get(f"pooling_mode_{name}") is True:
            return number
    return None


def _stored(folder: Path, use_mmap: bool, regions: list[Region]) -> dict[str, Stored]:
    """Every tensor of every shard; `regions` is also what `open` closes on failure."""
    if not (folder / INDEX).is_file():
        if not (folder / SINGLE).is_file():
            raise ModelNotFoundError(
                f"weights in {show(str(folder))}", got=f"neither {SINGLE} nor {INDEX}", want="one of them"
            )
        regions.append(Region.open(folder / SINGLE, use_mmap=use_mmap))
        return read_header(regions[0], 0)
    placed = _index(folder)
    shards = sorted(set(placed.values()))
    found: dict[str, Stored] = {}
    for number, name in enumerate(shards):
        try:
            regions.append(Region.open(folder / name, use_mmap=use_mmap))
        except ModelNotFoundError as error:
            what = f"shard {number + 1} of {len(shards)}"
            fix = "Download the missing shard."
            raise ModelNotFoundError(what, got=f"no file {show(name)}", want=f"all of {INDEX}", fix=fix) from error
        for tensor in read_header(regions[-1], number).values():
            if placed.get(tensor.name) != name:
                raise ModelFormatError(
                    f"{name}: tensor {show(tensor.name)}",
                    got=f"a tensor that {INDEX} places in {show(placed.get(tensor.name, 'no file'))}",
                    want="each tensor where the index says",
                    file=str(folder / name),
                    field=tensor.name,
                )
            found[tensor.name] = tensor
    lacking = next((name for name in placed if name not in found), None)
    if lacking is not None:
        raise ModelFormatError(
            f"{placed[lacking]}: tensor {show(lacking)}",
            got="nothing",
            want=f"the tensor that {INDEX} places there",
            fix="Download the shard again.",
            file=str(folder / placed[lacking]),
            field=lacking,
        )
    return found


def _index(folder: Path) -> dict[str, str]:
    """Tensor name -> file name in this folder."""
    placed = read_json(folder / INDEX, MAX_INDEX).get("weight_map")

    def fail(got: object, want: str) -> ModelFormatError:
        what = f"{INDEX}: 'weight_map'"
        return ModelFormatError(what, got=got, want=want, file=str(folder / INDEX), field="weight_map")

    if not isinstance(placed, dict) or not placed or len(placed) > MAX_TENSORS:
        raise fail(type(placed).__name__ if not placed else f"{len(placed)} names", f"1 to {MAX_TENSORS} tensor names")
    for shard in set(map(str, placed.values())):
        # Only plain names: a path could lead out of the folder.
        if PurePosixPath(shard).name != shard or not shard.endswith(".safetensors") or "\\" in shard or "\0" in shard:
            raise fail(show(shard), "names of .safetensors files in the folder itself")
    if not all(isinstance(shard, str) for shard in placed.values()):
        raise fail("a file that is no string", "file names")
    if len(set(placed.values())) > MAX_SHARDS:
        raise fail(f"{len(set(placed.values()))} files", f"at most {MAX_SHARDS}")
    return placed


def _tensors(
    folder: Path,
    settings: Settings,
    described: Description,
    stored: Mapping[str, Stored],
    regions: list[Region],
    types: dict[str, WeightType],
) -> tuple[dict[str, TensorInfo], dict[str, Any]]:
    """What lies in the shards as it is, and what is to be made."""
    by_stem = _stems(settings, described, stored)
    stacks: dict[str, dict[int, tuple[Stored, Rule, Stored | None]]] = {}
    for tensor, rule, target, expert, beside in _applied(settings, described, stored, by_stem):
        parts = stacks.setdefault(target, {})
        if (-1 if expert is None else expert) in parts or (parts and (expert is None) != (-1 in parts)):
            raise _bad(folder, tensor, f"tensor {show(target)} made twice", "one origin for each")
        parts[-1 if expert is None else expert] = (tensor, rule, beside)
    tensors: dict[str, TensorInfo] = {}
    made: dict[str, Any] = {}
    for target, parts in stacks.items():
        recipe = _recipe(folder, settings, target, parts)
        first = parts[min(parts)][0]
        n = 1
        for size in recipe.shape:
            n *= size
        kind = types[recipe.type]
        if not n or n % kind.block:
            raise _bad(folder, first, f"shape {list(first.shape)}", "a tensor with elements")
        nbytes = n // kind.block * kind.nbytes
        aligned = (regions[first.region].address + first.offset) % 4 == 0
        as_stored = recipe.rule.arrange is None and recipe.rule.values is None and recipe.type == first.dtype
        if as_stored and not recipe.stacked and aligned:
            tensors[target] = TensorInfo(target, recipe.type, recipe.shape, first.region, first.offset, nbytes)
        else:
            note = recipe.note or "copied"
            tensors[target] = TensorInfo(target, recipe.type, recipe.shape, -1, 0, nbytes, note)
            made[target] = recipe
    for target, constant in described.constants.items():
        nbytes = 4 * len(constant.values)
        tensors[target] = TensorInfo(target, constant.type, constant.shape, -1, 0, nbytes, constant.note)
        made[target] = constant
    return tensors, {target: _Maker(recipe, regions, types) for target, recipe in made.items()}


class _Maker:
    """Calls a recipe with the shards it reads."""

    def __init__(self, recipe: Recipe | Constant, regions: list[Region], types: dict[str, WeightType]) -> None:
        self._recipe, self._regions, self._types = recipe, regions, types

    def __call__(self) -> Any:
        return self._recipe.make(self._regions, self._types)


def _stems(settings: Settings, described: Description, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """Name without what stands before it -> tensor. The prefix is that of the token embedding."""
    tops = [name for name in described.names if "N" not in name.split(".")]
    for prefix in PREFIXES:
        if any(f"{prefix}{top}.weight" in stored for top in tops if top != "lm_head"):
            break
    stems = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    for name, tensor in stored.items():
        # What stands beside the model proper: the head, and what else the table does not know.
        if not name.startswith(prefix):
            stems.setdefault(name.removeprefix("language_model."), tensor)
    if settings.flag("tie_word_embeddings", False) and "lm_head" in described.names:
        stems.pop("lm_head.weight", None)
    return stems


def _applied(
    settings: Settings, described: Description, stored: Mapping[str, Stored], stems: Mapping[str, Stored]
) -> Iterator[tuple[Stored, Rule, str, int | None, Stored | None]]:
    """(stored tensor, rule, name of the result, expert, second tensor) for each that the table takes."""
    layers = max(described.keys["block_count"], described.keys.get("decoder_block_count", 0))
    used_beside: set[str] = set()
    pending: list[str] = []
    for stem, tensor in stems.items():
        numbered = _LAYER.search(stem)
        layer = int(numbered[2]) if numbered else -1
        pattern = _LAYER.sub(r"\1.N.", stem, count=1)
        expert_match = _EXPERT.search(pattern)
        pattern = _EXPERT.sub("experts.E.", pattern, count=1)
        found, ending = described.names.get(pattern), ""
        if found is None:
            head, dot, tail = pattern.rpartition(".")
            found, ending = (described.names.get(head), dot + tail) if tail in ("weight", "bias") else (None, "")
        if found is None:
            if not ELSEWHERE.search(tensor.name):
                pending.append(stem)
            continue
        if numbered and layer >= layers:
            if not settings.integer("num_nextn_predict_layers", default=0):
                settings.wrong("num_hidden_layers", layers, f"over {layer}, as tensor {show(tensor.name)} is there")
            continue
        for rule in found if isinstance(found, tuple) else (found,):
            rule = Rule(rule) if isinstance(rule, str) else rule
            target = rule.target.replace(".N.", f".{layer}.", 1) if numbered else rule.target
            # A name that ends as it stands in the file is written out in the table on both sides.
            written = target.endswith((".weight", ".bias", ".scale")) or (not ending and pattern in described.names)
            beside = None
            if rule.beside:
                name = rule.beside.replace(".N.", f".{layer}.", 1)
                beside = stems.get(name)
                if beside is None:
                    raise ModelFormatError(
                        f"tensor {show(tensor.name)}", got="no scales beside it", want=show(name), field=tensor.name
                    )
                used_beside.add(name)
            yield (
                tensor,
                rule,
                target if written else target + ending,
                (int(expert_match[1]) if expert_match else None),
                beside,
            )
    unknown = next((s for s in pending if s not in used_beside and not _spare_layer(s, layers, settings)), None)
    if unknown is not None:
        raise UnsupportedModelError(
            f"tensor {show(stems[unknown].name)}",
            got="a tensor without a place in this architecture",
            want=f"those of {described.architecture}",
            fix="Convert the model to GGUF with its publisher's converter.",
            what_kind="tensor",
            name=stems[unknown].name[:80],
        )


def _spare_layer(stem: str, layers: int, settings: Settings) -> bool:
    """A part of a block that only guesses further tokens."""
    numbered = _LAYER.search(stem)
    return bool(numbered and int(numbered[2]) >= layers and settings.integer("num_nextn_predict_layers", default=0))


def _recipe(
    folder: Path, settings: Settings, target: str, parts: dict[int, tuple[Stored, Rule, Stored | None]]
) -> Recipe:
    order = sorted(parts)
    first, rule, _ = parts[order[0]]
    stacked = order[0] != -1
    if stacked and order != list(range(len(order))):
        raise _bad(folder, first, f"experts {show(order)}", "experts counted from 0 without a gap")
    sources = [parts[i][0] for i in order]
    for source in sources:
        if source.dtype != first.dtype or source.shape != first.shape:
            raise _bad(folder, source, f"{source.dtype} of shape {list(source.shape)}", "the same for all experts")
    readable = (rule.reads,) if rule.type else READ_AS
    if first.dtype not in readable:
        raise UnsupportedModelError(
            f"tensor {show(first.name)}",
            got=first.dtype,
            want=f"one of {', '.join(readable)}",
            fix="Use a folder that is not quantised, or a GGUF file.",
            what_kind="dtype",
            name=first.dtype,
        )
    beside = [second for i in order if (second := parts[i][2]) is not None]
    for second in beside:
        if second.dtype != "U8":
            raise _bad(folder, second, second.dtype, "U8")
    try:
        shape = rule.result_shape(first, settings)
        if beside and (len(beside) != len(sources) or beside[0].shape != first.shape[:-1]):
            raise ValueError(f"scales of shape {list(beside[0].shape)}")
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise _bad(folder, first, f"shape {list(first.shape)}", f"one that fits config.json ({error})") from None
    shape = (len(order), *shape) if stacked else shape
    kind = rule.type or (first.dtype if _large(target, shape) and rule.note != "1 added" else "F32")
    notes = [rule.note] if rule.note else []
    notes += [f"{len(order)} experts stacked"] if stacked else []
    notes += [f"{first.dtype} to F32"] if not rule.type and kind != first.dtype else []
    return Recipe(shape, kind, ", ".join(notes), rule, settings, sources, beside, stacked)


def _large(target: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor stays as it is stored: matrices do, vectors and what GGUF keeps in F32 do not."""
    return len(shape) > 1 and not target.endswith(KEPT_F32)


def _bad(folder: Path, tensor: Stored, got: str, want: str) -> ModelFormatError:
    return ModelFormatError(
        f"{folder.name}: tensor {show(tensor.name)}", got=got, want=want, file=str(folder), field=tensor.name
    )
