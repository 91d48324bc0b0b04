"""The built-in weight types as a table that needs no numpy: what the hook registers and what ids mean."""

from __future__ import annotations

from typing import Final

__all__ = ["WEIGHT_TYPES"]

_BY_MODULE: Final = {
    "plain": {"F32": 0, "F16": 1, "I8": 24, "I16": 25, "I32": 26, "I64": 27, "F64": 28, "BF16": 30},
    "block32": {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8},
    "k_quants": {"Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14},
    "iq": {
        "IQ2_XXS": 16, "IQ2_XS": 17, "IQ3_XXS": 18, "IQ1_S": 19, "IQ4_NL": 20,
        "IQ3_S": 21, "IQ2_S": 22, "IQ4_XS": 23, "IQ1_M": 29,
    },
    "ternary": {"TQ1_0": 34, "TQ2_0": 35, "Q1_0": 41, "Q2_0": 42},
    "fp4": {"MXFP4": 39, "NVFP4": 40},
}  # fmt: skip

WEIGHT_TYPES: Final[tuple[tuple[str, str, int], ...]] = tuple(
    (name, f"halflap.weights.quants.{module}:{name}", number)
    for module, names in _BY_MODULE.items()
    for name, number in names.items()
)
"""(name, "module:attribute" of its WeightType, GGUF type number); GGUF specification, `ggml_type`."""
