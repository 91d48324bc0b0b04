// IQ1_S and IQ1_M: eight elements are a row of -1, 0, 1 out of 2048, moved by an eighth up or down. Levels are eight
// times that, d an eighth of the format's.
#pragma once
#include "format.h"
#include "grids.h"

namespace halflap::cpu::HALFLAP_ISA {

HALFLAP_INLINE void move_row(int row, bool down, int8_t *q) {
  const int8_t *from = kIq1Grid[row];
#if defined(__AVX2__)
  _mm_storel_epi64((__m128i *)q, _mm_add_epi8(_mm_loadl_epi64((const __m128i *)from), _mm_set1_epi8(down ? -1 : 1)));
#else
  for (int i = 0; i < 8; i++) q[i] = static_cast<int8_t>(from[i] + (down ? -1 : 1));
#endif
}

struct IQ1_S : Format<Type::IQ1_S> {
  static constexpr int kSub = 32, kLowest = -9, kHighest = 9, kLargestScale = 15;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return 0.125f * load_half(b); }
  // A word per 32 elements: the high three bits of its four row numbers, the scale, the direction.
  static HALFLAP_INLINE int word(const uint8_t *b, int j) { return load16(b + 34 + 2 * j); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int j = 0; j < 8; j++) s[j] = static_cast<int16_t>(1 + 2 * ((word(b, j) >> 12) & 7));
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++) {
      const int high = (word(b, g / 4) >> (g % 4 * 3)) & 7;
      move_row(b[2 + g] | (high << 8), word(b, g / 4) & 0x8000, q + 8 * g);
    }
  }
};

struct IQ1_M : Format<Type::IQ1_M> {
  static constexpr int kSub = 16, kLowest = -9, kHighest = 9, kLargestScale = 15;
  // Four words of scales: three bits for each of four sub-blocks; their top nibbles are the f16 scale.
  static HALFLAP_INLINE int word(const uint8_t *b, int j) { return load16(b + 48 + 2 * j); }
  static HALFLAP_INLINE float d(const uint8_t *b, int) {
    int half = 0;
    for (int j = 0; j < 4; j++) half |= (word(b, j) >> 12) << (4 * j);
    return 0.125f * half_to_float(static_cast<uint16_t>(half));
  }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int i = 0; i < 16; i++) s[i] = static_cast<int16_t>(1 + 2 * ((word(b, i / 4) >> (i % 4 * 3)) & 7));
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int g = 0; g < 32; g++) {  // a nibble per row: three high bits of its number, the direction
      const int high = b[32 + g / 2] >> (g % 2 * 4);
      move_row(b[g] | ((high & 7) << 8), high & 8, q + 8 * g);
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
