"""Reading sound files: every value type, shapes, alignment, split models, mapping and closing."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halflap.errors import ModelClosedError, ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.weights import gguf
from halflap.weights.gguf_writer import TensorData, write
from halflap.weights.weight_type import WeightType


def plain(value: Any) -> Any:
    """Metadata as nested Python lists, whatever holds it."""
    if isinstance(value, str | int | float):
        return value
    return [plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]


@pytest.mark.parametrize("mmap", [True, False])
def test_every_metadata_type_comes_back(
    make_file, rich_bytes: bytes, rich_metadata: dict[str, Any], mmap: bool
) -> None:
    with gguf.open(make_file(rich_bytes), mmap=mmap) as file:
        assert list(file.metadata) == list(rich_metadata)
        for key, value in rich_metadata.items():
            want = plain(value.item() if isinstance(value, np.generic) else value)
            assert plain(file.metadata[key]) == want, key
        assert isinstance(file.metadata["b.small"], list)
        assert isinstance(file.metadata["b.large"], np.ndarray)
        assert file.metadata["a.bool"] is True
        assert file.architecture == "llama"


def test_shapes_are_row_major_and_tensors_are_views(make_file) -> None:
    weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    with gguf.open(make_file({"general.architecture": "x"}, {"w": weight})) as file:
        info = file.tensors["w"]
        assert (info.shape, info.type, info.nbytes, info.n_elements) == ((3, 4), "F32", 48, 12)
        np.testing.assert_array_equal(file.dequantize("w"), weight)
        raw = file.tensor_bytes("w")
        assert np.shares_memory(raw, file.regions[info.region].array)
        assert (file.regions[0].address + info.offset) == raw.ctypes.data
        assert file.regions[0].address % os.sysconf("SC_PAGE_SIZE") == 0


@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_alignment_is_obeyed(make_file, alignment: int) -> None:
    tensors = {f"t{i}": np.full(i + 1, i, np.float32) for i in range(5)}
    with gguf.open(make_file({"general.alignment": alignment}, tensors)) as file:
        for name, values in tensors.items():
            assert file.tensors[name].offset % alignment == 0
            np.testing.assert_array_equal(file.dequantize(name), values)


def test_strings_that_are_not_utf8_keep_their_bytes(make_file) -> None:
    raw = [b"ok", b"\xff\xfe", "é".encode(), b"\xc3", b""] * 100
    texts = [item.decode("utf-8", "surrogateescape") for item in raw]
    with gguf.open(make_file({"few": texts[:5], "many": texts})) as file:
        for key, want in (("few", raw[:5]), ("many", raw)):
            assert [s.encode("utf-8", "surrogateescape") for s in file.metadata[key]] == want
            assert [file.metadata[key][i] for i in range(len(want))] == list(file.metadata[key])


def test_string_arrays_are_sequences(make_file) -> None:
    words = [f"w{i}" for i in range(1000)]
    # All five control characters that could separate strings occur, so the slow path must be taken.
    odd = [chr(c) + "x" for c in (0, 1, 2, 30, 31)] * 100
    with gguf.open(make_file({"words": words, "odd": odd})) as file:
        array = file.metadata["words"]
        assert (len(array), array[0], array[-1], array[10:13], array[9:3:-2]) == (
            1000,
            "w0",
            "w999",
            words[10:13],
            words[9:3:-2],
        )
        assert list(array) == words
        assert list(file.metadata["odd"]) == odd
        with pytest.raises(IndexError):
            array[1000]


def test_get_checks_kinds_and_names_the_key(make_file) -> None:
    metadata = {"n": 3, "f": 0.5, "s": "x", "b": True, "l": [1, 2], "big": np.arange(3000), "words": ["a"]}
    with gguf.open(make_file(metadata)) as file:
        assert file.get("n", int) == 3
        assert file.get("n", float) == 3.0
        assert isinstance(file.get("n", float), float)
        assert file.get("l", list) == [1, 2]
        assert file.get("big", list) == list(range(3000))
        assert file.get("words", list) == ["a"]
        assert file.get("b", bool) is True
        assert file.get("none", int, 7) == 7
        assert file.get("none", int, None) is None
        for key, kind, message in [
            ("s", int, r"metadata 's': got string 'x', want integer"),
            ("b", int, r"metadata 'b': got boolean True, want integer"),
            ("n", list, r"metadata 'n': got integer 3, want array"),
            ("l", str, r"metadata 'l': got array \[1, 2\], want string"),
            ("words", float, r"metadata 'words': got an array <1 strings>, want number"),
            ("none", int, r"metadata 'none': got nothing, want integer"),
        ]:
            with pytest.raises(ModelFormatError, match=message) as caught:
                file.get(key, kind)
            assert caught.value.field == key
        with pytest.raises(ModelFormatError, match=r"general\.architecture': got nothing"):
            _ = file.architecture


def test_unknown_tensor_types_are_named_and_refused_only_when_asked_for(make_file) -> None:
    tensors = {
        "known": np.ones(8, np.float32),
        "odd": TensorData(77, (32,), bytes(64)),
        "q8_k": TensorData(15, (256,), bytes(292)),
    }
    path = make_file({"general.architecture": "x"}, tensors)
    with gguf.open(path) as file:
        assert [file.tensors[name].type for name in tensors] == ["F32", "type 77", "Q8_K"]
        assert file.tensors["odd"].nbytes == 64
        assert file.dequantize("known")[0] == 1
        with pytest.raises(UnsupportedModelError, match=r"'odd': got type 77, .* plugin") as caught:
            file.dequantize("odd")
        assert caught.value.name == "type 77"
        with pytest.raises(UnsupportedModelError, match="Q8_K"):
            file.tensor_bytes("q8_k")
        with pytest.raises(ModelFormatError, match="tensor 'absent': got nothing"):
            file.tensor_bytes("absent")
    acme = WeightType("ACME", 77, 16, 32, lambda blocks: blocks[:, ::2].astype(np.float32))
    with gguf.open(path, types={77: acme}) as file:
        assert (file.tensors["odd"].type, file.dequantize("odd").shape) == ("ACME", (32,))


def test_missing_files_and_folders_are_typed(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="got No such file or directory"):
        gguf.open(tmp_path / "absent.gguf")
    with pytest.raises(ModelFormatError, match="not a regular file"):
        gguf.open(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFormatError, match="not a regular file"):
        gguf.open(tmp_path / "pipe")


def test_closing_is_idempotent_and_views_stay_valid(make_file) -> None:
    file = gguf.open(make_file({"a": list("xyz")}, {"w": np.ones(4, np.float32)}))
    view = file.tensor_bytes("w").view(np.float32)
    file.close()
    file.close()
    assert view.tolist() == [1, 1, 1, 1]
    assert list(file.metadata["a"]) == ["x", "y", "z"]
    with pytest.raises(ModelClosedError):
        file.tensor_bytes("w")


def test_closing_unmaps_once_no_view_is_left(make_file) -> None:
    path = make_file({"a": [1]}, {"w": np.ones(4096, np.float32)}, name="unmapped-when-closed.gguf")
    file = gguf.open(path)
    view = file.tensor_bytes("w")
    assert path.name in Path("/proc/self/maps").read_text()
    file.close()
    del view
    gc.collect()
    assert path.name not in Path("/proc/self/maps").read_text()


def test_the_collector_is_left_as_it_was(make_file) -> None:
    path = make_file({"a": 1})
    gguf.open(path).close()
    assert gc.isenabled()
    gc.disable()
    try:
        gguf.open(path).close()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_version_two_is_read(make_file, rich_bytes: bytes) -> None:
    with gguf.open(make_file(rich_bytes[:4] + b"\2\0\0\0" + rich_bytes[8:])) as file:
        assert file.architecture == "llama"


def split_model(folder: Path, stem: str = "m", count: int = 3, total: int | None = None) -> list[Path]:
    paths = []
    for i in range(count):
        metadata: dict[str, Any] = {
            "split.no": np.uint16(i),
            "split.count": np.uint16(count),
            "split.tensors.count": np.int32(count if total is None else total),
        }
        if i == 0:
            metadata |= {"general.architecture": "llama", "llama.block_count": 3}
        paths.append(folder / f"{stem}-{i + 1:05d}-of-{count:05d}.gguf")
        write(paths[-1], metadata, {f"t{i}": np.full((2, 3), i, np.float32)})
    return paths


@pytest.mark.parametrize("opened", [0, 1, 2])
def test_any_part_of_a_split_model_opens_all(tmp_path: Path, opened: int) -> None:
    paths = split_model(tmp_path)
    with gguf.open(paths[opened]) as file:
        assert file.path == paths[0]
        assert file.architecture == "llama"
        assert list(file.tensors) == ["t0", "t1", "t2"]
        assert [region.path for region in file.regions] == paths
        for i in range(3):
            assert file.tensors[f"t{i}"].region == i
            np.testing.assert_array_equal(file.dequantize(f"t{i}"), np.full((2, 3), i))


def test_a_split_model_with_a_wrong_part_is_refused(tmp_path: Path) -> None:
    paths = split_model(tmp_path)
    paths[1].rename(tmp_path / "kept")
    with pytest.raises(ModelNotFoundError, match="part 2 of 3"):
        gguf.open(paths[2])
    paths[2].rename(paths[1])
    (tmp_path / "kept").rename(paths[2])
    with pytest.raises(ModelFormatError, match=r"'split.no': got 2, want 1"):
        gguf.open(paths[0])
    (tmp_path / "other").mkdir()
    paths = split_model(tmp_path / "other", total=4)
    with pytest.raises(ModelFormatError, match=r"'split.tensors.count': got 4, want 3"):
        gguf.open(paths[0])
    paths[0].rename(tmp_path / "other" / "renamed.gguf")
    with pytest.raises(ModelFormatError, match=r"file name: got 'renamed\.gguf'"):
        gguf.open(tmp_path / "other" / "renamed.gguf")


def test_a_split_model_with_one_name_in_two_parts_is_refused(tmp_path: Path) -> None:
    for i in range(2):
        write(
            tmp_path / f"m-0000{i + 1}-of-00002.gguf",
            {"split.no": i, "split.count": 2, "split.tensors.count": 2},
            {"same": np.ones(3, np.float32)},
        )
    with pytest.raises(ModelFormatError, match="same name in two parts"):
        gguf.open(tmp_path / "m-00001-of-00002.gguf")


def test_real_vocabularies_open(shared: Path) -> None:
    counts = {"gpt-2": 50257, "llama-spm": 32000, "gemma-4": 262144, "bert-bge": 30522}
    for name, n in counts.items():
        with gguf.open(shared / "vocab" / f"ggml-vocab-{name}.gguf") as file:
            assert len(list(file.metadata["tokenizer.ggml.tokens"])) == n
