// Q2_K: 16 sub-blocks of 16 two-bit levels, scales and minima of four bits.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

struct Q2_K : Format<Type::Q2_K> {
  static constexpr int kSub = 16, kLowest = 0, kHighest = 3, kLargestScale = 15;
  static constexpr bool kMins = true;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b + 80); }
  static HALFLAP_INLINE float m(const uint8_t *b, int) { return -load_half(b + 82); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int i = 0; i < 16; i++) s[i] = b[i] & 15;
  }
  static HALFLAP_INLINE void mins(const uint8_t *b, int16_t *s) {
    for (int i = 0; i < 16; i++) s[i] = b[i] >> 4;
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++) {  // 32 elements: two bits j % 4 of the 32 bytes of half j / 4
      const uint8_t *from = b + 16 + j / 4 * 32;
      for (int i = 0; i < 32; i++) q[32 * j + i] = static_cast<int8_t>((from[i] >> (j % 4 * 2)) & 3);
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
