// KV rows in storage: single rows in and out, and blocks of 32 as floats for attention.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

HALFLAP_INLINE float read_plain(KvType type, const uint8_t *p) {
  if (type == KvType::f32) return bits_to_float(static_cast<uint32_t>(load32(p)));
  return type == KvType::f16 ? half_to_float(load16(p)) : bfloat_to_float(load16(p));
}

HALFLAP_INLINE Lanes read_lanes(KvType type, const uint8_t *p) {
  if (type == KvType::f32) return load(reinterpret_cast<const float *>(p));
  const uint16_t *h = reinterpret_cast<const uint16_t *>(p);
  return type == KvType::f16 ? from_half(h) : from_bfloat(h);
}

// K of one head in one block: keys(d, k0, k1) gives element d of the 32 tokens.
template <KvType type>
struct StoredKeys {
  const uint8_t *codes;
  const uint16_t *scales;

  StoredKeys(const KvLayer &l, int64_t block, int64_t row)
      : codes(l.k(block) + kv_codes(type, row * kBlockTokens)),
        scales(is_quantised(type) ? reinterpret_cast<const uint16_t *>(l.k_scales(block)) + row : nullptr) {}

  HALFLAP_INLINE void operator()(int64_t d, Lanes &k0, Lanes &k1) const {
    if constexpr (!is_quantised(type)) {
      const uint8_t *p = codes + kv_codes(type, d * kBlockTokens);
      k0 = read_lanes(type, p);
      k1 = read_lanes(type, p + kv_codes(type, kLanes));
      return;
    }
    const int64_t run = d / kKvBlock, at = d % kKvBlock;
    const uint8_t *p = codes + kv_codes(type, run * kKvBlock * kBlockTokens);
    const Lanes s0 = from_half(scales + run * kBlockTokens), s1 = from_half(scales + run * kBlockTokens + kLanes);
    if (type == KvType::q8_0) {
      k0 = mul(s0, from_bytes(p + at * kBlockTokens));
      k1 = mul(s1, from_bytes(p + at * kBlockTokens + kLanes));
    } else {
      p += at % (kKvBlock / 2) * kBlockTokens;
      const bool high = at >= kKvBlock / 2;
      k0 = mul(s0, from_nibbles(p, high));
      k1 = mul(s1, from_nibbles(p + kLanes, high));
    }
  }
};

// V of one head in one block: values(j, i) gives columns 16i to 16i + 15 of token j. Only where a head's columns begin and
// end at multiples of 32.
template <KvType type>
struct StoredValues {
  const uint8_t *codes;
  const uint16_t *scales;

  StoredValues(const KvLayer &l, int64_t block, int64_t column)
      : codes(l.v(block) + kv_codes(type, column * kBlockTokens)),
        scales(is_quantised(type) ? reinterpret_cast<const uint16_t *>(l.v_scales(block)) + column : nullptr) {}

  HALFLAP_INLINE Lanes operator()(int64_t j, int64_t i) const {
    const int64_t group = i / 2;
    const uint8_t *p = codes + kv_codes(type, (group * kBlockTokens + j) * kKvBlock);
    if (!is_quantised(type)) return read_lanes(type, p + kv_codes(type, i % 2 * kLanes));
    const Lanes scale = splat(half_to_float(scales[group * kBlockTokens + j]));
    return mul(scale, type == KvType::q8_0 ? from_bytes(p + i % 2 * kLanes) : from_nibbles(p, i % 2 != 0));
  }
};

// V of one head as floats, whatever its columns: (32, wide), padded with zeros; only the first `filled` tokens.
template <KvType type>
HALFLAP_INLINE void fetch_values(const KvLayer &l, int64_t block, int64_t column, int64_t v_head_dim, int64_t filled,
                                 int64_t wide, float *values) {
  for (int64_t c = 0; c < wide; c += kLanes) {
    const bool whole = c + kLanes <= v_head_dim && column % kKvBlock == 0 && l.v_run(column + c) == kKvBlock;
    for (int64_t j = 0; j < filled; j++) {
      float *to = values + j * wide + c;
      if constexpr (is_quantised(type)) {
        store(to, StoredValues<type>(l, block, column)(j, c / kLanes));
      } else if (whole) {
        store(to, StoredValues<type>(l, block, column)(j, c / kLanes));
      } else {
        for (int64_t i = c; i < c + kLanes; i++, to++) *to = i < v_head_dim ? read_plain(type, l.v_codes(block, j, column + i)) : 0.0f;
      }
    }
  }
}

}  // namespace halflap::cpu::HALFLAP_ISA
