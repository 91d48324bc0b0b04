// How each quantised type's bytes become integers. Two families:
//  Scaled256: 256 elements share one float d (and dmin); sub-blocks have integer scales, folded into the values here, so
//             that a whole chunk is one exact integer sum: value = d · values[k] - dmin · mins[k / kSub].
//  Block32:   32 elements share a float d (and m): value = d · values[k] + m.
// The layouts are those of GGUF; tests compare them with the package `gguf`.
#pragma once
#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Six-bit scales and mins of Q4_K and Q5_K: 8 of each in 12 bytes.
HALFLAP_INLINE void unpack_six_bits(const uint8_t *s, int16_t *scale, int16_t *least) {
  for (int j = 0; j < 4; j++) {
    scale[j] = s[j] & 63;
    least[j] = s[j + 4] & 63;
    scale[j + 4] = static_cast<int16_t>((s[j + 8] & 15) | ((s[j] >> 6) << 4));
    least[j + 4] = static_cast<int16_t>((s[j + 8] >> 4) | ((s[j + 4] >> 6) << 4));
  }
}

struct Q8_0 {
  static constexpr int kBlock = 32, kBytes = 34, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, float &d, float &) {
    d = half_to_float(load16(b));
    for (int i = 0; i < 32; i++) v[i] = static_cast<int8_t>(b[2 + i]);
  }
};

struct Q4_0 {
  static constexpr int kBlock = 32, kBytes = 18, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, float &d, float &) {
    d = half_to_float(load16(b));
    for (int i = 0; i < 16; i++) v[i] = static_cast<int16_t>((b[2 + i] & 15) - 8);
    for (int i = 0; i < 16; i++) v[i + 16] = static_cast<int16_t>((b[2 + i] >> 4) - 8);
  }
};

struct Q4_1 {
  static constexpr int kBlock = 32, kBytes = 20, kSub = 0;
  static constexpr bool kOffset = true;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, float &d, float &m) {
    d = half_to_float(load16(b));
    m = half_to_float(load16(b + 2));
    for (int i = 0; i < 16; i++) v[i] = b[4 + i] & 15;
    for (int i = 0; i < 16; i++) v[i + 16] = b[4 + i] >> 4;
  }
};

struct Q5_0 {
  static constexpr int kBlock = 32, kBytes = 22, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, float &d, float &) {
    d = half_to_float(load16(b));
    const uint32_t high = static_cast<uint32_t>(load32(b + 2));
    for (int i = 0; i < 16; i++) v[i] = static_cast<int16_t>(((b[6 + i] & 15) | (((high >> i) & 1) << 4)) - 16);
    for (int i = 0; i < 16; i++) v[i + 16] = static_cast<int16_t>(((b[6 + i] >> 4) | (((high >> (i + 16)) & 1) << 4)) - 16);
  }
};

struct Q5_1 {
  static constexpr int kBlock = 32, kBytes = 24, kSub = 0;
  static constexpr bool kOffset = true;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, float &d, float &m) {
    d = half_to_float(load16(b));
    m = half_to_float(load16(b + 2));
    const uint32_t high = static_cast<uint32_t>(load32(b + 4));
    for (int i = 0; i < 16; i++) v[i] = static_cast<int16_t>((b[8 + i] & 15) | (((high >> i) & 1) << 4));
    for (int i = 0; i < 16; i++) v[i + 16] = static_cast<int16_t>((b[8 + i] >> 4) | (((high >> (i + 16)) & 1) << 4));
  }
};

struct IQ4_NL {
  static constexpr int kBlock = 32, kBytes = 18, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, float &d, float &) {
    d = half_to_float(load16(b));
    for (int i = 0; i < 16; i++) v[i] = kIq4Values[b[2 + i] & 15];
    for (int i = 0; i < 16; i++) v[i + 16] = kIq4Values[b[2 + i] >> 4];
  }
};

struct Q2_K {
  static constexpr int kBlock = 256, kBytes = 84, kSub = 16;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, int16_t *mins, float &d, float &dmin) {
    const uint8_t *scales = b, *q = b + 16;
    d = half_to_float(load16(b + 80));
    dmin = half_to_float(load16(b + 82));
    for (int s = 0; s < 16; s++) mins[s] = scales[s] >> 4;
    for (int s = 0; s < 16; s++) {  // sub-block s: half s/8, two bits (s%8)/2, bytes 16·(s%2) on
      const uint8_t *from = q + s / 8 * 32 + s % 2 * 16;
      const int shift = s % 8 / 2 * 2, scale = scales[s] & 15;
      for (int i = 0; i < 16; i++) v[16 * s + i] = static_cast<int16_t>(((from[i] >> shift) & 3) * scale);
    }
  }
};

struct Q3_K {
  static constexpr int kBlock = 256, kBytes = 110, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, int16_t *, float &d, float &) {
    const uint8_t *high = b, *q = b + 32, *scales = b + 96;
    d = half_to_float(load16(b + 108));
    for (int s = 0; s < 16; s++) {
      const int low = (scales[s % 8] >> (s / 8 * 4)) & 15, top = (scales[8 + s % 4] >> (s / 4 * 2)) & 3;
      const int scale = (low | (top << 4)) - 32, shift = s % 8 / 2 * 2, bit = s / 2;
      const uint8_t *from = q + s / 8 * 32 + s % 2 * 16, *mask = high + s % 2 * 16;
      for (int i = 0; i < 16; i++) {
        const int value = ((from[i] >> shift) & 3) + ((mask[i] >> bit) & 1) * 4 - 4;
        v[16 * s + i] = static_cast<int16_t>(value * scale);
      }
    }
  }
};

struct Q4_K {
  static constexpr int kBlock = 256, kBytes = 144, kSub = 32;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, int16_t *mins, float &d, float &dmin) {
    d = half_to_float(load16(b));
    dmin = half_to_float(load16(b + 2));
    int16_t scale[8];
    unpack_six_bits(b + 4, scale, mins);
    for (int j = 0; j < 4; j++) {
      const uint8_t *q = b + 16 + 32 * j;
      for (int i = 0; i < 32; i++) v[64 * j + i] = static_cast<int16_t>((q[i] & 15) * scale[2 * j]);
      for (int i = 0; i < 32; i++) v[64 * j + 32 + i] = static_cast<int16_t>((q[i] >> 4) * scale[2 * j + 1]);
    }
  }
};

struct Q5_K {
  static constexpr int kBlock = 256, kBytes = 176, kSub = 32;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, int16_t *mins, float &d, float &dmin) {
    d = half_to_float(load16(b));
    dmin = half_to_float(load16(b + 2));
    int16_t scale[8];
    unpack_six_bits(b + 4, scale, mins);
    const uint8_t *high = b + 16;
    for (int j = 0; j < 4; j++) {
      const uint8_t *q = b + 48 + 32 * j;
      for (int i = 0; i < 32; i++)
        v[64 * j + i] = static_cast<int16_t>(((q[i] & 15) + ((high[i] >> (2 * j)) & 1) * 16) * scale[2 * j]);
      for (int i = 0; i < 32; i++)
        v[64 * j + 32 + i] = static_cast<int16_t>(((q[i] >> 4) + ((high[i] >> (2 * j + 1)) & 1) * 16) * scale[2 * j + 1]);
    }
  }
};

struct Q6_K {
  static constexpr int kBlock = 256, kBytes = 210, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, int16_t *, float &d, float &) {
    const uint8_t *low = b, *high = b + 128;
    d = half_to_float(load16(b + 208));
    for (int s = 0; s < 16; s++) {  // sub-block of 16: half s/8, quarter (s%8)/2, bytes 16·(s%2) on
      const int quarter = s % 8 / 2, at = s % 2 * 16, shift = quarter / 2 * 4, scale = static_cast<int8_t>(b[192 + s]);
      const uint8_t *l = low + s / 8 * 64 + quarter % 2 * 32 + at, *h = high + s / 8 * 32 + at;
      for (int i = 0; i < 16; i++) {
        const int value = ((l[i] >> shift) & 15) + ((h[i] >> (2 * quarter)) & 3) * 16 - 32;
        v[16 * s + i] = static_cast<int16_t>(value * scale);
      }
    }
  }
};

struct IQ4_XS {
  static constexpr int kBlock = 256, kBytes = 136, kSub = 0;
  static constexpr bool kOffset = false;
  static HALFLAP_INLINE void decode(const uint8_t *b, int16_t *v, int16_t *, float &d, float &) {
    d = half_to_float(load16(b));
    const int tops = load16(b + 2);
    for (int j = 0; j < 8; j++) {
      const uint8_t *q = b + 8 + 16 * j;
      const int scale = (((b[4 + j / 2] >> (j % 2 * 4)) & 15) | (((tops >> (2 * j)) & 3) << 4)) - 32;
      for (int i = 0; i < 16; i++) v[32 * j + i] = static_cast<int16_t>(kIq4Values[q[i] & 15] * scale);
      for (int i = 0; i < 16; i++) v[32 * j + 16 + i] = static_cast<int16_t>(kIq4Values[q[i] >> 4] * scale);
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA
