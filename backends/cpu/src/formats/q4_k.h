// Q4_K and Q5_K: 8 sub-blocks of 32 levels, scales and minima of six bits.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

// 8 scales and 8 minima in 12 bytes. The first four of each are the low six bits of bytes 0-3 and 4-7; the others are
// nibbles of bytes 8-11 under the top two bits of bytes 0-3 and 4-7.
template <Type type>
struct SixBits : Format<type> {
  static constexpr int kSub = 32, kLowest = 0, kLargestScale = 63;
  static constexpr bool kMins = true;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE float m(const uint8_t *b, int) { return -load_half(b + 2); }
  static HALFLAP_INLINE void scales(const uint8_t *b, int16_t *s) {
    for (int i = 0; i < 4; i++) s[i] = b[4 + i] & 63;
    for (int i = 0; i < 4; i++) s[4 + i] = static_cast<int16_t>((b[12 + i] & 15) | ((b[4 + i] >> 6) << 4));
  }
  static HALFLAP_INLINE void mins(const uint8_t *b, int16_t *s) {
    for (int i = 0; i < 4; i++) s[i] = b[8 + i] & 63;
    for (int i = 0; i < 4; i++) s[4 + i] = static_cast<int16_t>((b[12 + i] >> 4) | ((b[8 + i] >> 6) << 4));
  }
};

struct Q4_K : SixBits<Type::Q4_K> {
  static constexpr int kHighest = 15;
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++) {  // 32 elements: nibble j % 2 of 32 bytes
      const uint8_t *from = b + 16 + j / 2 * 32;
      for (int i = 0; i < 32; i++) q[32 * j + i] = static_cast<int8_t>((from[i] >> (j % 2 * 4)) & 15);
    }
  }
};

struct Q5_K : SixBits<Type::Q5_K> {
  static constexpr int kHighest = 31;
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++) {  // as Q4_K; bit j of 32 bytes of its own is the fifth
      const uint8_t *from = b + 48 + j / 2 * 32, *fifth = b + 16;
      for (int i = 0; i < 32; i++)
        q[32 * j + i] = static_cast<int8_t>(((from[i] >> (j % 2 * 4)) & 15) | (((fifth[i] >> j) & 1) << 4));
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
