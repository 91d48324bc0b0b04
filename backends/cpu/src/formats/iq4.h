// IQ4_NL and IQ4_XS: nibbles that name one of sixteen uneven levels.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct IQ4_NL : Format<Type::IQ4_NL> {
  static constexpr int kLowest = -127, kHighest = 113;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { look_up_nibbles(b + 2, 16, kIq4Levels, q); }
};

struct IQ4_XS : Format<Type::IQ4_XS> {
  static constexpr int kSub = 32, kLowest = -127, kHighest = 113, kLargestScale = 32;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    const int high = load16(b + 2);
    for (int j = 0; j < 8; j++)
      s[j] = static_cast<int16_t>((((b[4 + j / 2] >> (j % 2 * 4)) & 15) | (((high >> (2 * j)) & 3) << 4)) - 32);
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++) look_up_nibbles(b + 8 + 16 * j, 16, kIq4Levels, q + 32 * j);
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
