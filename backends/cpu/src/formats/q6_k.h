// Q6_K: 16 sub-blocks of 16 levels of four low and two high bits, int8 scales.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

struct Q6_K : Format<Type::Q6_K> {
  static constexpr int kSub = 16, kLowest = -32, kHighest = 31, kLargestScale = 128;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b + 208); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int i = 0; i < 16; i++) s[i] = static_cast<int8_t>(b[192 + i]);
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++) {  // 32 elements: quarter j % 4 of half j / 4
      const uint8_t *low = b + j / 4 * 64 + j % 2 * 32, *high = b + 128 + j / 4 * 32;
      for (int i = 0; i < 32; i++) {
        const int four = (low[i] >> (j % 4 / 2 * 4)) & 15, two = (high[i] >> (j % 4 * 2)) & 3;
        q[32 * j + i] = static_cast<int8_t>((four | (two << 4)) - 32);
      }
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
