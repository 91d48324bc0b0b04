// Blocks of 32 with one f16 scale, the _1 kinds with an f16 offset too.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

struct Q8_0 : Format<Type::Q8_0> {
  static constexpr int kLowest = -128, kHighest = 127;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { memcpy(q, b + 2, 32); }
};

struct Q4_0 : Format<Type::Q4_0> {
  static constexpr int kLowest = -8, kHighest = 7;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { unpack_nibbles(b + 2, q, -8); }
};

struct Q4_1 : Format<Type::Q4_1> {
  static constexpr int kLowest = 0, kHighest = 15;
  static constexpr bool kOffset = true;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE float m(const uint8_t *b, int) { return load_half(b + 2); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { unpack_nibbles(b + 4, q, 0); }
};

// Nibbles, each with a fifth bit from a word of 32.
HALFLAP_INLINE void unpack_five_bits(const uint8_t *nibbles, const uint8_t *fifth, int8_t *q, int add) {
  unpack_nibbles(nibbles, q, add);
  const uint32_t high = static_cast<uint32_t>(load32(fifth));
  for (int i = 0; i < 32; i++) q[i] = static_cast<int8_t>(q[i] + static_cast<int>((high >> i) & 1) * 16);
}

struct Q5_0 : Format<Type::Q5_0> {
  static constexpr int kLowest = -16, kHighest = 15;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { unpack_five_bits(b + 6, b + 2, q, -16); }
};

struct Q5_1 : Format<Type::Q5_1> {
  static constexpr int kLowest = 0, kHighest = 31;
  static constexpr bool kOffset = true;
  static HALFLAP_INLINE float d(const uint8_t *b, int) { return load_half(b); }
  static HALFLAP_INLINE float m(const uint8_t *b, int) { return load_half(b + 2); }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { unpack_five_bits(b + 8, b + 4, q, 0); }
};

}  // namespace halflap::cpu::HALFLAP_ISA
