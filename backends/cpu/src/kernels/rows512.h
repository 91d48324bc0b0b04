// Few tokens: weight rows are multiplied as they come from memory (AVX-512 VNNI), sixteen rows at a time, which then lie
// in the lanes for integer scales and floats. Sums are exact integers, so results are the bits of matmul_quant.h.
//
// One core streams fastest when it reads many pages at once: the sixteen rows lie apart.
#pragma once
#include "matmul_vnni.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

// -- sixteen rows of 128-bit quarters, turned -----------------------------------------------------------------------------

// Four rows of four 32-bit numbers each in z[0] (rows 0, 4, 8, 12), z[1] (1, 5 …) and so on: number j of every row.
HALFLAP_INLINE void turn_fours(const __m512i *z, __m512i *to) {
  const __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
  const __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
  to[0] = _mm512_unpacklo_epi64(a, c);
  to[1] = _mm512_unpackhi_epi64(a, c);
  to[2] = _mm512_unpacklo_epi64(b, d);
  to[3] = _mm512_unpackhi_epi64(b, d);
}

// 16 bytes of each of sixteen rows as four numbers in row order; row r's are at rows[r] + at.
HALFLAP_INLINE void load_fours(const uint8_t *const *rows, int at, __m512i *to) {
  __m512i z[4];
  const auto quarter = [&](int r) { return _mm_loadu_si128((const __m128i *)(rows[r] + at)); };
  for (int i = 0; i < 4; i++)
    z[i] = _mm512_inserti32x4(_mm512_inserti32x4(_mm512_inserti32x4(_mm512_castsi128_si512(quarter(i)), quarter(i + 4), 1),
                                                 quarter(i + 8), 2), quarter(i + 12), 3);
  turn_fours(z, to);
}

// -- the scales of sixteen rows -------------------------------------------------------------------------------------------

HALFLAP_INLINE __m512 halves_to_float(__m512i low_words) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(low_words));
}
HALFLAP_INLINE __m512 minus(__m512 v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f)); }
template <int kShift, int kMask>
HALFLAP_INLINE __m512i field(__m512i v) {
  return _mm512_and_si512(kShift >= 0 ? _mm512_srli_epi32(v, kShift) : _mm512_slli_epi32(v, -kShift), _mm512_set1_epi32(kMask));
}

// Sums over sub-blocks of four factors below 256, in the bytes of `v`, times the activations' sums.
HALFLAP_INLINE __m512i dot_bytes(__m512i v, const int16_t *sums, __m512i to) {
  const auto pair = [&](int i) {
    return _mm512_set1_epi32(static_cast<int32_t>(static_cast<uint16_t>(sums[i]) | static_cast<uint32_t>(sums[i + 2]) << 16));
  };
  to = _mm512_dpwssd_epi32(to, field<0, 0x00ff00ff>(v), pair(0));
  return _mm512_dpwssd_epi32(to, field<8, 0x00ff00ff>(v), pair(1));
}

// Any format of 256, through its description.
template <class F>
struct RowScales {
  __m512i pairs[8] = {}, min_pairs[8] = {};  // int16 of sub-blocks 2p and 2p + 1
  __m512 d, m;

  HALFLAP_INLINE explicit RowScales(const uint8_t *const *rows) {
    alignas(64) int16_t scales[kLanes][16];
    alignas(64) float ds[kLanes];
    static_assert(!F::kMins, "formats with minima have their own");
    const uint8_t *at[kLanes];
    for (int r = 0; r < kLanes; r++) {
      _mm256_store_si256((__m256i *)scales[r], Wide<F>::scales(rows[r]).scale);
      at[r] = (const uint8_t *)scales[r];
      ds[r] = F::d(rows[r], 0);
    }
    d = _mm512_load_ps(ds);
    load_fours(at, 0, pairs);
    if (kScaleRun<F> == 16) load_fours(at, 16, pairs + 4);
  }
  HALFLAP_INLINE __m512i scale(int sub) const {
    return _mm512_srai_epi32(sub % 2 ? pairs[sub / 2] : _mm512_slli_epi32(pairs[sub / 2], 16), 16);
  }
  HALFLAP_INLINE __m512i dot_mins(const Chunk &) const { return _mm512_setzero_si512(); }
};

struct SixBitRowScales {  // see q4_k.h: d, dmin, then twelve bytes
  __m512i scales[2], mins[2];
  __m512 d, m;

  HALFLAP_INLINE explicit SixBitRowScales(const uint8_t *const *rows) {
    __m512i w[4];
    load_fours(rows, 0, w);
    d = halves_to_float(w[0]);
    m = minus(halves_to_float(_mm512_srli_epi32(w[0], 16)));
    scales[0] = field<0, 0x3f3f3f3f>(w[1]);
    mins[0] = field<0, 0x3f3f3f3f>(w[2]);
    scales[1] = _mm512_or_si512(field<0, 0x0f0f0f0f>(w[3]), field<2, 0x30303030>(w[1]));
    mins[1] = _mm512_or_si512(field<4, 0x0f0f0f0f>(w[3]), field<2, 0x30303030>(w[2]));
  }
  HALFLAP_INLINE __m512i scale(int sub) const {
    return _mm512_and_si512(_mm512_srl_epi32(scales[sub / 4], _mm_cvtsi32_si128(sub % 4 * 8)), _mm512_set1_epi32(255));
  }
  HALFLAP_INLINE __m512i dot_mins(const Chunk &x) const {
    return dot_bytes(mins[1], x.sums32 + 4, dot_bytes(mins[0], x.sums32, _mm512_setzero_si512()));
  }
};
template <>
struct RowScales<Q4_K> : SixBitRowScales {
  using SixBitRowScales::SixBitRowScales;
};
template <>
struct RowScales<Q5_K> : SixBitRowScales {
  using SixBitRowScales::SixBitRowScales;
};

// Signed bytes, four to a word.
struct ByteRowScales {
  __m512i scales[4];
  __m512 d, m;
  HALFLAP_INLINE __m512i scale(int sub) const {
    return _mm512_srai_epi32(_mm512_sll_epi32(scales[sub / 4], _mm_cvtsi32_si128(24 - sub % 4 * 8)), 24);
  }
  HALFLAP_INLINE __m512i dot_mins(const Chunk &) const { return _mm512_setzero_si512(); }
};

template <>
struct RowScales<Q6_K> : ByteRowScales {
  HALFLAP_INLINE explicit RowScales(const uint8_t *const *rows) {
    __m512i w[4];
    load_fours(rows, 194, w);  // up to the block's end
    d = halves_to_float(_mm512_srli_epi32(w[3], 16));
    load_fours(rows, 192, scales);
  }
};

template <>
struct RowScales<Q3_K> : ByteRowScales {
  HALFLAP_INLINE explicit RowScales(const uint8_t *const *rows) {
    __m512i w[4];
    load_fours(rows, 94, w);  // up to the block's end; the scales begin two bytes later
    d = halves_to_float(_mm512_srli_epi32(w[3], 16));
    __m512i s[3];
    for (int i = 0; i < 3; i++) s[i] = _mm512_or_si512(_mm512_srli_epi32(w[i], 16), _mm512_slli_epi32(w[i + 1], 16));
    const __m512i tops[4] = {field<-4, 0x30303030>(s[2]), field<-2, 0x30303030>(s[2]), field<0, 0x30303030>(s[2]),
                             field<2, 0x30303030>(s[2])};
    const __m512i lows[4] = {field<0, 0x0f0f0f0f>(s[0]), field<0, 0x0f0f0f0f>(s[1]), field<4, 0x0f0f0f0f>(s[0]),
                             field<4, 0x0f0f0f0f>(s[1])};
    for (int i = 0; i < 4; i++) scales[i] = _mm512_sub_epi8(_mm512_or_si512(lows[i], tops[i]), _mm512_set1_epi8(32));
  }
};

template <>
struct RowScales<Q2_K> {
  __m512i both[4];  // a minimum above, a scale below in each byte
  __m512 d, m;

  HALFLAP_INLINE explicit RowScales(const uint8_t *const *rows) {
    __m512i w[4];
    load_fours(rows, 68, w);
    d = halves_to_float(w[3]);
    m = minus(halves_to_float(_mm512_srli_epi32(w[3], 16)));
    load_fours(rows, 0, both);
  }
  HALFLAP_INLINE __m512i scale(int sub) const {
    return _mm512_and_si512(_mm512_srl_epi32(both[sub / 4], _mm_cvtsi32_si128(sub % 4 * 8)), _mm512_set1_epi32(15));
  }
  HALFLAP_INLINE __m512i dot_mins(const Chunk &x) const {
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < 4; i++) sum = dot_bytes(field<4, 0x0f0f0f0f>(both[i]), x.sums16 + 4 * i, sum);
    return sum;
  }
};

template <>
struct RowScales<IQ4_XS> {
  __m512i tops, lows;
  __m512 d, m;

  HALFLAP_INLINE explicit RowScales(const uint8_t *const *rows) {
    __m512i w[4];
    load_fours(rows, 0, w);
    d = halves_to_float(w[0]);
    tops = _mm512_srli_epi32(w[0], 16);
    lows = w[1];
  }
  HALFLAP_INLINE __m512i scale(int sub) const {
    const __m512i low = _mm512_and_si512(_mm512_srl_epi32(lows, _mm_cvtsi32_si128(4 * sub)), _mm512_set1_epi32(15));
    const __m512i top = _mm512_and_si512(_mm512_srl_epi32(tops, _mm_cvtsi32_si128(2 * sub)), _mm512_set1_epi32(3));
    return _mm512_sub_epi32(_mm512_or_si512(low, _mm512_slli_epi32(top, 4)), _mm512_set1_epi32(32));
  }
  HALFLAP_INLINE __m512i dot_mins(const Chunk &) const { return _mm512_setzero_si512(); }
};

// The float scales and offsets of runs.
template <class F>
struct RunScales {
  static constexpr int kMost = kChunk / F::kRun, kRuns = F::kBlock / F::kRun;
  using Stored = std::conditional_t<Wide<F>::kHalves, uint16_t, float>;
  alignas(64) Stored ds[kMost][kLanes];
  alignas(64) Stored ms[F::kOffset ? kMost : 1][kLanes];

  HALFLAP_INLINE void load(const uint8_t *const *rows, int runs) {
    for (int l = 0; l < kLanes; l++)
      for (int j = 0; j < runs; j++) {
        const uint8_t *block = rows[l] + j / kRuns * F::kBytes;
        if constexpr (Wide<F>::kHalves) {
          ds[j][l] = load16(block);
          if (F::kOffset) ms[j][l] = load16(block + 2);
        } else {
          ds[j][l] = F::d(block, j % kRuns);
        }
      }
  }
  static HALFLAP_INLINE __m512 widen(const uint16_t *p) { return from_half(p).v; }
  static HALFLAP_INLINE __m512 widen(const float *p) { return _mm512_load_ps(p); }
  HALFLAP_INLINE __m512 d(int run) const { return widen(ds[run]); }
  HALFLAP_INLINE __m512 m(int run) const { return widen(ms[F::kOffset ? run : 0]); }
};

// -- sums of runs or sub-blocks -------------------------------------------------------------------------------------------

// 128-bit lane L of the result: what lane L of each of the four adds up to. `narrow`: sums of eight elements fit int16.
template <bool narrow>
HALFLAP_INLINE __m512i add_lanes(const __m512i *p) {
  if (narrow) {
    const __m512i ones = _mm512_set1_epi16(1);
    const __m512i ab = _mm512_madd_epi16(_mm512_packs_epi32(p[0], p[1]), ones);
    const __m512i cd = _mm512_madd_epi16(_mm512_packs_epi32(p[2], p[3]), ones);
    return _mm512_madd_epi16(_mm512_packs_epi32(ab, cd), ones);
  }
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(p[0], p[1]), _mm512_unpackhi_epi32(p[0], p[1]));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(p[2], p[3]), _mm512_unpackhi_epi32(p[2], p[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Sums of 16 elements, number i of 128-bit lane L that of elements 64i + 16L on, for sixteen rows: of each 32, by rows.
HALFLAP_INLINE void turn_sums(const __m512i *rows, __m512i (&to)[8]) {
  __m512i u[2][4];
  for (int half = 0; half < 2; half++) {  // rows 4·half … + 3 and 8 more
    __m512i z[4];
    for (int i = 0; i < 4; i++) {
      const __m512i a = _mm512_load_si512(rows + 4 * half + i), b = _mm512_load_si512(rows + 4 * half + i + 8);
      z[i] = _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
    }
    turn_fours(z, u[half]);
  }
  const __m512i even = _mm512_set_epi64(13, 12, 5, 4, 9, 8, 1, 0), odd = _mm512_set_epi64(15, 14, 7, 6, 11, 10, 3, 2);
  for (int i = 0; i < 4; i++) {
    to[2 * i] = _mm512_permutex2var_epi64(u[0][i], even, u[1][i]);
    to[2 * i + 1] = _mm512_permutex2var_epi64(u[0][i], odd, u[1][i]);
  }
}

HALFLAP_INLINE void turn_sums(const __m512i *rows, __m512i (&to)[16]) {  // of each 16
  __m512 v[16];
  for (int i = 0; i < 16; i++) v[i] = _mm512_load_ps(rows + i);
  transpose(v);
  for (int i = 0; i < 16; i++) to[i] = _mm512_castps_si512(v[i % 4 * 4 + i / 4]);
}

// -- rows × tokens --------------------------------------------------------------------------------------------------------

// Rows first + l · apart for lanes l (the last one again where there are fewer) × N tokens.
template <class F, int N>
void multiply_rows(const MatmulTask &task, int64_t first, int64_t apart, const Chunk *const *x, __m512 *f) {
  constexpr int kStep = kChunk / F::kBlock * F::kBytes;
  constexpr int kSums = kScaled<F> ? kChunk / kScaleRun<F> : kChunk / F::kRun;
  constexpr bool kNarrow = 8 * (F::kHighest - F::kLowest) * 127 <= 32767;
  const uint8_t *rows[kLanes];
  for (int l = 0; l < kLanes; l++) rows[l] = task.weight + least(first + l * apart, task.rows - 1) * task.row_bytes;
  for (int n = 0; n < N; n++) f[n] = _mm512_setzero_ps();
  for (int64_t c = 0; c < chunks(task.width); c++) {
    const int runs = chunk_runs<F>(task.width, c);
    __m512i parts[N][kLanes];
    for (int l = 0; l < kLanes; l++) {
      for (int line = 0; line < kStep; line += 64) _mm_prefetch((const char *)(rows[l] + 2 * kStep + line), _MM_HINT_T0);
      __m512i v[4];
      Wide<F>::levels(rows[l], runs, v);
      for (int n = 0; n < N; n++) {
        __m512i p[4];
        for (int i = 0; i < 4; i++)
          p[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v[i], _mm512_load_si512(x[n][c].q + 64 * i));
        parts[n][l] = add_lanes<kNarrow>(p);
      }
    }
    if constexpr (kScaled<F>) {
      const RowScales<F> scales(rows);
      for (int n = 0; n < N; n++) {
        const int16_t *of = kSums == 16 ? x[n][c].sums16 : x[n][c].sums32;
        __m512i sums[kSums], isum = _mm512_setzero_si512();
        turn_sums(parts[n], sums);
        for (int j = 0; j < kSums; j++) {
          if (F::kLowest) sums[j] = _mm512_add_epi32(sums[j], _mm512_set1_epi32(F::kLowest * of[j]));
          isum = _mm512_add_epi32(isum, F::kSub ? _mm512_mullo_epi32(sums[j], scales.scale(j)) : sums[j]);
        }
        __m512 s = _mm512_fmadd_ps(scales.d, _mm512_cvtepi32_ps(isum), _mm512_setzero_ps());
        if (F::kMins) s = _mm512_fmadd_ps(scales.m, _mm512_cvtepi32_ps(scales.dot_mins(x[n][c])), s);
        f[n] = _mm512_fmadd_ps(_mm512_set1_ps(x[n][c].scale), s, f[n]);
      }
    } else {
      RunScales<F> scales;
      scales.load(rows, runs);
      for (int n = 0; n < N; n++) {
        const int16_t *of = kSums == 16 ? x[n][c].sums16 : x[n][c].sums32;
        __m512i sums[kSums];
        turn_sums(parts[n], sums);
        __m512 s = _mm512_setzero_ps();
        for (int j = 0; j < runs; j++) {
          const __m512i isum = F::kLowest ? _mm512_add_epi32(sums[j], _mm512_set1_epi32(F::kLowest * of[j])) : sums[j];
          s = _mm512_fmadd_ps(scales.d(j), _mm512_cvtepi32_ps(isum), s);
          if (F::kOffset) s = _mm512_fmadd_ps(scales.m(j), _mm512_set1_ps(of[j]), s);
        }
        f[n] = _mm512_fmadd_ps(_mm512_set1_ps(x[n][c].scale), s, f[n]);
      }
    }
    for (int l = 0; l < kLanes; l++) rows[l] += kStep;
  }
}

template <class F, int N>
void multiply_rows(const MatmulTask &task, int64_t t) {
  const Chunk *x[N];
  for (int n = 0; n < N; n++) x[n] = static_cast<const Chunk *>(task.x) + source_row(task, t + n) * task.x_stride;
  const int64_t apart = (task.rows + kLanes - 1) / kLanes;
  for (int64_t r = 0; r < apart; r++) {
    __m512 f[N];
    multiply_rows<F, N>(task, r, apart, x, f);
    for (int n = 0; n < N; n++) {
      float *y = task.y + (t + n) * task.y_stride;
      alignas(64) float lanes[kLanes];
      _mm512_store_ps(lanes, f[n]);
      for (int64_t l = 0; r + l * apart < task.rows; l++) y[r + l * apart] = lanes[l];
    }
  }
}

template <class F>
void matmul_rows(const MatmulTask &task) {
  int64_t t = 0;
  for (; t + 2 <= task.tokens; t += 2) multiply_rows<F, 2>(task, t);
  if (t < task.tokens) multiply_rows<F, 1>(task, t);
  add_bias(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
