// Few tokens: each row's quant blocks are multiplied where they lie (AVX-512 VNNI), sixteen rows at a time so that the
// rows end up in the lanes and meet the same float arithmetic as in matmul_quant.h. Integer sums are exact, so both
// paths give the same bits; decoding is bound by memory, which the unpacked panels would read twice.
#pragma once
#include "matmul_quant.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kRowsTokens = 6;  // more tokens than this are cheaper through panels

// Sixteen rows' partial sums, four each, stored at row_slot(row); their totals with rows in order.
constexpr int row_slot(int row) { return (row % 4 * 4 + row / 4) * 4; }

HALFLAP_INLINE __m512i add_fours(const int32_t *parts) {  // (16, 4)
  const __m512i z0 = _mm512_load_si512(parts), z1 = _mm512_load_si512(parts + 16);
  const __m512i z2 = _mm512_load_si512(parts + 32), z3 = _mm512_load_si512(parts + 48);
  const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(z0, z1), _mm512_unpackhi_epi32(z0, z1));
  const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(z2, z3), _mm512_unpackhi_epi32(z2, z3));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

HALFLAP_INLINE void store_fours(int32_t *to, __m512i v) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  _mm_store_si128((__m128i *)to, _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

HALFLAP_INLINE __m512i two_halves(const void *low, const void *high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)low)),
                            _mm256_loadu_si256((const __m256i *)high), 1);
}

HALFLAP_INLINE __m256i nibbles(const uint8_t *q) {
  const __m128i v = _mm_loadu_si128((const __m128i *)q), low = _mm_set1_epi8(15);
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_broadcastsi128_si256(low));
}

// Six-bit scales and mins of Q4_K and Q5_K as bytes, 8 each.
HALFLAP_INLINE void six_bits(const uint8_t *s, uint64_t &scales, uint64_t &mins) {
  uint32_t a, b, c;
  memcpy(&a, s, 4);
  memcpy(&b, s + 4, 4);
  memcpy(&c, s + 8, 4);
  const uint32_t high_scales = (c & 0x0f0f0f0fu) | (((a >> 6) & 0x03030303u) << 4);
  const uint32_t high_mins = ((c >> 4) & 0x0f0f0f0fu) | (((b >> 6) & 0x03030303u) << 4);
  scales = (a & 0x3f3f3f3fu) | (static_cast<uint64_t>(high_scales) << 32);
  mins = (b & 0x3f3f3f3fu) | (static_cast<uint64_t>(high_mins) << 32);
}

// What a type gives for one chunk of one row: dot(x) = the exact integer sum, spread over lanes.
struct RowQ4_K {
  using Format = Q4_K;
  static constexpr bool kMins = true;
  static constexpr int kScaleAt = 0, kMinAt = 2;
  __m512i v[4], scale[2];
  __m128i mins;

  HALFLAP_INLINE void unpack_scales(const uint8_t *b) {
    uint64_t s, m;
    six_bits(b + 4, s, m);
    mins = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(m)));
    const __m512i wide = _mm512_castsi128_si512(_mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(s))));
    // After packing, lanes of 128 bits hold sub-blocks 0 1 | 0 1 | 2 3 | 2 3, four partial sums of each.
    const __m512i order = _mm512_set_epi64(0x0003000300030003, 0x0002000200020002, 0x0003000300030003, 0x0002000200020002,
                                           0x0001000100010001, 0, 0x0001000100010001, 0);
    scale[0] = _mm512_permutexvar_epi16(order, wide);
    scale[1] = _mm512_permutexvar_epi16(_mm512_add_epi16(order, _mm512_set1_epi16(4)), wide);
  }
  HALFLAP_INLINE void unpack_row(const uint8_t *b) {
    unpack_scales(b);
    const __m512i low = _mm512_set1_epi8(15);
    for (int i = 0; i < 2; i++) {
      const __m512i q = _mm512_loadu_si512(b + 16 + 64 * i);
      v[2 * i] = _mm512_and_si512(q, low);
      v[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
    }
  }
  HALFLAP_INLINE __m512i dot(const Chunk &x) const {
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < 2; i++) {
      const int8_t *a = x.q + 128 * i;
      const __m512i even = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[2 * i], two_halves(a, a + 64));
      const __m512i odd = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[2 * i + 1], two_halves(a + 32, a + 96));
      sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(even, odd), scale[i]);  // 4 · 31 · 127 fits int16
    }
    return sum;
  }
  HALFLAP_INLINE __m128i dot_mins(const Chunk &x) const {
    return _mm_madd_epi16(mins, _mm_loadu_si128((const __m128i *)x.sums32));
  }
};

struct RowQ5_K : RowQ4_K {
  using Format = Q5_K;

  HALFLAP_INLINE void unpack_row(const uint8_t *b) {
    unpack_scales(b);
    const __m512i low = _mm512_set1_epi8(15), bit = _mm512_set1_epi8(16);
    const __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(b + 16)));
    for (int i = 0; i < 2; i++) {
      // Bits of `high`: sub-block j at bit j. The lower half of a vector is sub-block 4i (+1), the upper 4i+2 (+1).
      const __m512i q = _mm512_loadu_si512(b + 48 + 64 * i);
      const __m512i even = i ? _mm512_srlv_epi16(high, halves(0, 2)) : _mm512_sllv_epi16(high, halves(4, 2));
      const __m512i odd = i ? _mm512_srlv_epi16(high, halves(1, 3)) : _mm512_sllv_epi16(high, halves(3, 1));
      v[2 * i] = _mm512_or_si512(_mm512_and_si512(q, low), _mm512_and_si512(even, bit));
      v[2 * i + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(q, 4), low), _mm512_and_si512(odd, bit));
    }
  }
  static HALFLAP_INLINE __m512i halves(int16_t low, int16_t high) {
    return _mm512_inserti64x4(_mm512_set1_epi16(low), _mm256_set1_epi16(high), 1);
  }
};

// Sixteen sub-blocks of unsigned values, each 2^kZeroBits above its meaning, with signed scales.
template <int kZeroBits>
struct Sixteens {
  static constexpr bool kMins = false;
  __m512i v[4], scale[2];
  __m256i plain;  // the 16 scales

  HALFLAP_INLINE void spread_scales(__m128i bytes) {
    plain = _mm256_cvtepi8_epi16(bytes);
    const __m512i wide = _mm512_castsi256_si512(plain);
    // After packing, 128-bit lane L holds four partial sums of sub-block L and four of L + 4.
    const __m512i order = _mm512_set_epi64(0x0007000700070007, 0x0003000300030003, 0x0006000600060006, 0x0002000200020002,
                                           0x0005000500050005, 0x0001000100010001, 0x0004000400040004, 0);
    scale[0] = _mm512_permutexvar_epi16(order, wide);
    scale[1] = _mm512_permutexvar_epi16(_mm512_add_epi16(order, _mm512_set1_epi16(8)), wide);
  }
  HALFLAP_INLINE __m512i dot(const Chunk &x) const {
    const __m256i offset = _mm256_madd_epi16(plain, _mm256_loadu_si256((const __m256i *)x.sums16));
    __m512i sum = _mm512_zextsi256_si512(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(offset, kZeroBits)));
    for (int i = 0; i < 2; i++) {
      const __m512i a = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[2 * i], _mm512_loadu_si512(x.q + 128 * i));
      const __m512i b = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[2 * i + 1], _mm512_loadu_si512(x.q + 128 * i + 64));
      sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(a, b), scale[i]);  // 4 · 63 · 127 fits int16
    }
    return sum;
  }
  HALFLAP_INLINE __m128i dot_mins(const Chunk &) const { return _mm_setzero_si128(); }
};

struct RowQ6_K : Sixteens<5> {
  using Format = Q6_K;
  static constexpr int kScaleAt = 208, kMinAt = 0;

  HALFLAP_INLINE void unpack_row(const uint8_t *b) {
    const __m512i low = _mm512_set1_epi8(15), top = _mm512_set1_epi8(0x30);
    for (int i = 0; i < 2; i++) {
      const __m512i q = _mm512_loadu_si512(b + 64 * i);
      const __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(b + 128 + 32 * i)));
      const __m512i first = _mm512_sllv_epi16(high, RowQ5_K::halves(4, 2)), second = _mm512_srlv_epi16(high, RowQ5_K::halves(0, 2));
      v[2 * i] = _mm512_or_si512(_mm512_and_si512(q, low), _mm512_and_si512(first, top));
      v[2 * i + 1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(q, 4), low), _mm512_and_si512(second, top));
    }
    spread_scales(_mm_loadu_si128((const __m128i *)(b + 192)));
  }
};

struct RowQ3_K : Sixteens<2> {
  using Format = Q3_K;
  static constexpr int kScaleAt = 108, kMinAt = 0;

  HALFLAP_INLINE void unpack_row(const uint8_t *b) {
    const __m512i two = _mm512_set1_epi8(3), third = _mm512_set1_epi8(4);
    const __m512i high = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)b));
    for (int i = 0; i < 4; i++) {  // groups of 32 number 2i and 2i + 1: third bits at those bits of `high`
      const __m512i q = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(b + 32 + i / 2 * 32)));
      const int16_t shift = static_cast<int16_t>(i % 2 * 4), down = static_cast<int16_t>(2 * i - 2);
      const __m512i low = _mm512_and_si512(_mm512_srlv_epi16(q, RowQ5_K::halves(shift, static_cast<int16_t>(shift + 2))), two);
      const __m512i bits = i == 0 ? _mm512_sllv_epi16(high, RowQ5_K::halves(2, 1))
                                  : _mm512_srlv_epi16(high, RowQ5_K::halves(down, static_cast<int16_t>(down + 1)));
      v[i] = _mm512_or_si512(low, _mm512_and_si512(bits, third));
    }
    uint64_t lows;
    uint32_t tops;
    memcpy(&lows, b + 96, 8);
    memcpy(&tops, b + 104, 4);
    const auto pair = [&](int first) {  // top bits of eight scales
      const uint32_t a = (tops >> first) & 0x03030303u, c = (tops >> (first + 2)) & 0x03030303u;
      return (a | (static_cast<uint64_t>(c) << 32)) << 4;
    };
    const uint64_t mask = 0x0f0f0f0f0f0f0f0fu;
    const __m128i six = _mm_set_epi64x(static_cast<long long>(((lows >> 4) & mask) | pair(4)), static_cast<long long>((lows & mask) | pair(0)));
    spread_scales(_mm_sub_epi8(six, _mm_set1_epi8(32)));
  }
};

struct RowIQ4_XS {
  using Format = IQ4_XS;
  static constexpr bool kMins = false;
  static constexpr int kScaleAt = 0, kMinAt = 0;
  __m512i v[4], scale[4];  // values 128 above their meaning; partial sums would not fit int16
  __m128i plain;

  HALFLAP_INLINE void unpack_row(const uint8_t *b) {
    const __m128i table = _mm_xor_si128(_mm_loadu_si128((const __m128i *)kIq4Levels), _mm_set1_epi8(-128));
    alignas(16) int16_t scales[8];
    const int tops = load16(b + 2);
    for (int j = 0; j < 8; j++)
      scales[j] = static_cast<int16_t>((((b[4 + j / 2] >> (j % 2 * 4)) & 15) | (((tops >> (2 * j)) & 3) << 4)) - 32);
    plain = _mm_load_si128((const __m128i *)scales);
    const __m512i wide = _mm512_castsi256_si512(_mm256_cvtepi16_epi32(plain));
    const __m512i order = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(1), 1);
    for (int i = 0; i < 4; i++) {
      const uint8_t *q = b + 8 + 32 * i;
      const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(nibbles(q)), nibbles(q + 16), 1);
      v[i] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), both);
      scale[i] = _mm512_permutexvar_epi32(_mm512_add_epi32(order, _mm512_set1_epi32(2 * i)), wide);
    }
  }
  HALFLAP_INLINE __m512i dot(const Chunk &x) const {
    const __m128i offset = _mm_madd_epi16(plain, _mm_loadu_si128((const __m128i *)x.sums32));
    __m512i sum = _mm512_zextsi128_si512(_mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32(offset, 7)));
    for (int i = 0; i < 4; i++) {
      const __m512i part = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[i], _mm512_loadu_si512(x.q + 64 * i));
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(part, scale[i]));
    }
    return sum;
  }
  HALFLAP_INLINE __m128i dot_mins(const Chunk &) const { return _mm_setzero_si128(); }
};

// Any other type of 256: values with their scales inside, as int16.
template <class F, int kScale, int kMin>
struct RowDecoded {
  using Format = F;
  static constexpr bool kMins = F::kMins;
  static constexpr int kScaleAt = kScale, kMinAt = kMin;
  static_assert(!F::kMins || F::kSub == 16);
  alignas(64) int16_t values[kChunk];
  alignas(64) int16_t mins[16];

  HALFLAP_INLINE void unpack_row(const uint8_t *b) {
    scaled_levels<F>(b, values);
    F::mins(b, mins);
  }
  HALFLAP_INLINE __m512i dot(const Chunk &x) const {
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < kChunk; i += 32)
      sum = _mm512_dpwssd_epi32(sum, _mm512_load_si512(values + i), _mm512_load_si512(x.wide + i));
    return sum;
  }
  HALFLAP_INLINE __m128i dot_mins(const Chunk &x) const {
    if (!kMins) return _mm_setzero_si128();
    const __m256i sums = _mm256_madd_epi16(_mm256_load_si256((const __m256i *)mins), _mm256_loadu_si256((const __m256i *)x.sums16));
    return _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  }
};
using RowQ2_K = RowDecoded<Q2_K, 80, 82>;

HALFLAP_INLINE Lanes widen_halves(const uint16_t *h) { return from_half(h); }

// Sixteen rows (the last ones repeated where there are fewer) × N tokens of a Scaled256 type.
template <class Row, int N>
void rows_scaled(const MatmulTask &task, int64_t r0, int64_t valid, const Chunk *const *x, float *const *y) {
  constexpr int kBytes = Row::Format::kBytes;
  const int64_t n_chunks = task.width / kChunk;
  Lanes f[N];
  for (int n = 0; n < N; n++) f[n] = zero();
  const uint8_t *first = task.weight + r0 * task.row_bytes;
  // The next group of rows follows at once: fetched block by block in the order of memory.
  const uint8_t *ahead = first + kLanes * task.row_bytes;
  for (int64_t c = 0; c < n_chunks; c++) {
    alignas(64) int32_t sums[N][64], mins[N][64];
    alignas(64) uint16_t d[kLanes], dmin[kLanes];
    for (int r = 0; r < kLanes; r++) {
      const uint8_t *b = first + least(r, valid - 1) * task.row_bytes + c * kBytes;
      for (int line = 0; line < kBytes; line += 64) _mm_prefetch((const char *)(ahead + line), _MM_HINT_T1);
      ahead += kBytes;
      Row row;
      row.unpack_row(b);
      d[r] = load16(b + Row::kScaleAt);
      if (Row::kMins) dmin[r] = load16(b + Row::kMinAt);
      for (int n = 0; n < N; n++) {
        store_fours(sums[n] + row_slot(r), row.dot(x[n][c]));
        if (Row::kMins) _mm_store_si128((__m128i *)(mins[n] + row_slot(r)), row.dot_mins(x[n][c]));
      }
    }
    const Lanes scale = widen_halves(d);
    for (int n = 0; n < N; n++) {
      Lanes s = fma(scale, to_float(Ints{add_fours(sums[n])}), zero());
      if (Row::kMins) s = fma(sub(splat(-0.0f), widen_halves(dmin)), to_float(Ints{add_fours(mins[n])}), s);
      f[n] = fma(splat(x[n][c].scale), s, f[n]);
    }
  }
  for (int n = 0; n < N; n++) store_some(y[n] + r0, f[n], valid);
}

// -- types of 32: a float scale per block ---------------------------------------------------------------------------------

// Two blocks as 64 unsigned bytes; value = byte - kZero.
struct RowQ8_0 {
  using Format = Q8_0;
  static constexpr int kZero = 128;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return _mm512_xor_si512(two_halves(a + 2, b + 2), _mm512_set1_epi8(-128));
  }
};

HALFLAP_INLINE __m512i nibbles(const uint8_t *a, const uint8_t *b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(nibbles(a)), nibbles(b), 1);
}

// Bit i of each block's 32 as 16 in byte i.
HALFLAP_INLINE __m512i fifth_bits(const uint8_t *a, const uint8_t *b) {
  const uint64_t bits = static_cast<uint32_t>(load32(a)) | (static_cast<uint64_t>(static_cast<uint32_t>(load32(b))) << 32);
  return _mm512_maskz_mov_epi8(bits, _mm512_set1_epi8(16));
}

struct RowQ4_0 {
  using Format = Q4_0;
  static constexpr int kZero = 8;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) { return nibbles(a + 2, b + 2); }
};
struct RowQ4_1 {
  using Format = Q4_1;
  static constexpr int kZero = 0;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) { return nibbles(a + 4, b + 4); }
};
struct RowQ5_0 {
  using Format = Q5_0;
  static constexpr int kZero = 16;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return _mm512_or_si512(nibbles(a + 6, b + 6), fifth_bits(a + 2, b + 2));
  }
};
struct RowQ5_1 {
  using Format = Q5_1;
  static constexpr int kZero = 0;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    return _mm512_or_si512(nibbles(a + 8, b + 8), fifth_bits(a + 4, b + 4));
  }
};
struct RowIQ4_NL {
  using Format = IQ4_NL;
  static constexpr int kZero = 128;
  static HALFLAP_INLINE __m512i two(const uint8_t *a, const uint8_t *b) {
    const __m128i table = _mm_xor_si128(_mm_loadu_si128((const __m128i *)kIq4Levels), _mm_set1_epi8(-128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles(a + 2, b + 2));
  }
};

// (16 rows, 8 blocks) of int32 to (8 blocks, 16 rows).
HALFLAP_INLINE void transpose_blocks(const int32_t *from, int32_t *to) {
  __m512i a[8], b[8];
  for (int i = 0; i < 8; i++)  // rows i and i + 8
    a[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_load_si256((const __m256i *)(from + 8 * i))),
                              _mm256_load_si256((const __m256i *)(from + 8 * (i + 8))), 1);
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; j++) {
      a[i + 2 * j] = _mm512_unpacklo_epi64(b[i + j], b[i + j + 2]);
      a[i + 2 * j + 1] = _mm512_unpackhi_epi64(b[i + j], b[i + j + 2]);
    }
  // a[j] and a[j + 4]: blocks j | j + 4 per half, of rows 0-3, 8-11 and 4-7, 12-15.
  const __m512i low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0), high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
  for (int j = 0; j < 4; j++) {
    const __m512i first = _mm512_permutex2var_epi64(a[j], low, a[j + 4]), second = _mm512_permutex2var_epi64(a[j], high, a[j + 4]);
    _mm512_store_si512(to + 16 * j, first);
    _mm512_store_si512(to + 16 * (j + 4), second);
  }
}

template <class Row, int N>
void rows_block32(const MatmulTask &task, int64_t r0, int64_t valid, const Chunk *const *x, float *const *y) {
  using Format = typename Row::Format;
  constexpr int kBytes = Format::kBytes;
  Lanes f[N];
  for (int n = 0; n < N; n++) f[n] = zero();
  const uint8_t *first = task.weight + r0 * task.row_bytes, *ahead = first + kLanes * task.row_bytes;
  for (int64_t c = 0; c < chunks(task.width); c++) {
    const int blocks = chunk_runs<Format>(task.width, c);
    alignas(64) int32_t sums[N][kLanes * 8], turned[8 * kLanes];
    alignas(64) uint16_t d[8][kLanes], m[8][kLanes];
    __m512i start[N][4];  // takes kZero · sum of activations back, in one lane per block
    for (int n = 0; n < N; n++)
      for (int i = 0; i < 4; i++) {
        const int32_t low = -Row::kZero * x[n][c].sums32[2 * i], high = -Row::kZero * x[n][c].sums32[2 * i + 1];
        start[n][i] = _mm512_mask_set1_epi32(_mm512_maskz_set1_epi32(1, low), 1 << 8, high);
      }
    for (int r = 0; r < kLanes; r++) {
      const uint8_t *b = first + least(r, valid - 1) * task.row_bytes + c * 8 * kBytes;
      for (int line = 0; line < 8 * kBytes; line += 64) _mm_prefetch((const char *)(ahead + line), _MM_HINT_T1);
      ahead += 8 * kBytes;
      __m512i v[4];
      for (int i = 0; i < 4; i++) {  // blocks beyond the row's end repeat the last: their sums are not used
        const uint8_t *even = b + least(2 * i, blocks - 1) * kBytes, *odd = b + least(2 * i + 1, blocks - 1) * kBytes;
        v[i] = Row::two(even, odd);
        d[2 * i][r] = load16(even);
        d[2 * i + 1][r] = load16(odd);
        if (Format::kOffset) m[2 * i][r] = load16(even + 2), m[2 * i + 1][r] = load16(odd + 2);
      }
      for (int n = 0; n < N; n++) {
        __m512i p[4];
        for (int i = 0; i < 4; i++) p[i] = _mm512_dpbusd_epi32(start[n][i], v[i], _mm512_loadu_si512(x[n][c].q + 64 * i));
        const __m512i t0 = _mm512_add_epi32(_mm512_unpacklo_epi32(p[0], p[1]), _mm512_unpackhi_epi32(p[0], p[1]));
        const __m512i t1 = _mm512_add_epi32(_mm512_unpacklo_epi32(p[2], p[3]), _mm512_unpackhi_epi32(p[2], p[3]));
        const __m512i u = _mm512_add_epi32(_mm512_unpacklo_epi64(t0, t1), _mm512_unpackhi_epi64(t0, t1));
        const __m512i whole = _mm512_add_epi32(u, _mm512_shuffle_i64x2(u, u, 0xb1));  // 128-bit lanes: even, even, odd, odd
        const __m128i even = _mm512_castsi512_si128(whole), odd = _mm512_extracti32x4_epi32(whole, 2);
        _mm_store_si128((__m128i *)(sums[n] + 8 * r), _mm_unpacklo_epi32(even, odd));
        _mm_store_si128((__m128i *)(sums[n] + 8 * r + 4), _mm_unpackhi_epi32(even, odd));
      }
    }
    for (int n = 0; n < N; n++) {
      transpose_blocks(sums[n], turned);
      Lanes s = zero();
      for (int j = 0; j < blocks; j++) {
        s = fma(widen_halves(d[j]), to_float(load_ints(turned + kLanes * j)), s);
        if (Format::kOffset) s = fma(widen_halves(m[j]), splat(x[n][c].sums32[j]), s);
      }
      f[n] = fma(splat(x[n][c].scale), s, f[n]);
    }
  }
  for (int n = 0; n < N; n++) store_some(y[n] + r0, f[n], valid);
}

template <class Row, int N>
void rows_tile(const MatmulTask &task, int64_t t) {
  const Chunk *x[N];
  float *y[N];
  for (int n = 0; n < N; n++) {
    x[n] = static_cast<const Chunk *>(task.x) + source_row(task, t + n) * task.x_stride;
    y[n] = task.y + (t + n) * task.y_stride;
  }
  for (int64_t r = 0; r < task.rows; r += kLanes) {
    const int64_t valid = least(kLanes, task.rows - r);
    if constexpr (Row::Format::kBlock == kChunk)
      rows_scaled<Row, N>(task, r, valid, x, y);
    else
      rows_block32<Row, N>(task, r, valid, x, y);
  }
}

template <class Row>
void matmul_rows(const MatmulTask &task) {
  if (task.tokens > kRowsTokens) return matmul_panels<typename Row::Format>(task);
  int64_t t = 0;
  for (; t + 2 <= task.tokens; t += 2) rows_tile<Row, 2>(task, t);
  for (; t < task.tokens; t++) rows_tile<Row, 1>(task, t);
  add_bias(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
