// Several tokens with vpdpbusd: four bytes of a weight row, broadcast, times four of each of sixteen tokens; or eight bytes
// times eight of each of up to eight tokens (narrow). Sums are exact integers, so results are the bits of matmul_quant.h.
#pragma once
#include <type_traits>

#include "levels512.h"
#include "matmul_tiles.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

// How sums of level · activation meet the integer scale of their sub-block. vpdpwssd multiplies and adds in one
// instruction, if the sum fits int16: so it is taken over few enough elements, and levels may be centred, which is
// undone exactly by the activations' own sums.
template <class F, bool narrow>
struct Fold {
  static constexpr int kLaneShare = narrow ? 2 : 1;  // lanes that share a token's sum
  static constexpr int peak(int centre) {
    const int up = F::kHighest - centre, down = centre - F::kLowest;
    return up > down ? up : down;
  }
  static constexpr int longest(int centre) {  // elements of which a lane's sum fits int16; 0 if eight do not
    int n = kScaleRun<F>;
    while (n >= 8 * kLaneShare && n / kLaneShare * peak(centre) * 127 > 32767) n /= 2;
    return n >= 8 * kLaneShare ? n : 0;
  }
  static constexpr int instructions(int centre) {
    return longest(centre) ? kChunk / longest(centre) + (centre ? kChunk / kScaleRun<F> / 2 / kLaneShare : 0) : kChunk;
  }
  static constexpr int kMiddle = (F::kLowest + F::kHighest + 1) / 2;
  static constexpr int kCentre = kScaled<F> && instructions(kMiddle) < instructions(0) ? kMiddle : 0;
  static constexpr bool kWords = kScaled<F> && longest(kCentre) != 0;  // else vpmulld and vpaddd
  static constexpr int kElements = kWords ? longest(kCentre) : kScaled<F> ? kScaleRun<F> : F::kRun;
  static constexpr bool kPlain = F::kLowest == 0 && kCentre == 0;  // bytes are the levels: sums start at zero
  static constexpr int kBias = kPlain ? 0 : 128 + F::kLowest - kCentre;
};

// One chunk of a row.
struct alignas(64) LevelRow {
  uint8_t q[kChunk];    // level - centre + 128, or the level
  int32_t scale[16];    // of each sub-block, int16 with zeros above where vpdpwssd takes them
  int16_t mins[16];
  int16_t centre[16];   // scale · centre
  float d[kMostRuns];
  float m[8];           // offsets over -128, see TileChunk::start32
};

template <class F, bool narrow>
HALFLAP_INLINE void unpack_levels(const uint8_t *b, int runs, LevelRow &row) {
  using How = Fold<F, narrow>;
  __m512i v[4];
  Wide<F>::levels(b, runs, v);
  for (int i = 0; i < 4; i++)
    _mm512_store_si512(row.q + 64 * i, How::kBias ? _mm512_add_epi8(v[i], _mm512_set1_epi8(static_cast<int8_t>(How::kBias))) : v[i]);
  if constexpr (kScaled<F>) {
    const SubScales sub = Wide<F>::scales(b);
    _mm512_store_si512(row.scale, How::kWords ? _mm512_cvtepu16_epi32(sub.scale) : _mm512_cvtepi16_epi32(sub.scale));
    if (How::kCentre)
      _mm256_store_si256((__m256i *)row.centre, _mm256_mullo_epi16(sub.scale, _mm256_set1_epi16(How::kCentre)));
    if (F::kMins) _mm256_store_si256((__m256i *)row.mins, sub.mins);
    row.d[0] = F::d(b, 0);
    row.m[0] = F::m(b, 0);
  } else {
    constexpr int kRuns = F::kBlock / F::kRun;
    for (int j = 0; j < runs; j++) {
      const uint8_t *block = b + j / kRuns * F::kBytes;
      row.d[j] = F::d(block, j % kRuns);
      if (F::kOffset) row.m[j] = F::m(block, j % kRuns) * (-1.0f / 128);
    }
  }
}

// What the two lanes of a token hold, in the even one.
template <bool narrow>
HALFLAP_INLINE __m512i whole(__m512i v) {
  return narrow ? _mm512_add_epi32(v, _mm512_srli_epi64(v, 32)) : v;
}

// Four bytes of weights for every lane, or four each for even and odd lanes.
template <bool narrow>
HALFLAP_INLINE __m512i spread(const void *p) {
  if (!narrow) return _mm512_set1_epi32(load32(p));
  long long eight;
  memcpy(&eight, p, 8);
  return _mm512_set1_epi64(eight);
}

// The next chunk of a row, to the first cache.
template <class F>
HALFLAP_INLINE void fetch(const uint8_t *b) {
  for (int line = 0; line < kChunk / F::kBlock * F::kBytes; line += 64) _mm_prefetch((const char *)(b + line), _MM_HINT_T0);
}

// R rows × G groups of tokens × one chunk. Few tokens leave memory the slower part: the rows' next chunk, `ahead`, is
// fetched meanwhile.
template <class F, bool narrow, int R, int G>
HALFLAP_INLINE void multiply_levels(const LevelRow *w, const uint8_t *const *ahead, const TileChunk *const *x, int runs,
                                    float (*const *totals)[kTileTokens], bool first) {
  using How = Fold<F, narrow>;
  constexpr int E = How::kElements, kBytes = narrow ? 8 : 4;
  __m512i scaled[R][G] = {};  // isum of the chunk
  __m512 s[R][G] = {};        // S, where runs are shorter
  const int folds = kScaled<F> ? kChunk / E : runs;
  for (int e = 0; e < folds; e++) {
    if (G == 1 && e % (folds / R ? folds / R : 1) == 0) fetch<F>(ahead[e * R / folds]);
    __m512i sums[R][G];
    for (int g = 0; g < G; g++) {
      const void *start = E == 8 ? x[g]->start8[e] : E == 16 ? x[g]->start16[e & 15] : x[g]->start32[e & 7];
      for (int r = 0; r < R; r++) sums[r][g] = How::kPlain ? _mm512_setzero_si512() : _mm512_load_si512(start);
    }
#pragma GCC unroll 8
    for (int k = 0; k < E; k += kBytes) {
      __m512i tokens[G];
      for (int g = 0; g < G; g++) tokens[g] = _mm512_load_si512(x[g]->q[(e * E + k) / kBytes]);
      for (int r = 0; r < R; r++) {
        const __m512i levels = spread<narrow>(w[r].q + e * E + k);
        for (int g = 0; g < G; g++) sums[r][g] = _mm512_dpbusd_epi32(sums[r][g], levels, tokens[g]);
      }
    }
    if constexpr (kScaled<F>) {
      for (int r = 0; r < R; r++) {
        const __m512i scale = _mm512_set1_epi32(w[r].scale[e * E / kScaleRun<F>]);
        for (int g = 0; g < G; g++)
          scaled[r][g] = How::kWords ? _mm512_dpwssd_epi32(scaled[r][g], sums[r][g], scale)
                                     : _mm512_add_epi32(scaled[r][g], _mm512_mullo_epi32(sums[r][g], scale));
      }
    } else {
      __m512 offset[G] = {};
      if (F::kOffset)
        for (int g = 0; g < G; g++) offset[g] = _mm512_cvtepi32_ps(whole<narrow>(_mm512_load_si512(x[g]->start32[e])));
      for (int r = 0; r < R; r++)
        for (int g = 0; g < G; g++) {
          s[r][g] = _mm512_fmadd_ps(_mm512_set1_ps(w[r].d[e]), _mm512_cvtepi32_ps(whole<narrow>(sums[r][g])), s[r][g]);
          if (F::kOffset) s[r][g] = _mm512_fmadd_ps(_mm512_set1_ps(w[r].m[e]), offset[g], s[r][g]);
        }
    }
  }
  for (int g = 0; g < G; g++) {
    const __m512 scale = _mm512_load_ps(x[g]->scale);
    for (int r = 0; r < R; r++) {
      if constexpr (kScaled<F>) {
        constexpr int kPairs = kChunk / kScaleRun<F> / 2;
        const auto add_sums = [&](__m512i to, const int16_t *factors) {  // factor · the activations' sum, by sub-block
          for (int p = 0; p < kPairs / How::kLaneShare; p++)
            to = _mm512_dpwssd_epi32(to, _mm512_load_si512(kPairs == 8 ? x[g]->sums16[p] : x[g]->sums32[p & 3]),
                                     spread<narrow>(factors + p * kBytes / 2));
          return to;
        };
        if (How::kCentre) scaled[r][g] = add_sums(scaled[r][g], w[r].centre);
        s[r][g] = _mm512_fmadd_ps(_mm512_set1_ps(w[r].d[0]), _mm512_cvtepi32_ps(whole<narrow>(scaled[r][g])), _mm512_setzero_ps());
        if (F::kMins) {
          const __m512i mins = whole<narrow>(add_sums(_mm512_setzero_si512(), w[r].mins));
          s[r][g] = _mm512_fmadd_ps(_mm512_set1_ps(w[r].m[0]), _mm512_cvtepi32_ps(mins), s[r][g]);
        }
      }
      accumulate(totals[g][r], scale, s[r][g], first);
    }
  }
}

// Sums of rows × groups fill the registers and hide the multipliers' latency, with few loads for each.
constexpr int kTileGroups = 3;
template <int kGroups>
constexpr int kTileRows = kGroups == 1 ? 8 : 4;

struct alignas(64) LevelWork {
  LevelRow rows[kBlockRows];
  Totals totals;
};
static_assert(sizeof(LevelWork) <= kMatmulScratch && kBlockRows % kTileRows<1> == 0);

template <class F, bool narrow, int G>
void multiply_groups(LevelWork &w, int64_t rows, const uint8_t *const *ahead, const TileChunk *x, int64_t step, int64_t g, int runs, bool first) {
  const TileChunk *groups[G];
  for (int n = 0; n < G; n++) groups[n] = x + n * step;
  for (int64_t r = 0; r < rows; r += kTileRows<G>) {
    float(*totals[G])[kTileTokens];
    for (int n = 0; n < G; n++) totals[n] = w.totals[g + n] + r;
    multiply_levels<F, narrow, kTileRows<G>, G>(w.rows + r, ahead + r, groups, runs, totals, first);
  }
}

// Blocks of 32 rows: neighbours, or for few tokens rows that lie apart, see rows512.h.
template <class F, bool narrow>
void matmul_vnni(const MatmulTask &task) {
  LevelWork &w = *reinterpret_cast<LevelWork *>(task.scratch);
  constexpr int kStep = kChunk / F::kBlock * F::kBytes;
  const int64_t n_chunks = chunks(task.width), groups = (task.tokens + kTileTokens - 1) / kTileTokens;
  const int64_t blocks = (task.rows + kBlockRows - 1) / kBlockRows, apart = narrow ? blocks : 1;
  for (int64_t g0 = 0; g0 < groups; g0 += kTokenGroups) {
    const int64_t n_groups = least(kTokenGroups, groups - g0);
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t r0 = narrow ? block : block * kBlockRows;
      const int64_t valid = least(kBlockRows, (task.rows - r0 + apart - 1) / apart);
      const uint8_t *rows[kBlockRows];  // the last again, up to a whole tile
      for (int64_t r = 0; r < kBlockRows; r++) rows[r] = task.weight + (r0 + least(r, valid - 1) * apart) * task.row_bytes;
      for (int64_t c = 0; c < n_chunks; c++) {
        const int runs = chunk_runs<F>(task.width, c);
        for (int64_t r = 0; r < round_up(valid, kTileRows<1>); r++) {
          unpack_levels<F, narrow>(rows[r], runs, w.rows[r]);
          rows[r] += kStep;
        }
        int64_t g = 0;
        const auto strip = [&](auto count) {
          constexpr int G = decltype(count)::value;
          multiply_groups<F, narrow, G>(w, valid, rows, task.tiles + (g0 + g) * n_chunks + c, n_chunks, g, runs, c == 0);
          g += G;
        };
        if constexpr (!narrow) {
          while (n_groups - g == 3 || n_groups - g > 4) strip(std::integral_constant<int, kTileGroups>{});
          while (n_groups - g >= 2) strip(std::integral_constant<int, 2>{});
        }
        if (g < n_groups) strip(std::integral_constant<int, 1>{});
      }
      if (narrow)
        write_narrow(task, w.totals[0], r0, apart, valid);
      else
        for (int64_t g = 0; g < n_groups; g++) write_totals(task, w.totals[g], r0, (g0 + g) * kTileTokens);
    }
  }
}

template <class F>
void matmul_tiles(const MatmulTask &task) {
  task.tokens <= kNarrowTokens ? matmul_vnni<F, true>(task) : matmul_vnni<F, false>(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
