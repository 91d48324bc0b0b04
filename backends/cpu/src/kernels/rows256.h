// AVX2: weight rows are multiplied as they come from memory, eight rows at a time, which then lie in the lanes for floats.
// Sums are exact integers, so results are the bits of matmul_quant.h.
//
// One core streams fastest when it reads many pages at once: the eight rows lie apart.
#pragma once
#include <type_traits>

#include "levels256.h"

#if defined(__AVX2__) && !defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kRows = 8;
constexpr int kNarrowTokens = 12;  // up to which TileChunks hold strips, see pack_strips
constexpr int kStripTokens = 4;
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

// Products are summed in int32 by vpdpbusd, or in int16 (words) as far as they fit; then they meet a scale or become int32.
#if defined(__AVXVNNI__)
constexpr bool kFours = true;
template <class F>
HALFLAP_INLINE __m256i add_four(__m256i to, __m256i level, __m256i x) {
  if (kSigned<F>) return _mm256_dpbusd_avx_epi32(to, _mm256_abs_epi8(level), _mm256_sign_epi8(x, level));
  return _mm256_dpbusd_avx_epi32(to, level, x);
}
#else
constexpr bool kFours = false;
template <class F>
HALFLAP_INLINE __m256i add_four(__m256i, __m256i, __m256i);
#endif
template <class F, bool words>
constexpr int kFit = !words ? kChunk : kSigned<F> ? 1 : 32767 / (2 * 127 * (F::kHighest - F::kLowest));
template <class F, bool words>
HALFLAP_INLINE __m256i add_products(__m256i to, __m256i level, __m256i x) {
  if constexpr (words) return _mm256_add_epi16(to, products<F>(level, x));
  else return add_four<F>(to, level, x);
}
template <class F, bool words>
HALFLAP_INLINE __m256i first_products(__m256i level, __m256i x) {
  if constexpr (words) return products<F>(level, x);
  else return add_four<F>(_mm256_setzero_si256(), level, x);
}
template <bool words>
HALFLAP_INLINE __m256i scaled(__m256i sum, __m256i twice) {  // by int16 scales, each for two words
  return words ? _mm256_madd_epi16(sum, twice) : _mm256_mullo_epi32(sum, _mm256_srai_epi32(twice, 16));
}
template <bool words>
HALFLAP_INLINE __m256i whole(__m256i sum) {
  return words ? _mm256_madd_epi16(sum, _mm256_set1_epi16(1)) : sum;
}

// -- eight rows side by side ----------------------------------------------------------------------------------------------

// Row r's lower or upper half below row r + 4's.
HALFLAP_INLINE __m256i lower(const __m256i *v, int r) { return _mm256_permute2x128_si256(v[r], v[r + 4], 0x20); }
HALFLAP_INLINE __m256i upper(const __m256i *v, int r) { return _mm256_permute2x128_si256(v[r], v[r + 4], 0x31); }

// Four such vectors to four with eight rows side by side.
HALFLAP_INLINE void transpose(__m256i *v) {
  const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
  v[0] = _mm256_unpacklo_epi64(a, c);
  v[1] = _mm256_unpackhi_epi64(a, c);
  v[2] = _mm256_unpacklo_epi64(b, d);
  v[3] = _mm256_unpackhi_epi64(b, d);
}

// Eight rows' int16 factors in pairs, to meet the sums of activations under each.
template <int P>
struct RowPairs {
  alignas(32) int16_t of[kRows][2 * P];

  HALFLAP_INLINE void put(int row, __m256i factors) {
    if constexpr (P == 8) _mm256_store_si256((__m256i *)of[row], factors);
    else _mm_store_si128((__m128i *)of[row], _mm256_castsi256_si128(factors));
  }
  HALFLAP_INLINE void side_by_side(__m256i *pairs) const {
    for (int p = 0; p < P; p += 4) {
      for (int r = 0; r < 4; r++)
        pairs[p + r] = _mm256_set_m128i(_mm_load_si128((const __m128i *)(of[r + 4] + 2 * p)), _mm_load_si128((const __m128i *)(of[r] + 2 * p)));
      transpose(pairs + p);
    }
  }
  static HALFLAP_INLINE __m256i meet(const __m256i *pairs, const int16_t *sums) {
    __m256i total = _mm256_setzero_si256();
    for (int p = 0; p < P; p++) total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs[p], _mm256_set1_epi32(load32(sums + 2 * p))));
    return total;
  }
};

// The float scales, and minima or offsets, of runs, rows side by side.
template <class F>
struct RunScales {
  static constexpr int kMost = kChunk / F::kRun, kRuns = F::kBlock / F::kRun, kAt = Wide<F>::kHalves;
  static constexpr bool kSecond = F::kMins || F::kOffset;
  using Stored = std::conditional_t<kAt >= 0, uint16_t, float>;
  alignas(32) Stored ds[kMost][kRows];
  alignas(32) Stored ms[kSecond ? kMost : 1][kRows];

  HALFLAP_INLINE void load(const uint8_t *b, int row, int runs) {
    for (int j = 0; j < runs; j++) {
      const uint8_t *block = b + j / kRuns * F::kBytes;
      if constexpr (kAt >= 0) {
        ds[j][row] = load16(block + kAt);
        if (kSecond) ms[j][row] = load16(block + kAt + 2);
      } else {
        ds[j][row] = F::d(block, j % kRuns);
        if (kSecond) ms[j][row] = F::m(block, j % kRuns);
      }
    }
  }
  static HALFLAP_INLINE __m256 widen(const uint16_t *p) { return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)p)); }
  static HALFLAP_INLINE __m256 widen(const float *p) { return _mm256_load_ps(p); }
  HALFLAP_INLINE __m256 d(int run) const { return widen(ds[run]); }
  HALFLAP_INLINE __m256 m(int run) const {
    const __m256 m = widen(ms[kSecond ? run : 0]);
    return kAt >= 0 && F::kMins ? _mm256_xor_ps(m, _mm256_set1_ps(-0.0f)) : m;  // minima are subtracted
  }
};

// -- tokens ---------------------------------------------------------------------------------------------------------------
// Two ways to multiply a row's 32 levels: by those of one token; or by strips of four tokens, where four levels of either half
// fill their half of a vector and meet the same four of each token. What is left are sums to be added across lanes.

struct OneToken {
  static constexpr int kTokens = 1, kSums = 1;
  template <class F>
  static constexpr bool kWords = kScaled<F> || !kFours;
  const Chunk *x;

  HALFLAP_INLINE OneToken(const MatmulTask &task, int64_t t, int64_t c)
      : x(static_cast<const Chunk *>(task.x) + source_row(task, t) * task.x_stride + c) {}
  template <class F, class Take>  // take(sum, which)
  HALFLAP_INLINE void multiply(__m256i level, int j, Take take) const {
    take(add_products<F, kWords<F>>(_mm256_setzero_si256(), level, _mm256_load_si256((const __m256i *)(x->q + 32 * j))), 0);
  }
  static HALFLAP_INLINE void across(__m256i *v, __m256i *to) {  // from four of `lower` and `upper`
    const __m256i a = _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    const __m256i b = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    to[0] = _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  }
  HALFLAP_INLINE const int16_t *sums16(int) const { return x->sums16; }
  HALFLAP_INLINE const int16_t *sums32(int) const { return x->sums32; }
  HALFLAP_INLINE float scale(int) const { return x->scale; }
};

template <int S>
struct Strips {
  static constexpr int kTokens = S * kStripTokens, kSums = S;
  template <class F>
  static constexpr bool kWords = !kFours;
  const TileChunk *x;

  HALFLAP_INLINE Strips(const MatmulTask &task, int64_t, int64_t c) : x(task.tiles + c) {}
  template <class F, class Take>
  HALFLAP_INLINE void multiply(__m256i level, int j, Take take) const {
    constexpr int kFits = kFit<F, kWords<F>>, kTogether = kFits >= 4 ? 4 : kFits >= 2 ? 2 : 1;
    const __m256i levels[4] = {_mm256_shuffle_epi32(level, 0x00), _mm256_shuffle_epi32(level, 0x55),
                               _mm256_shuffle_epi32(level, 0xaa), _mm256_shuffle_epi32(level, 0xff)};
#pragma GCC unroll 4
    for (int first = 0; first < 4; first += kTogether)
      for (int s = 0; s < S; s++) {
        __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int i = first; i < first + kTogether; i++) sum = add_products<F, kWords<F>>(sum, levels[i], strip(s, 4 * j + i));
        take(sum, s);
      }
  }
  HALFLAP_INLINE __m256i strip(int s, int k) const {
    return _mm256_load_si256(reinterpret_cast<const __m256i *>(x->q) + kChunk / 8 * s + k);
  }
  static HALFLAP_INLINE void across(__m256i *v, __m256i *to) {
    transpose(v);
    for (int t = 0; t < kStripTokens; t++) to[t] = v[t];
  }
  HALFLAP_INLINE const int16_t *sums16(int t) const { return &x->sums16[0][0][0] + 16 * t; }
  HALFLAP_INLINE const int16_t *sums32(int t) const { return &x->sums32[0][0][0] + 8 * t; }
  HALFLAP_INLINE float scale(int t) const { return x->scale[t]; }
};

// The same, of which the compiler knows nothing: else it copies a chunk's tokens to the stack to have them for eight rows.
template <class Tokens>
HALFLAP_INLINE Tokens afresh(Tokens tokens) {
  asm("" : "+r"(tokens.x));
  return tokens;
}

// Tokens of one chunk as strips take them: q as (strips, 32 of (two halves of 32 bytes, tokens, 4)), sums by token.
inline void pack_strips(const Chunk *const *rows, int64_t n_rows, int64_t c, TileChunk &to) {
  if (n_rows % kStripTokens) memset(static_cast<void *>(&to), 0, sizeof to);
  uint8_t *q = reinterpret_cast<uint8_t *>(to.q);
  for (int64_t t = 0; t < n_rows; t++) {
    const Chunk &from = rows[t][c];
    uint8_t *strip = q + t / kStripTokens * kStripTokens * kChunk + t % kStripTokens * 4;
    for (int k = 0; k < kChunk; k += 4) memcpy(strip + k / 32 * 128 + k % 16 * 8 + k % 32 / 16 * 16, from.q + k, 4);
    memcpy(&to.sums16[0][0][0] + 16 * t, from.sums16, sizeof from.sums16);
    memcpy(&to.sums32[0][0][0] + 8 * t, from.sums32, sizeof from.sums32);
    to.scale[t] = from.scale;
  }
}

// -- rows × tokens --------------------------------------------------------------------------------------------------------

HALFLAP_INLINE __m256 floats(__m256i v) { return _mm256_cvtepi32_ps(v); }

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

// Eight rows × one chunk of a format with one d: f += the chunk's part.
template <class F, class Tokens>
HALFLAP_INLINE void add_scaled(const uint8_t *const *rows, const Tokens &x, __m256 *f) {
  constexpr int kPairs = F::kSub == 16 ? 8 : 4;
  constexpr bool kWords = Tokens::template kWords<F>;
  static_assert(F::kLargestScale * (kBase<F> < 0 ? -kBase<F> : kBase<F>) <= 32767);
  __m256i sums[Tokens::kSums][kRows];
  RowPairs<kPairs> bases, mins;
  RunScales<F> floats_of;
  for (int r = 0; r < kRows; r++) {
    __m256i v[kVectors];
    Wide<F>::levels(rows[r], 1, v);
    const SubScales sub = Wide<F>::scales(rows[r]);
    const __m256i scales = by_vectors<F>(sub.scale);
    if (kBase<F> != 0) bases.put(r, _mm256_mullo_epi16(sub.scale, _mm256_set1_epi16(kBase<F>)));
    if (F::kMins) mins.put(r, sub.mins);
    floats_of.load(rows[r], r, 1);
    __m256i sum[Tokens::kSums] = {};
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; j++) {
      const __m256i scale = of_vector(scales, j);
      afresh(x).template multiply<F>(v[j], j, [&](__m256i part, int n) { sum[n] = _mm256_add_epi32(sum[n], scaled<kWords>(part, scale)); });
    }
    for (int n = 0; n < Tokens::kSums; n++) sums[n][r] = sum[n];
  }
  __m256i base_pairs[kPairs], min_pairs[kPairs];
  if (kBase<F> != 0) bases.side_by_side(base_pairs);
  if (F::kMins) mins.side_by_side(min_pairs);
  constexpr int kEach = Tokens::kTokens / Tokens::kSums;  // tokens of a vector of sums
  for (int n = 0; n < Tokens::kSums; n++) {
    __m256i halves[4], isum[kEach];
    for (int r = 0; r < 4; r++) halves[r] = _mm256_add_epi32(lower(sums[n], r), upper(sums[n], r));
    Tokens::across(halves, isum);
    for (int i = 0; i < kEach; i++) {
      const int t = n * kEach + i;
      const int16_t *of = kPairs == 8 ? x.sums16(t) : x.sums32(t);
      if (kBase<F> != 0) isum[i] = _mm256_add_epi32(isum[i], bases.meet(base_pairs, of));
      __m256 s = _mm256_fmadd_ps(floats_of.d(0), floats(isum[i]), _mm256_setzero_ps());
      if (F::kMins) s = _mm256_fmadd_ps(floats_of.m(0), floats(mins.meet(min_pairs, of)), s);
      f[t] = _mm256_fmadd_ps(_mm256_set1_ps(x.scale(t)), s, f[t]);
    }
  }
}

// The same of a format whose runs each have their d.
template <class F, class Tokens>
HALFLAP_INLINE void add_runs(const uint8_t *const *rows, int runs, const Tokens &x, __m256 *f) {
  constexpr int kInVector = 32 / F::kRun, kEach = Tokens::kTokens / Tokens::kSums;
  constexpr bool kWords = Tokens::template kWords<F>;
  static_assert(kInVector == 1 || kInVector == 2);
  __m256i sums[Tokens::kSums][kVectors][kRows];
  RunScales<F> scales;
  for (int r = 0; r < kRows; r++) {
    __m256i v[kVectors];
    Wide<F>::levels(rows[r], runs, v);
    scales.load(rows[r], r, runs);
    for (int j = 0; j < runs / kInVector; j++) {
      __m256i sum[Tokens::kSums] = {};
      afresh(x).template multiply<F>(v[j], j, [&](__m256i part, int n) { sum[n] = _mm256_add_epi32(sum[n], whole<kWords>(part)); });
      for (int n = 0; n < Tokens::kSums; n++) sums[n][j][r] = sum[n];
    }
  }
  for (int n = 0; n < Tokens::kSums; n++) {
    __m256 s[kEach];
    for (int i = 0; i < kEach; i++) s[i] = _mm256_setzero_ps();
    for (int j = 0; j < runs; j++) {
      const __m256i *of = sums[n][j / kInVector];
      __m256i halves[4], isum[kEach];
      for (int r = 0; r < 4; r++)
        halves[r] = kInVector == 1 ? _mm256_add_epi32(lower(of, r), upper(of, r)) : j % 2 ? upper(of, r) : lower(of, r);
      Tokens::across(halves, isum);
      for (int i = 0; i < kEach; i++) {
        const int t = n * kEach + i, total = kInVector == 1 ? x.sums32(t)[j] : x.sums16(t)[j];
        if (kBase<F> != 0) isum[i] = _mm256_add_epi32(isum[i], _mm256_set1_epi32(kBase<F> * total));
        s[i] = _mm256_fmadd_ps(scales.d(j), floats(isum[i]), s[i]);
        if (F::kOffset) s[i] = _mm256_fmadd_ps(scales.m(j), _mm256_set1_ps(static_cast<float>(total)), s[i]);
      }
    }
    for (int i = 0; i < kEach; i++) {
      const int t = n * kEach + i;
      f[t] = _mm256_fmadd_ps(_mm256_set1_ps(x.scale(t)), s[i], f[t]);
    }
  }
}

// All rows × the tokens from t on, of which the task may have fewer.
template <class F, class Tokens>
void multiply_rows(const MatmulTask &task, int64_t t) {
  constexpr int kStep = kChunk / F::kBlock * F::kBytes;
  const int64_t n_chunks = chunks(task.width), apart = (task.rows + kRows - 1) / kRows;
  for (int64_t r0 = 0; r0 < apart; r0++) {
    const uint8_t *rows[kRows];  // the last again where there are fewer
    for (int l = 0; l < kRows; l++) rows[l] = task.weight + least(r0 + l * apart, task.rows - 1) * task.row_bytes;
    __m256 f[Tokens::kTokens];
    for (__m256 &to : f) to = _mm256_setzero_ps();
    for (int64_t c = 0; c < n_chunks; c++) {
      for (int l = 0; l < kRows; l++)
        for (int line = 0; line < kStep; line += 64) _mm_prefetch((const char *)(rows[l] + 2 * kStep + line), _MM_HINT_T0);
      const Tokens x(task, t, c);
      if constexpr (kScaled<F>)
        add_scaled<F>(rows, x, f);
      else
        add_runs<F>(rows, chunk_runs<F>(task.width, c), x, f);
      for (int l = 0; l < kRows; l++) rows[l] += kStep;
    }
    for (int64_t n = 0; n < least(Tokens::kTokens, task.tokens - t); n++) {
      alignas(32) float lanes[kRows];
      _mm256_store_ps(lanes, f[n]);
      float *y = task.y + (t + n) * task.y_stride + r0;
      for (int64_t l = 0; r0 + l * apart < task.rows; l++) y[l * apart] = lanes[l];
    }
  }
}

template <class F>
void matmul_rows(const MatmulTask &task) {
  if (task.tiles)
    switch ((task.tokens + kStripTokens - 1) / kStripTokens) {
      case 1: multiply_rows<F, Strips<1>>(task, 0); break;
      case 2: multiply_rows<F, Strips<2>>(task, 0); break;
      default: multiply_rows<F, Strips<3>>(task, 0);
    }
  else
    for (int64_t t = 0; t < task.tokens; t++) multiply_rows<F, OneToken>(task, t);
  add_bias(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
