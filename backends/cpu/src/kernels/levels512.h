// One chunk (256 along K) of a weight row as unsigned bytes in the order of K, for AVX-512: what vpdpbusd multiplies.
// A byte is the weight's level minus kLowest. Formats without a faster way of their own go through their description.
#pragma once
#include "matmul_quant.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

// Whether sums meet integer sub-scales; formats whose runs are whole chunks without any do, with ones.
template <class F>
constexpr bool kScaled = F::kRun == kChunk;
template <class F>
constexpr int kScaleRun = F::kSub ? F::kSub : 32;  // elements that share one

struct SubScales {
  __m256i scale, mins;  // int16, one for each kScaleRun elements
};

template <class F>
struct Wide {
  static constexpr bool kHalves = false;  // d is a block's first f16, an offset the second
  // Those of `runs` runs; what follows is not used.
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m512i *v) {
    alignas(64) int8_t q[kChunk];
    for (int i = 0; i < runs * F::kRun; i += F::kBlock, b += F::kBytes) F::levels(b, q + i);
    for (int i = 0; i < 4; i++) v[i] = _mm512_sub_epi8(_mm512_load_si512(q + 64 * i), _mm512_set1_epi8(F::kLowest));
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    if (!F::kSub) return {_mm256_set1_epi16(1), _mm256_setzero_si256()};
    alignas(32) int16_t scale[16] = {}, mins[16] = {};
    F::scales(b, scale);
    F::mins(b, mins);
    return {_mm256_load_si256((const __m256i *)scale), _mm256_load_si256((const __m256i *)mins)};
  }
};

// 16-bit shift counts: one for each 256-bit half, or by turns for each 128-bit quarter.
HALFLAP_INLINE __m512i halves(int16_t low, int16_t high) {
  return _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
}
HALFLAP_INLINE __m512i by_turns(int16_t even, int16_t odd) {
  return _mm512_broadcast_i64x4(_mm256_set_m128i(_mm_set1_epi16(odd), _mm_set1_epi16(even)));
}
HALFLAP_INLINE __m512i twice(const uint8_t *p) {  // 32 bytes in both halves
  return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}
HALFLAP_INLINE __m512i masked_or(__m512i a, __m512i b, int8_t mask) {  // a | (b & mask)
  return _mm512_ternarylogic_epi64(a, b, _mm512_set1_epi8(mask), 0xf8);
}

// -- K-quants -------------------------------------------------------------------------------------------------------------

// Scales and mins of six bits, see q4_k.h.
HALFLAP_INLINE SubScales six_bit_scales(const uint8_t *s) {
  uint32_t a, b, c;
  memcpy(&a, s, 4);
  memcpy(&b, s + 4, 4);
  memcpy(&c, s + 8, 4);
  const uint32_t high_scales = (c & 0x0f0f0f0fu) | (((a >> 6) & 0x03030303u) << 4);
  const uint32_t high_mins = ((c >> 4) & 0x0f0f0f0fu) | (((b >> 6) & 0x03030303u) << 4);
  const uint64_t scales = (a & 0x3f3f3f3fu) | (static_cast<uint64_t>(high_scales) << 32);
  const uint64_t mins = (b & 0x3f3f3f3fu) | (static_cast<uint64_t>(high_mins) << 32);
  const auto widen = [](uint64_t bytes) {
    return _mm256_zextsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(bytes))));
  };
  return {widen(scales), widen(mins)};
}

template <>
struct Wide<Q4_K> {
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m512i *v) {
    for (int i = 0; i < 4; i++)
      v[i] = _mm512_and_si512(_mm512_srlv_epi16(twice(b + 16 + 32 * i), halves(0, 4)), _mm512_set1_epi8(15));
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) { return six_bit_scales(b + 4); }
};

template <>
struct Wide<Q5_K> {
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m512i *v) {
    const __m512i high = twice(b + 16);  // bit j: the fifth bit of sub-block j
    const __m512i fifth[4] = {_mm512_sllv_epi16(high, halves(4, 3)), _mm512_sllv_epi16(high, halves(2, 1)),
                              _mm512_srlv_epi16(high, halves(0, 1)), _mm512_srlv_epi16(high, halves(2, 3))};
    for (int i = 0; i < 4; i++) {
      const __m512i low = _mm512_srlv_epi16(twice(b + 48 + 32 * i), halves(0, 4));
      v[i] = masked_or(_mm512_and_si512(low, _mm512_set1_epi8(15)), fifth[i], 16);
    }
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) { return six_bit_scales(b + 4); }
};

template <>
struct Wide<Q6_K> {
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m512i *v) {
    for (int i = 0; i < 2; i++) {
      const __m512i q = _mm512_loadu_si512(b + 64 * i), high = twice(b + 128 + 32 * i);
      v[2 * i] = masked_or(_mm512_and_si512(q, _mm512_set1_epi8(15)), _mm512_sllv_epi16(high, halves(4, 2)), 0x30);
      v[2 * i + 1] = masked_or(_mm512_and_si512(_mm512_srli_epi16(q, 4), _mm512_set1_epi8(15)),
                               _mm512_srlv_epi16(high, halves(0, 2)), 0x30);
    }
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + 192))), _mm256_setzero_si256()};
  }
};

// Groups of 32 number 2i and 2i + 1 of two-bit levels.
HALFLAP_INLINE __m512i two_bits(const uint8_t *q, int i) {
  const int16_t shift = static_cast<int16_t>(i % 2 * 4);
  return _mm512_and_si512(_mm512_srlv_epi16(twice(q + i / 2 * 32), halves(shift, static_cast<int16_t>(shift + 2))),
                          _mm512_set1_epi8(3));
}

template <>
struct Wide<Q3_K> {
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m512i *v) {
    const __m512i high = twice(b);  // bit j: the third bit of group j
    const __m512i third[4] = {_mm512_sllv_epi16(high, halves(2, 1)), _mm512_srlv_epi16(high, halves(0, 1)),
                              _mm512_srlv_epi16(high, halves(2, 3)), _mm512_srlv_epi16(high, halves(4, 5))};
    for (int i = 0; i < 4; i++) v[i] = masked_or(two_bits(b + 32, i), third[i], 4);
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    uint64_t lows;
    uint32_t tops;
    memcpy(&lows, b + 96, 8);
    memcpy(&tops, b + 104, 4);
    const auto pair = [&](int first) {  // top bits of eight scales
      const uint32_t a = (tops >> first) & 0x03030303u, c = (tops >> (first + 2)) & 0x03030303u;
      return (a | (static_cast<uint64_t>(c) << 32)) << 4;
    };
    const uint64_t mask = 0x0f0f0f0f0f0f0f0fu;
    const __m128i six = _mm_set_epi64x(static_cast<long long>(((lows >> 4) & mask) | pair(4)),
                                       static_cast<long long>((lows & mask) | pair(0)));
    return {_mm256_cvtepi8_epi16(_mm_sub_epi8(six, _mm_set1_epi8(32))), _mm256_setzero_si256()};
  }
};

template <>
struct Wide<Q2_K> {
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m512i *v) {
    for (int i = 0; i < 4; i++) v[i] = two_bits(b + 16, i);
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    const __m256i both = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)b));
    return {_mm256_and_si256(both, _mm256_set1_epi16(15)), _mm256_srli_epi16(both, 4)};
  }
};

// -- nibbles --------------------------------------------------------------------------------------------------------------

// Sixteen bytes each from a and b: low nibbles, then high nibbles of each.
HALFLAP_INLINE __m512i nibbles(const uint8_t *a, const uint8_t *b) {
  const __m512i first = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)a));
  const __m512i both = _mm512_mask_broadcast_i32x4(first, 0xff00, _mm_loadu_si128((const __m128i *)b));
  return _mm512_and_si512(_mm512_srlv_epi16(both, by_turns(0, 4)), _mm512_set1_epi8(15));
}

// The same through a table, less `lowest`.
HALFLAP_INLINE __m512i look_up(const int8_t *table, int lowest, const uint8_t *a, const uint8_t *b) {
  const __m128i values = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)table), _mm_set1_epi8(static_cast<char>(lowest)));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), nibbles(a, b));
}

template <>
struct Wide<IQ4_XS> {
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m512i *v) {
    for (int i = 0; i < 4; i++) v[i] = look_up(kIq4Levels, IQ4_XS::kLowest, b + 8 + 32 * i, b + 24 + 32 * i);
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    // Nibble j of the lows and bits 2j, 2j + 1 of the tops, each brought to the bottom of its 16 bits.
    const __m128i pairs = _mm_set_epi8(3, 2, 3, 2, 3, 2, 3, 2, 1, 0, 1, 0, 1, 0, 1, 0);
    const __m128i lows = _mm_shuffle_epi8(_mm_set1_epi32(load32(b + 4)), pairs);
    const __m128i low = _mm_and_si128(_mm_srlv_epi16(lows, _mm_set_epi16(12, 8, 4, 0, 12, 8, 4, 0)), _mm_set1_epi16(15));
    const __m128i tops = _mm_srlv_epi16(_mm_set1_epi16(static_cast<int16_t>(load16(b + 2))), _mm_set_epi16(14, 12, 10, 8, 6, 4, 2, 0));
    const __m128i top = _mm_slli_epi16(_mm_and_si128(tops, _mm_set1_epi16(3)), 4);
    return {_mm256_zextsi128_si256(_mm_sub_epi16(_mm_or_si128(low, top), _mm_set1_epi16(32))), _mm256_setzero_si256()};
  }
};

template <>
struct Wide<NVFP4> {
  static constexpr bool kHalves = false;
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m512i *v) {
    const __m128i values = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)kE2m1Doubled), _mm_set1_epi8(NVFP4::kLowest));
    for (int i = 0; i < runs / 4; i++, b += NVFP4::kBytes) {  // eight bytes: eight low nibbles, then eight high ones
      const __m512i q = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(b + 4)));
      const __m512i both = _mm512_permutexvar_epi64(_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), q);
      const __m512i low = _mm512_srlv_epi64(both, _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0));
      v[i] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), _mm512_and_si512(low, _mm512_set1_epi8(15)));
    }
    for (int i = runs / 4; i < 4; i++) v[i] = _mm512_setzero_si512();
  }
};

// Blocks of 32: two(a, b) gives those of two blocks.
template <class F>
struct WidePairs {
  static constexpr bool kHalves = true;
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m512i *v) {
    if (runs == 8)
      for (int i = 0; i < 4; i++) v[i] = Wide<F>::two(b + 2 * i * F::kBytes, b + (2 * i + 1) * F::kBytes);
    else
      for (int i = 0; i < 4; i++)  // blocks beyond the row's end repeat the last
        v[i] = Wide<F>::two(b + least(2 * i, runs - 1) * F::kBytes, b + least(2 * i + 1, runs - 1) * F::kBytes);
  }
};

// Bit i of each block's 32 as 16 in byte i.
HALFLAP_INLINE __m512i with_fifth_bits(__m512i low, const uint8_t *a, const uint8_t *b) {
  const uint64_t bits = static_cast<uint32_t>(load32(a)) | (static_cast<uint64_t>(static_cast<uint32_t>(load32(b))) << 32);
  return _mm512_mask_add_epi8(low, bits, low, _mm512_set1_epi8(16));
}

template <>
struct Wide<Q8_0> : WidePairs<Q8_0> {
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(a + 2))),
                                            _mm256_loadu_si256((const __m256i *)(b + 2)), 1);
    return _mm512_xor_si512(both, _mm512_set1_epi8(-128));
  }
};
template <>
struct Wide<Q4_0> : WidePairs<Q4_0> {
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) { return nibbles(a + 2, b + 2); }
};
template <>
struct Wide<Q4_1> : WidePairs<Q4_1> {
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) { return nibbles(a + 4, b + 4); }
};
template <>
struct Wide<Q5_0> : WidePairs<Q5_0> {
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return with_fifth_bits(nibbles(a + 6, b + 6), a + 2, b + 2);
  }
};
template <>
struct Wide<Q5_1> : WidePairs<Q5_1> {
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return with_fifth_bits(nibbles(a + 8, b + 8), a + 4, b + 4);
  }
};
template <>
struct Wide<IQ4_NL> : WidePairs<IQ4_NL> {
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return look_up(kIq4Levels, IQ4_NL::kLowest, a + 2, b + 2);
  }
};
template <>
struct Wide<MXFP4> : WidePairs<MXFP4> {
  static constexpr bool kHalves = false;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return look_up(kE2m1Doubled, MXFP4::kLowest, a + 1, b + 1);
  }
};

// -- one and two bits -----------------------------------------------------------------------------------------------------

template <>
struct Wide<Q1_0> {
  static constexpr bool kHalves = true;
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m512i *v) {
    for (int i = 0; i < 4; i++) {
      uint64_t bits = 0;
      if (2 * i < runs) memcpy(&bits, b + i / 2 * Q1_0::kBytes + 2 + i % 2 * 8, 8);
      v[i] = _mm512_maskz_set1_epi8(bits, 2);
    }
  }
};

template <>
struct Wide<Q2_0> {
  static constexpr bool kHalves = true;
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m512i *v) {
    const __m512i places = _mm512_set1_epi64(0x0e0c0a0806040200);  // of eight levels in two bytes
    for (int i = 0; i < 4; i++) {
      const __m128i q = 2 * i < runs ? _mm_loadu_si128((const __m128i *)(b + i * Q2_0::kBytes + 2)) : _mm_setzero_si128();
      v[i] = _mm512_and_si512(_mm512_multishift_epi64_epi8(places, _mm512_cvtepu16_epi64(q)), _mm512_set1_epi8(3));
    }
  }
};

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
