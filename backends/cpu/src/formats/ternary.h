// One to two bits without a codebook: TQ1_0 and TQ2_0 (ternary), Q1_0 (signs), Q2_0 (four levels).
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

// `count` base-3 digits of each of n bytes, which are fractions byte / 256: the first digits of all, then the second.
HALFLAP_INLINE int8_t *unpack_trits(const uint8_t *from, int n, int count, int8_t *q) {
  for (int digit = 0, power = 1; digit < count; digit++, power *= 3, q += n)
    for (int i = 0; i < n; i++) {
      const int below = (from[i] * power) & 255;  // the fraction after the digits before
      q[i] = static_cast<int8_t>(((below * 3) >> 8) - 1);
    }
  return q;
}

struct TQ1_0 : Format<Type::TQ1_0> {
  static constexpr int kLowest = -1, kHighest = 1;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b + 52); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    q = unpack_trits(b, 32, 5, q);
    q = unpack_trits(b + 32, 16, 5, q);
    unpack_trits(b + 48, 4, 4, q);
  }
};

struct TQ2_0 : Format<Type::TQ2_0> {
  static constexpr int kLowest = -1, kHighest = 2;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b + 64); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 8; j++)
      for (int i = 0; i < 32; i++) q[32 * j + i] = static_cast<int8_t>(((b[j / 4 * 32 + i] >> (j % 4 * 2)) & 3) - 1);
  }
};

struct Q1_0 : Format<Type::Q1_0> {
  static constexpr int kLowest = -1, kHighest = 1;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int i = 0; i < 128; i++) q[i] = (b[2 + i / 8] >> (i % 8)) & 1 ? 1 : -1;
  }
};

struct Q2_0 : Format<Type::Q2_0> {
  static constexpr int kLowest = -1, kHighest = 2;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int i = 0; i < 64; i++) q[i] = static_cast<int8_t>(((b[2 + i / 4] >> (i % 4 * 2)) & 3) - 1);
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
