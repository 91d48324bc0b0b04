"""Files to read: a rich one built by the writer, and the shared test data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halflap.weights.catalogue import WEIGHT_TYPES
from halflap.weights.gguf import builtin_types
from halflap.weights.gguf_writer import TensorData, chunks


@pytest.fixture(scope="session")
def rich_metadata() -> dict[str, Any]:
    """Every value type of the format."""
    return {
        "general.architecture": "llama",
        "general.alignment": 64,
        "a.u8": np.uint8(200),
        "a.i8": np.int8(-5),
        "a.u16": np.uint16(60000),
        "a.i16": np.int16(-300),
        "a.u32": np.uint32(4_000_000_000),
        "a.i32": np.int32(-70_000),
        "a.f32": np.float32(0.5),
        "a.bool": True,
        "a.string": "Grüße, 世界 \x1b[31m",
        "a.u64": np.uint64(2**63),
        "a.i64": np.int64(-(2**62)),
        "a.f64": np.float64(0.1),
        "b.empty": np.empty(0, np.float32),
        "b.small": [1, 2, 3],
        "b.bools": [True, False],
        "b.large": np.arange(5000, dtype=np.float32),
        "b.strings": ["", "▁the", "\0", "a b", "🙂"] * 80,
        "b.nested": [[1, 2], [3]],
        "b.deep": [[["x"], ["y", "z"]], [[]]],
    }


@pytest.fixture(scope="session")
def rich_bytes(rich_metadata: dict[str, Any]) -> bytes:
    """A valid file with every metadata type and a tensor of every weight type."""
    rng = np.random.default_rng(7)
    tensors: dict[str, Any] = {"norm": rng.standard_normal(48).astype(np.float32), "scalar": np.float32(3).reshape(())}
    types = builtin_types()
    for name, _, number in WEIGHT_TYPES:
        kind = types[number]
        tensors[f"w.{name}"] = TensorData(
            number, (3, 2 * kind.block), rng.integers(0, 256, 6 * kind.nbytes, dtype=np.uint8)
        )
    return b"".join(bytes(chunk) for chunk in chunks(rich_metadata, tensors))


@pytest.fixture
def make_file(tmp_path: Path):
    """Write bytes, or (metadata, tensors), to a new file and return its path."""
    count = 0

    def make(content: bytes | dict[str, Any], tensors: dict[str, Any] | None = None, name: str | None = None) -> Path:
        nonlocal count
        count += 1
        path = tmp_path / (name or f"{count}.gguf")
        if not isinstance(content, bytes):
            content = b"".join(bytes(chunk) for chunk in chunks(content, tensors or {}))
        path.write_bytes(content)
        return path

    return make
