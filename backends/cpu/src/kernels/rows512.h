// Few tokens: weight rows are read once, in the order of memory, and multiplied as they come (AVX-512 VNNI). Sums of
// sixteen rows are then finished together, rows in the lanes, with the float arithmetic of matmul_quant.h. Integer sums
// are exact, so both paths give the same bits.
#pragma once
#include "matmul_vnni.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kRowsTokens = 2;  // more tokens than this are cheaper through tiles
constexpr int kSlab = 16;       // chunks of K between finishing
constexpr int kAhead = 2048;    // bytes from the row being multiplied to the one being fetched

// Sums of sixteen rows of a slab, as they leave the multipliers.
template <class F, int N>
struct alignas(64) RowWork {
  static constexpr int kParts = kScaled<F> ? 4 : kChunk / F::kRun;  // partial sums of a row, or sums of its runs
  int32_t sums[kSlab][N][kLanes * kParts];
  int32_t mins[kSlab][N][kLanes * 4];
  float d[kSlab][kScaled<F> ? 1 : kParts][kLanes];
  float m[kSlab][kScaled<F> ? 1 : kParts][kLanes];
};

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

// 128-bit lane L of the result: sums over lane L of a, b, c and d.
HALFLAP_INLINE __m512i add_lanes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Turns (4 lanes, 4) of int32 into (4, 4 lanes) and back.
HALFLAP_INLINE __m512i by_quarters() { return _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0); }

// (16 rows, 8 runs) of int32 to (8 runs, 16 rows).
HALFLAP_INLINE void transpose_runs(const int32_t *from, __m512i (&to)[8]) {
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
  // a[j] and a[j + 4]: runs j | j + 4 per half, of rows 0-3, 8-11 and 4-7, 12-15.
  const __m512i low = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0), high = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
  for (int j = 0; j < 4; j++) {
    to[j] = _mm512_permutex2var_epi64(a[j], low, a[j + 4]);
    to[j + 4] = _mm512_permutex2var_epi64(a[j], high, a[j + 4]);
  }
}

HALFLAP_INLINE void transpose_runs(const int32_t *from, __m512i (&to)[16]) {  // (16 rows, 16 runs)
  __m512 v[16];
  for (int i = 0; i < 16; i++) v[i] = _mm512_load_ps(from + 16 * i);
  transpose(v);
  for (int i = 0; i < 16; i++) to[i] = _mm512_castps_si512(v[i]);
}

// The integer scales of one chunk of a row, spread to meet the multipliers' sums of four elements in each 32-bit lane.
template <class F>
struct SpreadScales {
  static constexpr bool kWords = 4 * (F::kHighest - F::kLowest) * 127 <= 32767;
  __m256i plain;
  __m512i spread[2];

  HALFLAP_INLINE explicit SpreadScales(__m256i scale) : plain(scale) {
    const __m512i wide = _mm512_castsi256_si512(scale);
    if (!kWords) {  // after add_lanes, 128-bit lane L holds sub-blocks L / 2 + 0, 2, 4, 6 or L + 0, 4, 8, 12
      const __m512i order = kScaleRun<F> == 32 ? _mm512_set_epi32(7, 5, 3, 1, 7, 5, 3, 1, 6, 4, 2, 0, 6, 4, 2, 0) : by_quarters();
      spread[0] = _mm512_permutexvar_epi32(order, _mm512_cvtepi16_epi32(scale));
      return;
    }
    // After packing two vectors, a 128-bit lane holds four sums of the first and four of the second.
    const __m512i order = kScaleRun<F> == 32
        ? _mm512_set_epi64(0x0003000300030003, 0x0001000100010001, 0x0003000300030003, 0x0001000100010001,
                           0x0002000200020002, 0, 0x0002000200020002, 0)
        : _mm512_set_epi64(0x0007000700070007, 0x0003000300030003, 0x0006000600060006, 0x0002000200020002,
                           0x0005000500050005, 0x0001000100010001, 0x0004000400040004, 0);
    spread[0] = _mm512_permutexvar_epi16(order, wide);
    spread[1] = _mm512_permutexvar_epi16(_mm512_add_epi16(order, _mm512_set1_epi16(kChunk / kScaleRun<F> / 2)), wide);
  }
};

// Sum over sub-blocks of factor · the activations' sum, as eight parts.
template <class F>
HALFLAP_INLINE __m256i dot_sums(__m256i factors, const Chunk &x) {
  if (kScaleRun<F> == 16) return _mm256_madd_epi16(factors, _mm256_loadu_si256((const __m256i *)x.sums16));
  const __m128i sums = _mm_loadu_si128((const __m128i *)x.sums32);
  return _mm256_zextsi128_si256(_mm_madd_epi16(_mm256_castsi256_si128(factors), sums));
}

// isum of one chunk, in sixteen parts.
template <class F>
HALFLAP_INLINE __m512i dot_scaled(const __m512i *v, const SpreadScales<F> &scales, const Chunk &x) {
  __m512i p[4], sum = _mm512_setzero_si512();
  for (int i = 0; i < 4; i++) p[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[i], _mm512_load_si512(x.q + 64 * i));
  if (F::kLowest)
    sum = _mm512_zextsi256_si512(_mm256_mullo_epi32(dot_sums<F>(scales.plain, x), _mm256_set1_epi32(F::kLowest)));
  if (!scales.kWords) return _mm512_add_epi32(sum, _mm512_mullo_epi32(add_lanes(p[0], p[1], p[2], p[3]), scales.spread[0]));
  sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(p[0], p[1]), scales.spread[0]);
  return _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(p[2], p[3]), scales.spread[1]);
}

// isum of each run of one chunk, of levels less kLowest.
template <class F>
HALFLAP_INLINE void dot_runs(const __m512i *v, const Chunk &x, int32_t *to) {
  __m512i p[4];
  for (int i = 0; i < 4; i++) p[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[i], _mm512_load_si512(x.q + 64 * i));
  const __m512i sums = add_lanes(p[0], p[1], p[2], p[3]);
  if (F::kRun == 16) {  // lane L: runs L, 4 + L, 8 + L, 12 + L
    _mm512_store_si512(to, _mm512_permutexvar_epi32(by_quarters(), sums));
    return;
  }
  const __m512i whole = _mm512_add_epi32(sums, _mm512_shuffle_i64x2(sums, sums, 0xb1));  // lanes: even, even, odd, odd
  const __m128i even = _mm512_castsi512_si128(whole), odd = _mm512_extracti32x4_epi32(whole, 2);
  _mm_store_si128((__m128i *)to, _mm_unpacklo_epi32(even, odd));
  _mm_store_si128((__m128i *)(to + 4), _mm_unpackhi_epi32(even, odd));
}

// Rows from r0, as many as `valid` of sixteen, × N tokens.
template <class F, int N>
void multiply_rows(const MatmulTask &task, int64_t r0, int64_t valid, const Chunk *const *x, float *const *y) {
  using Work = RowWork<F, N>;
  static_assert(sizeof(Work) <= kMatmulScratch);
  constexpr int kRuns = F::kBlock < kChunk ? F::kBlock / F::kRun : 1, kStep = kChunk / F::kBlock * F::kBytes;
  Work &w = *reinterpret_cast<Work *>(task.scratch);
  const int64_t n_chunks = chunks(task.width);
  Lanes f[N];
  for (int n = 0; n < N; n++) f[n] = zero();
  for (int64_t c0 = 0; c0 < n_chunks; c0 += kSlab) {
    const int64_t slab = least(kSlab, n_chunks - c0);
    for (int r = 0; r < kLanes; r++) {
      if (r >= valid) break;
      const uint8_t *b = task.weight + (r0 + r) * task.row_bytes + c0 * kStep;
      for (int64_t c = 0; c < slab; c++, b += kStep) {
        for (int line = 0; line < kStep; line += 64) _mm_prefetch((const char *)(b + kAhead + line), _MM_HINT_T0);
        const int runs = chunk_runs<F>(task.width, c0 + c);
        __m512i v[4];
        Wide<F>::levels(b, runs, v);
        if constexpr (kScaled<F>) {
          const SubScales sub = Wide<F>::scales(b);
          const SpreadScales<F> scales(sub.scale);
          for (int n = 0; n < N; n++) {
            store_fours(w.sums[c][n] + row_slot(r), dot_scaled<F>(v, scales, x[n][c0 + c]));
            if (F::kMins) {
              const __m256i mins = dot_sums<F>(sub.mins, x[n][c0 + c]);
              _mm_store_si128((__m128i *)(w.mins[c][n] + row_slot(r)),
                              _mm_add_epi32(_mm256_castsi256_si128(mins), _mm256_extracti128_si256(mins, 1)));
            }
          }
          w.d[c][0][r] = F::d(b, 0);
          if (F::kMins) w.m[c][0][r] = F::m(b, 0);
        } else {
          for (int n = 0; n < N; n++) dot_runs<F>(v, x[n][c0 + c], w.sums[c][n] + r * Work::kParts);
          for (int j = 0; j < runs; j++) {
            const uint8_t *block = b + j / kRuns * F::kBytes;
            w.d[c][j][r] = F::d(block, j % kRuns);
            if (F::kOffset) w.m[c][j][r] = F::m(block, j % kRuns);
          }
        }
      }
    }
    for (int64_t c = 0; c < slab; c++)
      for (int n = 0; n < N; n++) {
        const Chunk &activations = x[n][c0 + c];
        Lanes s = zero();
        if constexpr (kScaled<F>) {
          s = fma(load(w.d[c][0]), to_float(Ints{add_fours(w.sums[c][n])}), s);
          if (F::kMins) s = fma(load(w.m[c][0]), to_float(Ints{add_fours(w.mins[c][n])}), s);
        } else {
          const int runs = chunk_runs<F>(task.width, c0 + c);
          const int16_t *sums = F::kRun == 16 ? activations.sums16 : activations.sums32;
          __m512i isums[Work::kParts];
          transpose_runs(w.sums[c][n], isums);
          for (int j = 0; j < runs; j++) {
            const __m512i isum = _mm512_add_epi32(isums[j], _mm512_set1_epi32(F::kLowest * sums[j]));
            s = fma(load(w.d[c][j]), to_float(Ints{isum}), s);
            if (F::kOffset) s = fma(load(w.m[c][j]), splat(sums[j]), s);
          }
        }
        f[n] = fma(splat(activations.scale), s, f[n]);
      }
  }
  for (int n = 0; n < N; n++) store_some(y[n] + r0, f[n], valid);
}

template <class F, int N>
void multiply_rows(const MatmulTask &task, int64_t t) {
  const Chunk *x[N];
  float *y[N];
  for (int n = 0; n < N; n++) {
    x[n] = static_cast<const Chunk *>(task.x) + source_row(task, t + n) * task.x_stride;
    y[n] = task.y + (t + n) * task.y_stride;
  }
  for (int64_t r = 0; r < task.rows; r += kLanes) multiply_rows<F, N>(task, r, least(kLanes, task.rows - r), x, y);
}

template <class F>
void matmul_rows(const MatmulTask &task) {
  if (task.tiles) return matmul_vnni<F>(task);
  int64_t t = 0;
  for (; t + 2 <= task.tokens; t += 2) multiply_rows<F, 2>(task, t);
  if (t < task.tokens) multiply_rows<F, 1>(task, t);
  add_bias(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
