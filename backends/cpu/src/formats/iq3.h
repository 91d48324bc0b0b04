// IQ3_XXS and IQ3_S: four elements are a row of a codebook, signs lie apart; scales are odd.
#pragma once
#include "format.h"
#include "grids.h"
#include "iq2.h"

namespace halflap::cpu::HALFLAP_ISA {

HALFLAP_INLINE void sign_rows(const int8_t *first, const int8_t *second, int signs, int8_t *q) {
  int8_t row[8];
  memcpy(row, first, 4);
  memcpy(row + 4, second, 4);
  sign_row(row, signs, q);
}

struct IQ3_XXS : Format<Type::IQ3_XXS> {
  static constexpr int kSub = 32, kLowest = -62, kHighest = 62, kLargestScale = 31;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return 0.25f * load_half(b); }
  // A word per 32 elements: four times seven signs and the scale.
  static HALFLAP_INLINE uint32_t word(const uint8_t *b, int j) { return static_cast<uint32_t>(load32(b + 66 + 4 * j)); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int j = 0; j < 8; j++) s[j] = static_cast<int16_t>(1 + 2 * (word(b, j) >> 28));
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++) {
      const uint8_t *rows = b + 2 + 2 * g;
      const int signs = even_signs((word(b, g / 4) >> (g % 4 * 7)) & 127);
      sign_rows(kIq3xxsGrid[rows[0]], kIq3xxsGrid[rows[1]], signs, q + 8 * g);
    }
  }
};

struct IQ3_S : Format<Type::IQ3_S> {
  static constexpr int kSub = 32, kLowest = -15, kHighest = 15, kLargestScale = 31;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) { unpack_odd_scales(b + 106, 8, s); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++) {
      const int ninth = b[66 + g / 4] >> (g % 4 * 2);
      const int first = b[2 + 2 * g] | ((ninth & 1) << 8), second = b[3 + 2 * g] | ((ninth & 2) << 7);
      sign_rows(kIq3sGrid[first], kIq3sGrid[second], b[74 + g], q + 8 * g);
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
