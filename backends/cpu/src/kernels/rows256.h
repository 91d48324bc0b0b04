// AVX2: weight rows are multiplied as they come from memory, eight rows at a time, which then lie in the lanes for floats.
// Sums are exact integers, so results are the bits of matmul_quant.h.
//
// One core streams fastest when it reads many pages at once: for few tokens the eight rows lie apart.
#pragma once
#include <type_traits>

#include "levels256.h"

#if defined(__AVX2__) && !defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kRows = 8;
// Whether sums meet integer sub-scales; formats whose runs are whole chunks without any do, with ones.
template <class F>
constexpr bool kScaled = F::kRun == kChunk;

// -- integer sums ---------------------------------------------------------------------------------------------------------

// Sums of two products, int16.
template <class F>
HALFLAP_INLINE __m256i products(__m256i level, __m256i x) {
  if (kSigned<F>) return _mm256_maddubs_epi16(_mm256_abs_epi8(level), _mm256_sign_epi8(x, level));
  return _mm256_maddubs_epi16(level, x);
}

#if defined(__AVXVNNI__)
// Adds sums of four to int32.
template <class F>
HALFLAP_INLINE __m256i add_four(__m256i to, __m256i level, __m256i x) {
  if (kSigned<F>) return _mm256_dpbusd_avx_epi32(to, _mm256_abs_epi8(level), _mm256_sign_epi8(x, level));
  return _mm256_dpbusd_avx_epi32(to, level, x);
}
#endif

// Sums of four, int32.
template <class F>
HALFLAP_INLINE __m256i products_of_four(__m256i level, __m256i x) {
#if defined(__AVXVNNI__)
  return add_four<F>(_mm256_setzero_si256(), level, x);
#else
  return _mm256_madd_epi16(products<F>(level, x), _mm256_set1_epi16(1));
#endif
}

// Half sums of eight vectors: [low 128 bits of 0 to 3, high of 0 to 3], [of 4 to 7].
struct HalfSums {
  __m256i first, second;
  HALFLAP_INLINE __m256i low() const { return _mm256_permute2x128_si256(first, second, 0x20); }
  HALFLAP_INLINE __m256i high() const { return _mm256_permute2x128_si256(first, second, 0x31); }
  HALFLAP_INLINE __m256i all() const { return _mm256_add_epi32(low(), high()); }
};
HALFLAP_INLINE HalfSums half_sums(const __m256i *v) {
  const auto four = [](const __m256i *p) {
    return _mm256_hadd_epi32(_mm256_hadd_epi32(p[0], p[1]), _mm256_hadd_epi32(p[2], p[3]));
  };
  return {four(v), four(v + 4)};
}

// Int16 scales so that word j of each 128-bit half is what bytes 32j on of that half meet.
template <class F>
HALFLAP_INLINE __m256i by_vectors(__m256i scales) {
  if (F::kSub != 16) return _mm256_permute2x128_si256(scales, scales, 0);
  const __m256i evens = _mm256_broadcastsi128_si256(_mm_set_epi8(15, 14, 11, 10, 7, 6, 3, 2, 13, 12, 9, 8, 5, 4, 1, 0));
  return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(scales, evens), 0xd8);
}
HALFLAP_INLINE __m256i of_vector(__m256i scales, int j) {
  return _mm256_shuffle_epi8(scales, _mm256_set1_epi16(static_cast<int16_t>(2 * j | (2 * j + 1) << 8)));
}

// The activations' sums under each scale.
template <class F>
HALFLAP_INLINE __m256i sums_of(const Chunk &x) {
  return F::kSub == 16 ? _mm256_load_si256((const __m256i *)x.sums16)
                       : _mm256_zextsi128_si256(_mm_load_si128((const __m128i *)x.sums32));
}

HALFLAP_INLINE __m256 halves_of(const uint16_t *p) { return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }

// The float scales and offsets of runs, rows side by side.
template <class F>
struct RunScales {
  static constexpr int kMost = kChunk / F::kRun, kRuns = F::kBlock / F::kRun;
  using Stored = std::conditional_t<Wide<F>::kHalves, uint16_t, float>;
  alignas(32) Stored ds[kMost][kRows];
  alignas(32) Stored ms[F::kOffset ? kMost : 1][kRows];

  HALFLAP_INLINE void load(const uint8_t *b, int row, int runs) {
    for (int j = 0; j < runs; j++) {
      const uint8_t *block = b + j / kRuns * F::kBytes;
      if constexpr (Wide<F>::kHalves) {
        ds[j][row] = load16(block);
        if (F::kOffset) ms[j][row] = load16(block + 2);
      } else {
        ds[j][row] = F::d(block, j % kRuns);
        if (F::kMins) ms[0][row] = F::m(block, 0);
      }
    }
  }
  static HALFLAP_INLINE __m256 widen(const uint16_t *p) { return halves_of(p); }
  static HALFLAP_INLINE __m256 widen(const float *p) { return _mm256_load_ps(p); }
  HALFLAP_INLINE __m256 d(int run) const { return widen(ds[run]); }
  HALFLAP_INLINE __m256 m(int run) const { return widen(ms[F::kOffset ? run : 0]); }
};

// -- rows × tokens --------------------------------------------------------------------------------------------------------

HALFLAP_INLINE __m256 floats(__m256i v) { return _mm256_cvtepi32_ps(v); }

// Eight rows × N tokens × one chunk of a format with one d: f += the chunk's part.
template <class F, int N>
HALFLAP_INLINE void add_scaled(const uint8_t *const *rows, const Chunk *const *x, __m256 *f) {
  __m256i sums[N][kRows], mins[F::kMins ? N : 1][kRows];
  RunScales<F> floats_of;
  for (int r = 0; r < kRows; r++) {
    __m256i v[kVectors];
    Wide<F>::levels(rows[r], 1, v);
    const SubScales sub = Wide<F>::scales(rows[r]);
    const __m256i scales = by_vectors<F>(sub.scale);
    floats_of.load(rows[r], r, 1);
    __m256i sum[N];
    for (int n = 0; n < N; n++) sum[n] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; j++) {
      const __m256i scale = of_vector(scales, j);
      for (int n = 0; n < N; n++) {
        const __m256i pairs = products<F>(v[j], _mm256_load_si256((const __m256i *)(x[n]->q + 32 * j)));
        sum[n] = _mm256_add_epi32(sum[n], _mm256_madd_epi16(pairs, scale));
      }
    }
    for (int n = 0; n < N; n++) {
      if (kBase<F> != 0) {
        const __m256i base = _mm256_madd_epi16(sub.scale, sums_of<F>(*x[n]));
        sum[n] = _mm256_add_epi32(sum[n], _mm256_mullo_epi32(base, _mm256_set1_epi32(kBase<F>)));
      }
      sums[n][r] = sum[n];
      if (F::kMins) mins[n][r] = _mm256_madd_epi16(sub.mins, sums_of<F>(*x[n]));
    }
  }
  for (int n = 0; n < N; n++) {
    __m256 s = _mm256_fmadd_ps(floats_of.d(0), floats(half_sums(sums[n]).all()), _mm256_setzero_ps());
    if (F::kMins) s = _mm256_fmadd_ps(floats_of.m(0), floats(half_sums(mins[F::kMins ? n : 0]).all()), s);
    f[n] = _mm256_fmadd_ps(_mm256_set1_ps(x[n]->scale), s, f[n]);
  }
}

// The same of a format whose runs each have their d.
template <class F, int N>
HALFLAP_INLINE void add_runs(const uint8_t *const *rows, int runs, const Chunk *const *x, __m256 *f) {
  constexpr int kInVector = 32 / F::kRun;  // runs
  static_assert(kInVector == 1 || kInVector == 2);
  __m256i sums[N][kVectors][kRows];
  RunScales<F> scales;
  for (int r = 0; r < kRows; r++) {
    __m256i v[kVectors];
    Wide<F>::levels(rows[r], runs, v);
    scales.load(rows[r], r, runs);
    for (int j = 0; j < runs / kInVector; j++)
      for (int n = 0; n < N; n++)
        sums[n][j][r] = products_of_four<F>(v[j], _mm256_load_si256((const __m256i *)(x[n]->q + 32 * j)));
  }
  for (int n = 0; n < N; n++) {
    __m256 s = _mm256_setzero_ps();
    for (int j = 0; j < runs; j++) {
      const HalfSums half = half_sums(sums[n][j / kInVector]);
      __m256i sum = kInVector == 1 ? half.all() : j % 2 ? half.high() : half.low();
      const int of = kInVector == 1 ? x[n]->sums32[j] : x[n]->sums16[j];
      if (kBase<F> != 0) sum = _mm256_add_epi32(sum, _mm256_set1_epi32(kBase<F> * of));
      s = _mm256_fmadd_ps(scales.d(j), floats(sum), s);
      if (F::kOffset) s = _mm256_fmadd_ps(scales.m(j), _mm256_set1_ps(static_cast<float>(of)), s);
    }
    f[n] = _mm256_fmadd_ps(_mm256_set1_ps(x[n]->scale), s, f[n]);
  }
}

// Rows first + l · apart for lanes l (the last one again where there are fewer) × N tokens.
template <class F, int N>
void multiply_rows(const MatmulTask &task, int64_t first, int64_t apart, const Chunk *const *tokens, __m256 *f) {
  constexpr int kStep = kChunk / F::kBlock * F::kBytes;
  const uint8_t *rows[kRows];
  for (int l = 0; l < kRows; l++) rows[l] = task.weight + least(first + l * apart, task.rows - 1) * task.row_bytes;
  const Chunk *x[N];
  for (int n = 0; n < N; n++) {
    x[n] = tokens[n];
    f[n] = _mm256_setzero_ps();
  }
  for (int64_t c = 0; c < chunks(task.width); c++) {
    for (int l = 0; l < kRows; l++)
      for (int line = 0; line < kStep; line += 64) _mm_prefetch((const char *)(rows[l] + 2 * kStep + line), _MM_HINT_T0);
    if constexpr (kScaled<F>)
      add_scaled<F, N>(rows, x, f);
    else
      add_runs<F, N>(rows, chunk_runs<F>(task.width, c), x, f);
    for (int l = 0; l < kRows; l++) rows[l] += kStep;
    for (int n = 0; n < N; n++) x[n]++;
  }
}

template <class F, int N>
void multiply_tokens(const MatmulTask &task, int64_t t) {
  const Chunk *x[N];
  for (int n = 0; n < N; n++) x[n] = static_cast<const Chunk *>(task.x) + source_row(task, t + n) * task.x_stride;
  const int64_t apart = (task.rows + kRows - 1) / kRows;
  for (int64_t r = 0; r < apart; r++) {
    __m256 f[N];
    multiply_rows<F, N>(task, r, apart, x, f);
    for (int n = 0; n < N; n++) {
      float *y = task.y + (t + n) * task.y_stride;
      alignas(32) float lanes[kRows];
      _mm256_store_ps(lanes, f[n]);
      for (int64_t l = 0; r + l * apart < task.rows; l++) y[r + l * apart] = lanes[l];
    }
  }
}

template <class F>
void matmul_rows(const MatmulTask &task) {
  int64_t t = 0;
  for (; t + 4 <= task.tokens; t += 4) multiply_tokens<F, 4>(task, t);
  if (t + 2 <= task.tokens) multiply_tokens<F, 2>(task, t), t += 2;
  if (t < task.tokens) multiply_tokens<F, 1>(task, t);
  add_bias(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
