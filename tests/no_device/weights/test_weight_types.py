"""The reference dequantisers against results of two independent implementations."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.models.oracle import QUANT_CASES

from halflap.weights import gguf
from halflap.weights.catalogue import WEIGHT_TYPES
from halflap.weights.gguf import builtin_types


@pytest.mark.parametrize("case", QUANT_CASES)
def test_every_tensor_dequantises_to_the_oracles_bits(shared: Path, case: str) -> None:
    folder = shared / "oracle" / "quant"
    expected = json.loads((folder / f"quant-{case}.json").read_text()).get("tensors", {})
    heads = np.load(folder / f"quant-{case}.npz")
    with gguf.open(folder / f"quant-{case}.gguf") as file:
        for name, info in file.tensors.items():
            values = file.dequantize(name)
            if name in expected:
                assert info.type == expected[name]["type"]
                assert list(values.shape) == expected[name]["shape"]
                assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == expected[name]["sha256"], name
            if f"head:{name}" in heads:
                np.testing.assert_array_equal(values[:4], heads[f"head:{name}"])
    assert expected or case == "F32"


def test_the_oracle_covers_every_quantised_type(shared: Path) -> None:
    seen: set[str] = set()
    for case in QUANT_CASES:
        with gguf.open(shared / "oracle" / "quant" / f"quant-{case}.gguf") as file:
            seen |= {info.type for info in file.tensors.values()}
    assert {name for name, _, _ in WEIGHT_TYPES} - seen == {"I8", "I16", "I32", "I64", "F64"}


@pytest.mark.parametrize("name", ["I8", "I16", "I32", "I64", "F64", "F32", "F16"])
def test_plain_numbers_keep_their_value(name: str) -> None:
    kind = {kind.name: kind for kind in builtin_types().values()}[name]
    dtype = np.dtype({"I": "i", "F": "f"}[name[0]] + str(kind.nbytes))
    values = np.array([-3, 0, 1, 100], dtype)
    decoded = kind.dequantize(values.view(np.uint8).reshape(-1, kind.nbytes))
    np.testing.assert_array_equal(decoded[:, 0], values.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "bound"), [("F32", 0), ("F16", 2**-11), ("BF16", 2**-8), ("Q8_0", 1 / 254 + 2**-11), ("Q4_0", 1 / 8)]
)
def test_quantising_rounds_to_nearest(name: str, bound: float) -> None:
    kind = {kind.name: kind for kind in builtin_types().values()}[name]
    values = np.random.default_rng(3).uniform(-1, 1, (64, max(kind.block, 32))).astype(np.float32)
    values[0] = 0  # and Q4_0 has no +8: a positive extreme of a block may be off by one step
    decoded = kind.dequantize(kind.quantize(values.reshape(-1, kind.block))).reshape(values.shape)
    assert np.abs(decoded - values).max() <= bound
    again = kind.quantize(decoded.reshape(-1, kind.block))
    np.testing.assert_array_equal(kind.dequantize(again).reshape(values.shape)[0], 0)


def test_bf16_keeps_nan_and_rounds_ties_to_even() -> None:
    kind = builtin_types()[30]
    nans = np.array([0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    values = np.array([*nans, np.inf, 1 + 2**-8, 1 + 3 * 2**-8], np.float32).reshape(-1, 1)
    decoded = kind.dequantize(kind.quantize(values).reshape(-1, 2))[:, 0]
    assert np.isnan(decoded[:4]).all()
    np.testing.assert_array_equal(decoded[4:], np.array([np.inf, 1, 1 + 2**-6], np.float32))


def test_nvfp4_takes_the_nan_scale_for_zero() -> None:
    block = np.full((1, 36), 0x77, np.uint8)
    block[0, :4] = [0x7F, 0x38, 0x01, 0x00]  # NaN, 1, the smallest subnormal, 0; each halved, as levels are doubled
    values = builtin_types()[40].dequantize(block).reshape(4, 16)
    np.testing.assert_array_equal(values, np.array([0, 6, 6 * 2.0**-9, 0], np.float32)[:, None].repeat(16, 1))


def test_damaged_scales_give_numbers_not_errors() -> None:
    rng = np.random.default_rng(5)
    for kind in builtin_types().values():
        for fill in (0x00, 0xFF, 0x7C):
            blocks = np.full((2, kind.nbytes), fill, np.uint8)
            assert kind.dequantize(blocks).shape == (2, kind.block)
        assert kind.dequantize(rng.integers(0, 256, (50, kind.nbytes), dtype=np.uint8)).dtype == np.float32


def test_the_catalogue_needs_no_numpy() -> None:
    import subprocess

    code = "import sys; import halflap.weights.catalogue; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_type_without_encoder_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Q4_K: got no encoder"):
        builtin_types()[12].quantize(np.zeros((1, 256), np.float32))
