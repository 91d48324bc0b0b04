"""Mutated files: whatever the bytes, only the typed errors, in bounded time and memory."""

from __future__ import annotations

import json
import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflap.errors import ModelFormatError, ModelNotFoundError, UnsupportedModelError
from halflap.weights import gguf
from halflap.weights.inspect import summary, suspicious

LIMIT_S = 10  # the promise is 1 s; ten times that, for a busy machine
INTERESTING = [
    0,
    1,
    2,
    7,
    8,
    9,
    12,
    31,
    32,
    33,
    255,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**60,
    2**63,
    2**64 - 1,
]


def mutate(seed: bytes, rng: random.Random) -> bytes:
    """One to four small damages, most of them where the structure is."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        reach = len(data) if rng.random() < 0.2 else min(len(data), 9000)
        at = rng.randrange(max(1, reach))
        action = rng.randrange(6)
        if action == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif action == 1:
            data[at : at + 8] = struct.pack("<Q", rng.choice(INTERESTING))
        elif action == 2:
            data[at : at + 4] = struct.pack("<I", rng.choice(INTERESTING) & 0xFFFFFFFF)
        elif action == 3:
            del data[at : at + rng.choice([1, 2, 4, 8, 100])]
        elif action == 4:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4, 8])))
        else:
            del data[at:]
    return bytes(data)


def survive(path: Path, content: bytes) -> bool:
    """Open and read everything; True where the file was accepted."""
    path.write_bytes(content)
    start = time.perf_counter()
    try:
        with gguf.open(path, mmap=len(content) % 2 == 0) as file:
            for value in file.metadata.values():
                if not isinstance(value, str | int | float):
                    list(value)
            for name, info in file.tensors.items():
                try:
                    assert file.dequantize(name).shape == info.shape
                except UnsupportedModelError:
                    assert info.type not in file.types
            if len(content) % 5 == 0:
                json.dumps(summary(file))
                assert all(map(str.isprintable, suspicious(file)))
    except (ModelFormatError, UnsupportedModelError, ModelNotFoundError):
        return False
    finally:
        assert time.perf_counter() - start < LIMIT_S
    return True


def run(path: Path, seed: bytes, count: int, number: int) -> int:
    rng = random.Random(number)
    return sum(survive(path, mutate(seed, rng)) for _ in range(count))


def test_two_thousand_mutated_files(tmp_path: Path, rich_bytes: bytes) -> None:
    accepted = run(tmp_path / "m.gguf", rich_bytes, 2000, 1)
    assert 0 < accepted < 2000


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_a_hundred_thousand_mutated_files(tmp_path: Path, rich_bytes: bytes, number: int) -> None:
    assert 0 < run(tmp_path / "m.gguf", rich_bytes, 10_000, 100 + number) < 10_000


def test_mutated_files_stay_within_memory(tmp_path: Path, rich_bytes: bytes) -> None:
    rng = random.Random(2)
    for _ in range(100):
        content = mutate(rich_bytes, rng)
        tracemalloc.start()
        survive(tmp_path / "m.gguf", content)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * len(content) + (32 << 20)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400), n_tensors=st.integers(0, 3), n_keys=st.integers(0, 3))
def test_arbitrary_bytes_behind_a_header(tmp_path: Path, body: bytes, n_tensors: int, n_keys: int) -> None:
    survive(tmp_path / "h.gguf", struct.pack("<4sIQQ", b"GGUF", 3, n_tensors, n_keys) + body)
