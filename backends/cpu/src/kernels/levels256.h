// One chunk (256 along K) of a weight row as bytes in the order of K, for AVX2: what vpmaddubsw multiplies. A byte is the
// weight's level minus kLowest, or the level itself where such sums of two would not fit int16 (kSigned).
// Formats without a faster way of their own go through their description.
#pragma once
#include "matmul_quant.h"

#if defined(__AVX2__) && !defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kVectors = kChunk / 32;  // of 32 bytes in a chunk

template <class F>
constexpr bool kSigned = 2 * 127 * (F::kHighest - F::kLowest) > 32767;
template <class F>
constexpr int kBase = kSigned<F> ? 0 : F::kLowest;  // what a byte's zero stands for

struct SubScales {
  __m256i scale, mins;  // int16, one for each 16 or 32 elements
};

template <class F>
struct Wide {
  static constexpr int kHalves = -1;  // where d is an f16 that the min or offset follows, if anything does
  // Those of `runs` runs; what follows is not used.
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m256i *v) {
    alignas(32) int8_t q[kChunk];
    for (int i = 0; i < runs * F::kRun; i += F::kBlock, b += F::kBytes) F::levels(b, q + i);
    for (int i = 0; i < kVectors; i++)
      v[i] = _mm256_sub_epi8(_mm256_load_si256((const __m256i *)(q + 32 * i)), _mm256_set1_epi8(kBase<F>));
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    if (!F::kSub) return {_mm256_set1_epi16(1), _mm256_setzero_si256()};
    alignas(32) int16_t scale[16] = {}, mins[16] = {};
    F::scales(b, scale);
    F::mins(b, mins);
    return {_mm256_load_si256((const __m256i *)scale), _mm256_load_si256((const __m256i *)mins)};
  }
};

HALFLAP_INLINE __m256i load_bytes(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
HALFLAP_INLINE __m256i masked(__m256i v, int8_t mask) { return _mm256_and_si256(v, _mm256_set1_epi8(mask)); }

// -- K-quants -------------------------------------------------------------------------------------------------------------

// Scales and mins of six bits, see q4_k.h: those of sub-blocks 4 to 7 have their upper bits above the others.
HALFLAP_INLINE SubScales six_bit_scales(const uint8_t *s) {
  const __m128i all = _mm_loadu_si128((const __m128i *)(s - 4));  // a block begins with d and m
  const __m128i lows = _mm_shuffle_epi8(all, _mm_set_epi8(15, 14, 13, 12, 11, 10, 9, 8, 15, 14, 13, 12, 7, 6, 5, 4));
  const __m128i tops = _mm_shuffle_epi8(all, _mm_set_epi8(11, 10, 9, 8, -1, -1, -1, -1, 7, 6, 5, 4, -1, -1, -1, -1));
  const __m128i masks = _mm_set_epi32(0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f);
  const __m128i bytes = _mm_or_si128(_mm_and_si128(_mm_srlv_epi32(lows, _mm_set_epi32(4, 0, 0, 0)), masks),
                                     _mm_and_si128(_mm_srli_epi16(tops, 2), _mm_set1_epi8(0x30)));
  return {_mm256_zextsi128_si256(_mm_cvtepu8_epi16(bytes)),
          _mm256_zextsi128_si256(_mm_unpackhi_epi8(bytes, _mm_setzero_si128()))};
}

template <>
struct Wide<Q4_K> {
  static constexpr int kHalves = 0;
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m256i *v) {
    for (int i = 0; i < 4; i++) {
      const __m256i q = load_bytes(b + 16 + 32 * i);
      v[2 * i] = masked(q, 15);
      v[2 * i + 1] = masked(_mm256_srli_epi16(q, 4), 15);
    }
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) { return six_bit_scales(b + 4); }
};

template <>
struct Wide<Q5_K> {
  static constexpr int kHalves = 0;
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m256i *v) {
    const __m256i high = load_bytes(b + 16);  // bit j: the fifth bit of sub-block j
    const __m256i fifth[8] = {_mm256_slli_epi16(high, 4), _mm256_slli_epi16(high, 3), _mm256_slli_epi16(high, 2),
                              _mm256_slli_epi16(high, 1), high,                       _mm256_srli_epi16(high, 1),
                              _mm256_srli_epi16(high, 2), _mm256_srli_epi16(high, 3)};
    for (int i = 0; i < 4; i++) {
      const __m256i q = load_bytes(b + 48 + 32 * i);
      v[2 * i] = _mm256_or_si256(masked(q, 15), masked(fifth[2 * i], 16));
      v[2 * i + 1] = _mm256_or_si256(masked(_mm256_srli_epi16(q, 4), 15), masked(fifth[2 * i + 1], 16));
    }
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) { return six_bit_scales(b + 4); }
};

template <>
struct Wide<Q6_K> {
  static constexpr int kHalves = 208;
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m256i *v) {
    for (int half = 0; half < 2; half++) {
      const __m256i q0 = load_bytes(b + 64 * half), q1 = load_bytes(b + 64 * half + 32), high = load_bytes(b + 128 + 32 * half);
      __m256i *to = v + 4 * half;
      to[0] = _mm256_or_si256(masked(q0, 15), masked(_mm256_slli_epi16(high, 4), 0x30));
      to[1] = _mm256_or_si256(masked(q1, 15), masked(_mm256_slli_epi16(high, 2), 0x30));
      to[2] = _mm256_or_si256(masked(_mm256_srli_epi16(q0, 4), 15), masked(high, 0x30));
      to[3] = _mm256_or_si256(masked(_mm256_srli_epi16(q1, 4), 15), masked(_mm256_srli_epi16(high, 2), 0x30));
    }
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + 192))), _mm256_setzero_si256()};
  }
};

// Four groups of 32 levels of two bits from 32 bytes.
HALFLAP_INLINE void two_bits(const uint8_t *from, __m256i *to) {
  const __m256i q = load_bytes(from);
  to[0] = masked(q, 3);
  to[1] = masked(_mm256_srli_epi16(q, 2), 3);
  to[2] = masked(_mm256_srli_epi16(q, 4), 3);
  to[3] = masked(_mm256_srli_epi16(q, 6), 3);
}

template <>
struct Wide<Q3_K> {
  static constexpr int kHalves = 108;
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m256i *v) {
    two_bits(b + 32, v);
    two_bits(b + 64, v + 4);
    const __m256i high = load_bytes(b);  // bit j: the third bit of group j
    const __m256i third[8] = {_mm256_slli_epi16(high, 2), _mm256_slli_epi16(high, 1), high,
                              _mm256_srli_epi16(high, 1), _mm256_srli_epi16(high, 2), _mm256_srli_epi16(high, 3),
                              _mm256_srli_epi16(high, 4), _mm256_srli_epi16(high, 5)};
    for (int i = 0; i < 8; i++) v[i] = _mm256_or_si256(v[i], masked(third[i], 4));
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
  static constexpr int kHalves = 80;
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m256i *v) {
    two_bits(b + 16, v);
    two_bits(b + 48, v + 4);
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    const __m256i both = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)b));
    return {_mm256_and_si256(both, _mm256_set1_epi16(15)), _mm256_srli_epi16(both, 4)};
  }
};

// -- nibbles --------------------------------------------------------------------------------------------------------------

// Sixteen bytes: low nibbles, then high ones.
HALFLAP_INLINE __m256i nibbles(const uint8_t *p) {
  const __m128i q = _mm_loadu_si128((const __m128i *)p);
  return masked(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), 15);
}

// The same through a table, less `base`.
HALFLAP_INLINE __m256i look_up(const int8_t *table, int base, const uint8_t *p) {
  const __m128i values = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)table), _mm_set1_epi8(static_cast<char>(base)));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles(p));
}

template <>
struct Wide<IQ4_XS> {
  static constexpr int kHalves = 0;
  static HALFLAP_INLINE void levels(const uint8_t *b, int, __m256i *v) {
    for (int i = 0; i < kVectors; i++) v[i] = look_up(kIq4Levels, kBase<IQ4_XS>, b + 8 + 16 * i);
  }
  static HALFLAP_INLINE SubScales scales(const uint8_t *b) {
    alignas(32) int16_t scale[16] = {};
    IQ4_XS::scales(b, scale);
    return {_mm256_load_si256((const __m256i *)scale), _mm256_setzero_si256()};
  }
};

// Blocks of 32: one(b) gives those of one.
template <class F>
struct WideBlocks {
  static constexpr int kHalves = 0;
  static HALFLAP_INLINE void levels(const uint8_t *b, int runs, __m256i *v) {
    if (runs == kVectors)
      for (int i = 0; i < kVectors; i++) v[i] = Wide<F>::one(b + i * F::kBytes);
    else
      for (int i = 0; i < runs; i++) v[i] = Wide<F>::one(b + i * F::kBytes);
  }
};

// Bit i of 32 as 16 in byte i.
HALFLAP_INLINE __m256i fifth_bits(const uint8_t *p) {
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(load32(p)), _mm256_set_epi64x(
    0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0));
  const __m256i own = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201u));
  return masked(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, own), own), 16);
}

template <>
struct Wide<Q8_0> : WideBlocks<Q8_0> {
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return load_bytes(b + 2); }
};
template <>
struct Wide<Q4_0> : WideBlocks<Q4_0> {
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return nibbles(b + 2); }
};
template <>
struct Wide<Q4_1> : WideBlocks<Q4_1> {
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return nibbles(b + 4); }
};
template <>
struct Wide<Q5_0> : WideBlocks<Q5_0> {
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return _mm256_or_si256(nibbles(b + 6), fifth_bits(b + 2)); }
};
template <>
struct Wide<Q5_1> : WideBlocks<Q5_1> {
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return _mm256_or_si256(nibbles(b + 8), fifth_bits(b + 4)); }
};
template <>
struct Wide<IQ4_NL> : WideBlocks<IQ4_NL> {
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return look_up(kIq4Levels, kBase<IQ4_NL>, b + 2); }
};
template <>
struct Wide<MXFP4> : WideBlocks<MXFP4> {
  static constexpr int kHalves = -1;
  static HALFLAP_INLINE __m256i one(const uint8_t *b) { return look_up(kE2m1Doubled, kBase<MXFP4>, b + 1); }
};

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
