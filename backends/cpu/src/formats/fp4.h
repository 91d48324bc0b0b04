// Four-bit floats (E2M1): MXFP4 with a power of two per 32, NVFP4 with an unsigned E4M3 per 16. Levels are doubled,
// scales halved.
#pragma once
#include "format.h"

namespace halflap::cpu::HALFLAP_ISA {

constexpr int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct MXFP4 : Format<Type::MXFP4> {
  static constexpr int kLowest = -12, kHighest = 12;
  static HALFLAP_INLINE float d(const uint8_t *b, int) {  // 2^(e - 128): the two smallest are subnormal
    const uint32_t e = b[0];
    return bits_to_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) { look_up_nibbles(b + 1, 16, kE2m1Doubled, q); }
};

struct NVFP4 : Format<Type::NVFP4> {
  static constexpr int kRun = 16, kLowest = -12, kHighest = 12;
  static HALFLAP_INLINE float d(const uint8_t *b, int run) {
    const uint32_t x = b[run] & 127;
    if (b[run] == 127) return 0;  // NaN in the format; zero as ggml has it
    if (x < 8) return static_cast<float>(x) * 0x1p-10f;
    return bits_to_float(((x >> 3) + 119) << 23 | (x & 7) << 20);
  }
  static HALFLAP_INLINE void levels(const uint8_t *b, int8_t *q) {
    for (int j = 0; j < 4; j++) look_up_nibbles(b + 4 + 8 * j, 8, kE2m1Doubled, q + 16 * j);
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
