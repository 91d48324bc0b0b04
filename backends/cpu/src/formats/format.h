// A format says what the bytes of one quant block mean; kernels are templates over it. Element k of a block is
//   value[k] = d(k / kRun) · scales[k / kSub] · levels[k] + m(k / kRun) · mins[k / kSub]
// where a format without sub-scales has scales = 1, one with a float offset (kOffset) mins = 1, any other mins = 0.
// All but d and m are small integers, so that sums over products with int8 activations are exact. Powers of two move
// between d and levels as suits them; that is exact too.
#pragma once
#include "../kernels/simd.h"
#include "types.h"

namespace halflap::cpu::HALFLAP_ISA {

// What a format has unless it says otherwise. `type` fixes name, block and bytes.
template <Type type>
struct Format {
  static constexpr Type kType = type;
  static constexpr int kBlock = info(type).block;  // elements
  static constexpr int kBytes = info(type).bytes;
  static constexpr int kRun = kBlock < 256 ? 32 : 256;  // elements summed at once, under one d: 16, 32 or 256
  static constexpr int kSub = 0;                        // elements that share an integer sub-scale: 0 (none), 16 or 32
  static constexpr int kLargestScale = 1;               // bound of |scales|
  static constexpr bool kMins = false;                  // integer minima of kSub elements: mins(), m()
  static constexpr bool kOffset = false;                // a float offset per run: m()

  // Its own: kLowest and kHighest of the levels, and
  //   levels(b, int8_t *)  kBlock of them, in the order of K
  //   scales(b, int16_t *), mins(b, int16_t *)  kBlock / kSub each
  //   d(b, run), m(b, run)
  static HALFLAP_INLINE void scales(const uint8_t *, int16_t *) {}
  static HALFLAP_INLINE void mins(const uint8_t *, int16_t *) {}
  static HALFLAP_INLINE float m(const uint8_t *, int) { return 0; }
};

// Bound of |levels · scales|.
template <class F>
constexpr int kLargestValue = (F::kHighest > -F::kLowest ? F::kHighest : -F::kLowest) * F::kLargestScale;

// levels · scales: (kBlock).
template <class F>
HALFLAP_INLINE void scaled_levels(const uint8_t *b, int16_t *v) {
  static_assert(kLargestValue<F> <= 8191);  // 14 bits: see matmul_amx.cpp
  alignas(64) int8_t levels[F::kBlock];
  F::levels(b, levels);
  if constexpr (F::kSub > 0) {
    int16_t scales[F::kBlock / F::kSub];
    F::scales(b, scales);
    for (int j = 0; j < F::kBlock / F::kSub; j++)
      for (int i = j * F::kSub; i < (j + 1) * F::kSub; i++) v[i] = static_cast<int16_t>(levels[i] * scales[j]);
  } else {
    for (int i = 0; i < F::kBlock; i++) v[i] = levels[i];
  }
}

HALFLAP_INLINE float load_half(const uint8_t *p) { return half_to_float(load16(p)); }

// -- how fields are packed ------------------------------------------------------------------------------------------------

// 16 bytes: 16 low nibbles, then 16 high ones.
HALFLAP_INLINE void unpack_nibbles(const uint8_t *from, int8_t *to, int add) {
  for (int i = 0; i < 16; i++) to[i] = static_cast<int8_t>((from[i] & 15) + add);
  for (int i = 0; i < 16; i++) to[i + 16] = static_cast<int8_t>((from[i] >> 4) + add);
}

// n bytes: n low nibbles, then n high ones, through a table of 16.
HALFLAP_INLINE void look_up_nibbles(const uint8_t *from, int n, const int8_t *table, int8_t *to) {
  for (int i = 0; i < n; i++) to[i] = table[from[i] & 15];
  for (int i = 0; i < n; i++) to[i + n] = table[from[i] >> 4];
}

// Scales in nibbles, the low one first: 1 + 2 · nibble.
HALFLAP_INLINE void unpack_odd_scales(const uint8_t *from, int n, int16_t *to) {
  for (int i = 0; i < n; i++) to[i] = static_cast<int16_t>(1 + 2 * ((from[i / 2] >> (i % 2 * 4)) & 15));
}

}  // namespace halflap::cpu::HALFLAP_ISA
