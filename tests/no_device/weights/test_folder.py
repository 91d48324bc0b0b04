"""Folders that lie: whatever stands in them, only the typed errors, in bounded time and memory."""

from __future__ import annotations

import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflap import loading
from halflap.errors import HalflapError, ModelError, ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.weights.folder.families import FAMILIES
from halflap.weights.inspect import summary, suspicious
from tests import folders

LIMIT_S = 10
CONFIG = {
    "model_type": "qwen3", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "vocab_size": 6,
    "rope_theta": 10000.0, "tie_word_embeddings": False,
}  # fmt: skip


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(3)
    at = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (6, 8), "model.norm.weight": (8,), "lm_head.weight": (6, 8),
        f"{at}input_layernorm.weight": (8,), f"{at}post_attention_layernorm.weight": (8,),
        f"{at}self_attn.q_proj.weight": (8, 8), f"{at}self_attn.k_proj.weight": (4, 8),
        f"{at}self_attn.v_proj.weight": (4, 8), f"{at}self_attn.o_proj.weight": (8, 8),
        f"{at}self_attn.q_norm.weight": (4,), f"{at}self_attn.k_norm.weight": (4,),
        f"{at}mlp.gate_proj.weight": (12, 8), f"{at}mlp.up_proj.weight": (12, 8), f"{at}mlp.down_proj.weight": (8, 12),
    }  # fmt: skip
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folders.write(tmp_path / "m", CONFIG, tensors(), "BF16")


def refuse(folder: Path, message: str, kind: type[HalflapError] = ModelFormatError) -> None:
    with pytest.raises(kind, match=message) as caught, loading.open_model(folder):
        pass
    assert ": got " in str(caught.value)


def test_matrices_are_used_in_place_and_the_rest_says_what_was_done(folder: Path) -> None:
    with loading.open_model(folder) as file:
        assert loading.open_architecture(file).width == 8
        q = file.tensors["blk.0.attn_q.weight"]
        assert (q.type, q.shape, q.region, q.note) == ("BF16", (8, 8), 0, "")
        assert np.shares_memory(file.tensor_bytes(q.name), file.regions[0].array)
        norm = file.tensors["output_norm.weight"]
        assert (norm.type, norm.region, norm.note) == ("F32", -1, "BF16 to F32")
        wanted = (folders.bf16(tensors()["model.norm.weight"]).astype(np.uint32) << 16).view(np.float32)
        assert file.dequantize("output_norm.weight").tolist() == wanted.tolist()
        assert not [finding for finding in suspicious(file) if "belong to nothing" in finding]
        assert summary(file)["n_tensors"] == len(tensors())


def test_config_json_itself_names_the_folder(folder: Path) -> None:
    with loading.open_model(folder / "config.json") as file:
        assert file.architecture == "qwen3"
        assert file.get("general.name", str) == "m"


def test_reading_instead_of_mapping_gives_the_same(folder: Path) -> None:
    with loading.open_model(folder) as mapped, loading.open_model(folder, mmap=False) as read:
        for name in mapped.tensors:
            assert mapped.tensor_bytes(name).tobytes() == read.tensor_bytes(name).tobytes()


def test_an_unknown_model_type_lists_the_known_ones(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": "perceptron"}))
    refuse(folder, ", ".join(sorted(FAMILIES))[:60], UnsupportedModelError)


def test_a_quantised_folder_is_refused_by_the_name_of_its_method(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": {"quant_method": "awq"}}))
    refuse(folder, "quantization_config.*awq", UnsupportedModelError)


def test_a_tensor_without_a_place_is_refused_and_parts_of_other_models_are_not(tmp_path: Path) -> None:
    extra = {"model.layers.0.self_attn.strange.weight": np.zeros((2, 2), np.float32)}
    refuse(folders.write(tmp_path / "a", CONFIG, tensors() | extra), "strange", UnsupportedModelError)
    beside = {"model.visual.patch.weight": np.zeros((2, 2), np.float32)}
    with loading.open_model(folders.write(tmp_path / "b", CONFIG, tensors() | beside)) as file:
        assert len(file.tensors) == len(tensors())


def test_gpt_oss_blocks_become_mxfp4_without_a_bit_changed(tmp_path: Path) -> None:
    """The class's own reading: byte i of a block holds values 2i (low) and 2i + 1, times 2^(scale - 127)."""
    rng = np.random.default_rng(5)
    experts, rows, blocks = 2, 6, 2
    packed = rng.integers(0, 256, (experts, rows, blocks, 16), dtype=np.uint8)
    scales = rng.integers(100, 140, (experts, rows, blocks), dtype=np.uint8)
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    values = np.stack([levels[packed & 15], levels[packed >> 4]], axis=-1).reshape(experts, rows, blocks, 32)
    values = np.ldexp(values, scales.astype(int)[..., None] - 127).reshape(experts, rows, 64)
    config = {
        **CONFIG, "model_type": "gpt_oss", "num_local_experts": experts, "num_experts_per_tok": 1, "sliding_window": 4,
        "quantization_config": {"quant_method": "mxfp4"}, "layer_types": ["sliding_attention"],
    }  # fmt: skip
    given = {"model.embed_tokens.weight": ("F32", np.ones((6, 64), np.float32))}
    for name in ("gate_up_proj", "down_proj"):
        given[f"model.layers.0.mlp.experts.{name}_blocks"] = ("U8", packed)
        given[f"model.layers.0.mlp.experts.{name}_scales"] = ("U8", scales)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(given))
    with loading.open_model(tmp_path) as file:
        for name, wanted in (("gate", values[:, 0::2]), ("up", values[:, 1::2]), ("down", values)):
            assert file.tensors[f"blk.0.ffn_{name}_exps.weight"].type == "MXFP4"
            assert np.array_equal(file.dequantize(f"blk.0.ffn_{name}_exps.weight"), wanted)
    del given["model.layers.0.mlp.experts.down_proj_scales"]
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(given))
    refuse(tmp_path, "scales")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "'hidden_size'.*nothing"),
        ({"hidden_size": "8"}, "'hidden_size'"),
        ({"hidden_size": -8}, "'hidden_size'"),
        ({"hidden_size": 1e300}, "'hidden_size'"),
        ({"num_attention_heads": 0}, "'num_attention_heads'"),
        ({"num_hidden_layers": True}, "'num_hidden_layers'"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers'"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps'"),
        ({"rope_scaling": []}, "'rope_scaling'"),
        ({"rope_scaling": {"type": "yarn"}}, "'factor'"),
        ({"num_hidden_layers": 1 << 30}, "'num_hidden_layers'"),
        ({"head_dim": 1 << 30}, "'head_dim'"),
        ({"model_type": None}, "'model_type'"),
        ({"model_type": ["qwen3"]}, "'model_type'"),
    ],
)
def test_settings_that_cannot_be_name_file_and_key(folder: Path, change: dict[str, Any], message: str) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    refuse(folder, f"config.json.*{message}")


@pytest.mark.parametrize("change", [{"rope_scaling": {"rope_type": "odd"}}, {"hidden_act": "tanh"}])
def test_settings_that_nothing_here_computes_are_unsupported(folder: Path, change: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    refuse(folder, "config.json", UnsupportedModelError)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 200_000, "\0", '{"a": ' + "9" * 10_000 + "}"])
def test_a_config_that_is_no_object_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    refuse(folder, "config.json")


def test_a_huge_config_is_not_read(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 36)
    tracemalloc.start()
    refuse(folder, "larger file")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_folder_without_weights_says_what_is_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refuse(folder, "model.safetensors", ModelNotFoundError)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """The header with something changed, the data as it was."""
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    n = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8 : 8 + n])
    changed = change(header)
    text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + n :])


FIRST = "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h[FIRST].update(dtype="F7"), "dtype"),
        (lambda h: h[FIRST].update(dtype=3), "dtype"),
        (lambda h: h[FIRST].update(shape=[6, -8]), "shape"),
        (lambda h: h[FIRST].update(shape=[1 << 62, 1 << 62]), "shape"),
        (lambda h: h[FIRST].update(shape=[1] * 9), "shape"),
        (lambda h: h[FIRST].update(shape=[6.0, 8]), "shape"),
        (lambda h: h[FIRST].update(shape=[6, 9]), "data_offsets"),
        (lambda h: h[FIRST].update(data_offsets=[0]), "data_offsets"),
        (lambda h: h[FIRST].update(data_offsets=[-2, 94]), "data_offsets"),
        (lambda h: h[FIRST].update(data_offsets=[96, 0]), "data_offsets"),
        (lambda h: h[FIRST].update(data_offsets=[1 << 50, (1 << 50) + 96]), "inside the file"),
        (lambda h: h[FIRST].update(data_offsets=h["lm_head.weight"]["data_offsets"]), "another tensor"),
        (lambda h: h.update({FIRST: 1}), "entry"),
        (lambda h: h.update({"x" * 2000: h[FIRST]}), "name"),
        (lambda h: b"[]", "header"),
        (lambda h: b"{", "header"),
        (lambda h: b"[" * 100_000, "header"),
        (lambda h: b'{"a": {}, "a": {}}', "same name twice"),
    ],
)
def test_a_header_that_lies_is_refused(folder: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    rewritten(folder, change)
    refuse(folder, message)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_length_beyond_the_file_is_refused(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    refuse(folder, "header")


@pytest.mark.parametrize("dtype", ["I64", "F64", "F8_E4M3", "U8"])
def test_types_that_no_model_here_has_are_unsupported(tmp_path: Path, dtype: str) -> None:
    sizes = {"I64": np.int64, "F64": np.float64, "F8_E4M3": np.uint8, "U8": np.uint8}
    given = {name: (dtype, np.zeros(x.shape, sizes[dtype])) for name, x in tensors().items()}
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(given))
    refuse(tmp_path, dtype, UnsupportedModelError)


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "x.bin", ""])
def test_a_shard_outside_the_folder_is_never_opened(tmp_path: Path, shard: str) -> None:
    folder = folders.write(tmp_path / "m", CONFIG, tensors(), shards=2)
    index = folder / "model.safetensors.index.json"
    placed = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**placed, FIRST: shard}}))
    refuse(folder, "weight_map")


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "m", CONFIG, tensors(), shards=2)
    index = folder / "model.safetensors.index.json"
    placed = json.loads(index.read_text())["weight_map"]
    other = next(shard for name, shard in placed.items() if shard != placed[FIRST])
    index.write_text(json.dumps({"weight_map": {**placed, FIRST: other}}))
    refuse(folder, "embed_tokens")
    index.write_text(json.dumps({"weight_map": {**placed, "ghost.weight": other}}))
    refuse(folder, "ghost")
    index.write_text(json.dumps({"weight_map": {**placed, "ghost.weight": "no.safetensors"}}))
    refuse(folder, "no.safetensors", ModelNotFoundError)
    for wrong in ({}, [], {"a": 3}):
        index.write_text(json.dumps({"weight_map": wrong}))
        refuse(folder, "weight_map")


def test_data_at_an_odd_place_is_copied_and_not_read_where_it_lies(folder: Path) -> None:
    rewritten(folder, lambda h: json.dumps(h).encode() + b" " * (1 + len(json.dumps(h)) % 2))
    with loading.open_model(folder) as file:
        kept = file.tensors["blk.0.attn_q.weight"]
        wanted = folders.bf16(tensors()["model.layers.0.self_attn.q_proj.weight"]).tobytes()
        assert file.tensor_bytes(kept.name).tobytes() == wanted
        assert file.tensor_bytes(kept.name).ctypes.data % 4 == 0


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four small damages, most of them in the header."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not made:
            break
        reach = len(made) if rng.random() < 0.2 else min(len(made), 1600)
        at, action = rng.randrange(reach), rng.randrange(5)
        if action == 0:
            made[at] = rng.randrange(256)
        elif action == 1:
            made[at : at + 1] = rng.choice([b"0", b"9", b'"', b"{", b"}", b"[", b"-", b",", b"\\", b"1e9"])
        elif action == 2:
            del made[at : at + rng.choice([1, 2, 8, 100])]
        elif action == 3:
            made[at:at] = made[: rng.choice([1, 8, 64])]
        else:
            del made[at:]
    return bytes(made)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.randoms(use_true_random=False),
    st.sampled_from(["config.json", "model.safetensors", "tokenizer.json", "generation_config.json"]),
)
def test_mutated_folders_give_typed_errors_only(tmp_path_factory: Any, rng: random.Random, name: str) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    extra = {
        "tokenizer.json": folders.tokenizer_json(
            {
                "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": list("abcdef"),
                "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1], "tokenizer.ggml.merges": [],
            }
        ),
        "generation_config.json": {"eos_token_id": [1, 2], "temperature": 0.5},
    }  # fmt: skip
    folders.write(folder, CONFIG, tensors(), "BF16", 1, extra)
    path = folder / name
    path.write_bytes(mutate(path.read_bytes(), rng))
    began = time.perf_counter()
    try:
        with loading.open_model(folder) as file:
            for tensor, info in file.tensors.items():
                assert len(file.tensor_bytes(tensor)) == info.nbytes
            summary(file)
            loading.open_architecture(file)
            if "tokenizer.ggml.model" in file.metadata:
                loading.open_tokenizer(file.metadata).encode("abc <s>")
    except ModelError:
        pass
    assert time.perf_counter() - began < LIMIT_S
