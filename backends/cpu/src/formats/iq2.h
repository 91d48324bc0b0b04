// IQ2_XXS, IQ2_XS, IQ2_S: eight elements are a row of a codebook with a sign each; scales are odd, d an eighth of the
// format's.
#pragma once
#include "format.h"
#include "grids.h"

namespace halflap::cpu::HALFLAP_ISA {

// A row of eight levels; bit i of `signs` makes number i negative.
HALFLAP_INLINE void sign_row(const int8_t *row, int signs, int8_t *q) {
#if defined(__AVX2__)
  const __m128i bits = _mm_set_epi8(0, 0, 0, 0, 0, 0, 0, 0, -128, 64, 32, 16, 8, 4, 2, 1);
  const __m128i minus = _mm_cmpeq_epi8(_mm_and_si128(_mm_set1_epi8(static_cast<char>(signs)), bits), bits);
  const __m128i v = _mm_xor_si128(_mm_loadl_epi64((const __m128i *)row), minus);
  _mm_storel_epi64((__m128i *)q, _mm_sub_epi8(v, minus));
#else
  for (int i = 0; i < 8; i++) q[i] = static_cast<int8_t>((signs >> i) & 1 ? -row[i] : row[i]);
#endif
}

// Seven stored signs; the eighth makes the number of minus signs even.
HALFLAP_INLINE int even_signs(uint32_t seven) { return static_cast<int>(seven) | __builtin_parity(seven) << 7; }

struct IQ2_XXS : Format<Type::IQ2_XXS> {
  static constexpr int kSub = 32, kLowest = -43, kHighest = 43, kLargestScale = 31;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return 0.125f * load_half(b); }
  // Per 32 elements: four row numbers, then a word of four times seven signs and the scale.
  static HALFLAP_INLINE uint32_t word(const uint8_t *b, int j) { return static_cast<uint32_t>(load32(b + 6 + 8 * j)); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int j = 0; j < 8; j++) s[j] = static_cast<int16_t>(1 + 2 * (word(b, j) >> 28));
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++)
      sign_row(kIq2xxsGrid[b[2 + g / 4 * 8 + g % 4]], even_signs((word(b, g / 4) >> (g % 4 * 7)) & 127), q + 8 * g);
  }
};

struct IQ2_XS : Format<Type::IQ2_XS> {
  static constexpr int kSub = 16, kLowest = -43, kHighest = 43, kLargestScale = 31;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return 0.125f * load_half(b); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) { unpack_odd_scales(b + 66, 16, s); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++) {  // nine bits of row number, seven signs
      const uint32_t word = load16(b + 2 + 2 * g);
      sign_row(kIq2xsGrid[word & 511], even_signs(word >> 9), q + 8 * g);
    }
  }
};

struct IQ2_S : Format<Type::IQ2_S> {
  static constexpr int kSub = 16, kLowest = -43, kHighest = 43, kLargestScale = 31;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return 0.125f * load_half(b); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) { unpack_odd_scales(b + 74, 16, s); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++) {
      const int high = (b[66 + g / 4] >> (g % 4 * 2)) & 3;
      sign_row(kIq2sGrid[b[2 + g] | (high << 8)], b[34 + g], q + 8 * g);
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
