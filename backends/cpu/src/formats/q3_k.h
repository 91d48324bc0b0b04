// Q3_K: 16 sub-blocks of 16 levels, two bits and a third apart; signed scales of six bits.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

struct Q3_K : Format<Type::Q3_K> {
  static constexpr int kSub = 16, kLowest = -4, kHighest = 3, kLargestScale = 32;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b + 108); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    const uint8_t *low = b + 96, *high = b + 104;
    for (int i = 0; i < 16; i++) {
      const int six = ((low[i % 8] >> (i / 8 * 4)) & 15) | (((high[i % 4] >> (i / 4 * 2)) & 3) << 4);
      s[i] = static_cast<int16_t>(six - 32);
    }
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++) {  // 32 elements: two bits j % 4 of the 32 bytes of half j / 4, third bit j
      const uint8_t *from = b + 32 + j / 4 * 32;
      for (int i = 0; i < 32; i++) {
        const int third = (b[i] >> j) & 1;
        q[32 * j + i] = static_cast<int8_t>(((from[i] >> (j % 4 * 2)) & 3) + third * 4 - 4);
      }
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
