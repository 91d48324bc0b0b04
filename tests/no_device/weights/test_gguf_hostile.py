"""One test per class of published GGUF vulnerability: each hostile file gets its typed error, and says which field."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from halflap.errors import ModelFormatError, UnsupportedModelError
from halflap.weights import gguf
from halflap.weights.gguf_writer import TensorData

U64_MAX = 2**64 - 1


def head(n_tensors: int = 0, n_keys: int = 0, version: int = 3) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", version, n_tensors, n_keys)


def text(value: bytes | str) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def tensor(name: str = "w", shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    """A tensor's description; `shape` in file order, innermost first."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def refuse(make_file, content: bytes, match: str, error: type[Exception] = ModelFormatError) -> None:
    for mmap in (True, False):
        with pytest.raises(error, match=match) as caught:
            gguf.open(make_file(content), mmap=mmap)
        assert "got" in str(caught.value)
        assert "want" in str(caught.value)


@pytest.mark.parametrize("n", [U64_MAX, 2**63, 2**61 + 1, 65_537, 2])
def test_tensor_count_overflow(make_file, n: int) -> None:  # CVE-2024-21836
    refuse(make_file, head(n_tensors=n) + tensor() + bytes(64), "tensor")


@pytest.mark.parametrize("n", [U64_MAX, 2**63, 2**60, 65_537])
def test_metadata_count_overflow(make_file, n: int) -> None:  # CVE-2024-23605
    refuse(make_file, head(n_keys=n) + bytes(64), "metadata count")


@pytest.mark.parametrize("n", [U64_MAX, 2**63, 2**32, 65_536, 100])
def test_key_length_overflow(make_file, n: int) -> None:  # CVE-2024-23496
    refuse(make_file, head(n_keys=1) + struct.pack("<Q", n) + b"key" + bytes(20), "metadata key")


@pytest.mark.parametrize("n", [U64_MAX, U64_MAX - 7, 2**63 - 1, 1000])
def test_string_length_overflow(make_file, n: int) -> None:  # CVE-2024-23496
    refuse(make_file, head(n_keys=1) + text("k") + struct.pack("<IQ", 8, n) + b"abc", "metadata 'k'")


@pytest.mark.parametrize("n", [U64_MAX, 2**61, 2**32, 5])
@pytest.mark.parametrize("kind", [0, 5, 7, 8, 9, 12])
def test_array_length_overflow(make_file, kind: int, n: int) -> None:  # CVE-2024-21825
    refuse(make_file, head(n_keys=1) + text("k") + struct.pack("<IIQ", 9, kind, n) + b"ab", "metadata 'k'")


@pytest.mark.parametrize("n", [U64_MAX, 2**63, 2**40, 9])
def test_string_in_array_overflow(make_file, n: int) -> None:  # CVE-2024-21825
    body = struct.pack("<IIQ", 9, 8, 3) + text("ok") + struct.pack("<Q", n) + bytes(16)
    refuse(make_file, head(n_keys=1) + text("k") + body, "string past the end")


def test_strings_longer_than_their_limit(make_file) -> None:
    value = struct.pack("<IB", 0, 1)
    refuse(make_file, head(n_keys=1) + text("k" * 65_536) + value, "metadata key: got a string of 65536 bytes")
    gguf.open(make_file(head(n_keys=1) + text("k" * 65_535) + value)).close()
    refuse(make_file, head(1) + tensor("w" * 256) + bytes(64), "tensor name: got a string of 256 bytes")


def test_the_last_string_of_a_file_past_its_end(make_file) -> None:
    body = struct.pack("<IIQ", 9, 8, 2) + text("ok") + struct.pack("<Q", 11) + bytes(10)
    refuse(make_file, head(n_keys=1) + text("k") + body, "string past the end")


def test_arrays_nested_without_end(make_file) -> None:
    body = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 100_000
    refuse(make_file, head(n_keys=1) + text("k") + body, "nested more than 4 deep")


def test_nested_arrays_beyond_number(make_file) -> None:
    body = struct.pack("<IIQ", 9, 9, 70_000) + struct.pack("<IQ", 0, 0) * 70_000
    refuse(make_file, head(n_keys=1) + text("k") + body, "70000 nested arrays")


@pytest.mark.parametrize("kind", [13, 255, 2**31, 2**32 - 1])
def test_unknown_value_types(make_file, kind: int) -> None:  # CVE-2024-32878: no value, freed all the same
    refuse(make_file, head(n_keys=1) + text("k") + struct.pack("<I", kind) + bytes(16), "type of metadata 'k'")
    refuse(make_file, head(n_keys=1) + text("k") + struct.pack("<IIQ", 9, kind, 1) + bytes(16), "element type")


def test_a_boolean_that_is_neither(make_file) -> None:
    refuse(make_file, head(n_keys=1) + text("k") + struct.pack("<IB", 7, 2), "boolean of 2")


@pytest.mark.parametrize("n_dims", [5, 255, 2**31, 2**32 - 1])
def test_dimension_count_overflow(make_file, n_dims: int) -> None:  # CVE-2024-21802
    content = head(n_tensors=1) + text("w") + struct.pack("<I", n_dims) + struct.pack("<Q", 1) * 8 + bytes(64)
    refuse(make_file, content, "dimensions")


@pytest.mark.parametrize(
    "shape",
    [(U64_MAX,), (2**63, 2), (2**32, 2**32), (2**31, 2**31, 2**31, 2**31), (2**62, 4), (0,), (4, 0), (0, U64_MAX)],
)
def test_dimension_product_overflow(make_file, shape: tuple[int, ...]) -> None:  # CVE-2025-53630, CVE-2026-27940
    refuse(make_file, head(n_tensors=1) + tensor(shape=shape) + bytes(128), "tensor 'w'")


@pytest.mark.parametrize("shape", [(2**61,), (2**60, 4), (2**33, 2**28)])
def test_byte_count_overflow(make_file, shape: tuple[int, ...]) -> None:  # CVE-2026-33298: elements fit, bytes do not
    refuse(make_file, head(n_tensors=1) + tensor(shape=shape) + bytes(128), "tensor 'w' data.*data inside the file")


@pytest.mark.parametrize("offset", [U64_MAX - 31, 2**63, 2**40, 128])
def test_tensor_offset_past_the_end(make_file, offset: int) -> None:  # CVE-2026-7482
    refuse(make_file, head(n_tensors=1) + tensor(offset=offset) + bytes(128), "tensor 'w' data.*data inside the file")


def test_tensor_offset_unaligned(make_file) -> None:
    refuse(make_file, head(n_tensors=1) + tensor(offset=4) + bytes(128), "offset: got 4, want a multiple of 32")


@pytest.mark.parametrize("alignment", [0, 1, 4, 24, 33, 2**17, 2**31, 2**32 - 1])
def test_alignment_zero_or_no_power_of_two(make_file, alignment: int) -> None:  # CVE-2024-41130 and like
    value = text("general.alignment") + struct.pack("<II", 4, alignment)
    refuse(make_file, head(1, 1) + value + tensor() + bytes(256), "general.alignment")


@pytest.mark.parametrize(
    ("kind", "value"), [(8, text("32")), (6, struct.pack("<f", 32)), (7, b"\1"), (9, struct.pack("<IQ", 4, 0))]
)
def test_known_keys_of_a_wrong_type(make_file, kind: int, value: bytes) -> None:  # CVE-2024-41130
    for key in ("general.alignment", "split.count"):
        content = head(1, 1) + text(key) + struct.pack("<I", kind) + value + tensor() + bytes(256)
        refuse(make_file, content, f"metadata '{key}'")


@pytest.mark.parametrize("offsets", [(0, 0), (0, 32), (32, 0), (0, 64)])
def test_overlapping_tensors(make_file, offsets: tuple[int, int]) -> None:
    content = head(2) + tensor("a", (24,), 0, offsets[0]) + tensor("b", (24,), 0, offsets[1]) + bytes(512)
    refuse(make_file, content, "shared with another tensor")


def test_overlap_inside_a_tensor_of_unknown_type(make_file) -> None:
    content = head(2) + tensor("a", (24,), 99, 0) + tensor("b", (24,), 0, 0) + bytes(512)
    refuse(make_file, content, "shared with another tensor")


def test_duplicate_keys_and_names(make_file) -> None:
    pair = text("k") + struct.pack("<IB", 0, 1)
    refuse(make_file, head(n_keys=2) + pair + pair, "same key twice")
    refuse(make_file, head(2) + tensor(offset=0) + tensor(offset=32) + bytes(256), "same name twice")


def test_rows_that_are_no_whole_blocks(make_file) -> None:
    refuse(make_file, head(1) + tensor(shape=(33, 32), kind=2) + bytes(4096), "multiple of 32 elements")
    refuse(make_file, head(1) + tensor(shape=(), kind=12) + bytes(4096), "multiple of 256 elements")


@pytest.mark.parametrize("n", range(0, 25, 3))
def test_headers_cut_short(make_file, rich_bytes: bytes, n: int) -> None:
    refuse(make_file, rich_bytes[:n], "magic|version|count")


def test_every_truncation_is_refused(make_file, rich_bytes: bytes) -> None:
    end = len(rich_bytes)
    for n in [*range(24, 3000, 37), *range(3000, end - 64, 997)]:
        with pytest.raises(ModelFormatError):
            gguf.open(make_file(rich_bytes[:n], name="cut.gguf"))


def test_trailing_bytes_are_harmless(make_file, rich_bytes: bytes) -> None:
    gguf.open(make_file(rich_bytes + b"\xff" * 1000)).close()


def test_other_files_and_versions(make_file, rich_bytes: bytes) -> None:
    refuse(make_file, b"", "magic")
    refuse(make_file, b"PK\3\4" + bytes(100), "magic: got b'PK")
    refuse(make_file, b"GGUF" + bytes(60), "version: got version 0|GGUF version", UnsupportedModelError)
    refuse(make_file, head(version=1) + bytes(60), "got version 1", UnsupportedModelError)
    refuse(make_file, head(version=4) + bytes(60), "got version 4", UnsupportedModelError)
    refuse(make_file, head(version=0xDEADBEEF) + bytes(60), "version")
    refuse(make_file, b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(60), "big-endian", UnsupportedModelError)


@pytest.mark.parametrize("count", [U64_MAX, 2**31, 1025, -1])
def test_split_counts_beyond_reason(make_file, count: int) -> None:
    value = struct.pack("<Iq", 11, count) if count < 0 else struct.pack("<IQ", 10, count)
    refuse(make_file, head(0, 1) + text("split.count") + value, "split.count")


def test_names_cannot_write_the_terminal(make_file) -> None:
    content = head(1) + tensor("\x1b]0;owned\x07\n", (33,), 2) + bytes(512)
    with pytest.raises(ModelFormatError) as caught:
        gguf.open(make_file(content))
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_memory_stays_within_four_times_the_file(make_file) -> None:
    worst = {
        "strings of two bytes": {"k": ["é"] * 600_000},
        "empty strings": {"k": [""] * 600_000},
        "lists of bytes": {f"k{i}": np.zeros(1024, np.uint8) for i in range(16_000)},
        "wide characters": {"k": "a" * 9_000_000 + "🙂"},
        "nested": {"k": [[] for _ in range(60_000)]},
        "doubles": {f"k{i}": np.zeros(1000) for i in range(1000)},
    }
    for name, metadata in worst.items():
        path = make_file(metadata)
        size = path.stat().st_size
        tracemalloc.start()
        gguf.open(path).close()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 4 * size + (32 << 20), (name, peak, size)


def test_many_keys_and_tensors_are_quick_and_small(make_file) -> None:
    tensors = {f"t{i}": TensorData(24, (1,), b"x") for i in range(65_536)}
    path = make_file({f"k{i}": i for i in range(65_536)}, tensors)
    tracemalloc.start()
    with gguf.open(path) as file:
        assert len(file.tensors) == len(file.metadata) == 65_536
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * path.stat().st_size + (32 << 20)
    refuse(make_file, head(n_tensors=65_537) + bytes(65_537 * 24), "tensor count")


def test_too_many_strings_are_refused(make_file) -> None:
    refuse(
        make_file,
        head(n_keys=1) + text("k") + struct.pack("<IIQ", 9, 8, 2**21 + 1) + bytes(8 * (2**21 + 1)),
        "strings, want at most",
    )
