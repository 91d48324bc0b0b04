"""Make `grids.h` from core's codebooks: python backends/cpu/src/formats/generate_grids.py"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from halflap.weights.quants.iq_grids import grid

TARGET = Path(__file__).with_name("grids.h")
HEAD = """\
// Made by generate_grids.py from core's halflap/weights/quants/iq_grids.py: the codebooks of the IQ types.
// A stored row is a number whose digits, the first element's lowest, choose among a codebook's levels.
#pragma once
#include <cstdint>

namespace halflap::cpu {

template <int kRows, int kWidth>
struct Grid {
  alignas(64) int8_t rows[kRows][kWidth];
  constexpr const int8_t *operator[](int row) const { return rows[row]; }
};

template <int kWidth, int kRows, int kLevels>
constexpr Grid<kRows, kWidth> make_grid(const uint16_t (&packed)[kRows], const int (&levels)[kLevels]) {
  constexpr int kBits = kWidth == 8 ? 2 : 3;
  Grid<kRows, kWidth> made{};
  for (int r = 0; r < kRows; r++)
    for (int i = 0; i < kWidth; i++)
      made.rows[r][i] = static_cast<int8_t>(levels[(packed[r] >> (kBits * i)) & ((1 << kBits) - 1)]);
  return made;
}
"""


def generate() -> str:
    """Source of `grids.h`."""
    parts = [HEAD]
    for name, codebook, factor in (
        ("kIq1", "IQ1", 8), ("kIq2xxs", "IQ2_XXS", 1), ("kIq2xs", "IQ2_XS", 1), ("kIq2s", "IQ2_S", 1),
        ("kIq3xxs", "IQ3_XXS", 1), ("kIq3s", "IQ3_S", 1),
    ):  # fmt: skip
        table = grid(codebook).astype(int)
        levels, digits = np.unique(table, return_inverse=True)
        bits = 2 if table.shape[1] == 8 else 3
        packed = (digits.reshape(table.shape) << (bits * np.arange(table.shape[1]))).sum(axis=1)
        rows = textwrap.fill(", ".join(map(str, packed)), 120, initial_indent="    ", subsequent_indent="    ")
        shown = ", ".join(str(factor * level) for level in levels)
        parts.append(
            f"\nconstexpr uint16_t {name}Packed[{len(packed)}] = {{\n{rows}}};\n"
            f"constexpr int {name}Levels[] = {{{shown}}};\n"
            f"inline constexpr auto {name}Grid = make_grid<{table.shape[1]}>({name}Packed, {name}Levels);\n"
        )
    return "".join([*parts, "\n}  // namespace halflap::cpu\n"])


if __name__ == "__main__":
    TARGET.write_text(generate())
