// Many tokens on AVX2: four bytes of a weight row, broadcast, times four of each of eight tokens, which lie in the lanes.
// Sums are exact integers, so results are the bits of matmul_quant.h.
#pragma once
#include "rows256.h"

#if defined(__AVX2__) && !defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kTilesFrom = 2;     // tokens from which tiles are faster than one row after the other
constexpr int kHalfTokens = 8;    // half a TileChunk: the lanes of a vector
constexpr int kBlockRows = 16;    // weight rows unpacked together
constexpr int kTokenGroups = 32;  // groups of 16 tokens per pass: their totals stay in the second cache

// One chunk of a row.
struct alignas(64) LevelRow {
  uint8_t q[kChunk];     // see levels256.h
  int16_t scale[16][2];  // of each sub-block, twice
  int16_t base[16];      // scale · kBase
  int16_t mins[16];
  float d[kMostRuns];
  float m[8];
};

struct alignas(64) LevelWork {
  LevelRow rows[kBlockRows];
  float totals[kTokenGroups][kBlockRows][kTileTokens];  // F
};
static_assert(sizeof(LevelWork) <= kMatmulScratch);

template <class F>
HALFLAP_INLINE void unpack_levels(const uint8_t *b, int runs, LevelRow &row) {
  __m256i v[kVectors];
  Wide<F>::levels(b, runs, v);
  for (int i = 0; i < kVectors; i++) _mm256_store_si256((__m256i *)(row.q + 32 * i), v[i]);
  if constexpr (kScaled<F>) {
    const SubScales sub = Wide<F>::scales(b);
    const auto store_twice = [&](__m128i scales, int from) {
      const __m256i wide = _mm256_cvtepu16_epi32(scales);
      _mm256_store_si256((__m256i *)row.scale[from], _mm256_or_si256(wide, _mm256_slli_epi32(wide, 16)));
    };
    store_twice(_mm256_castsi256_si128(sub.scale), 0);
    if (F::kSub == 16) store_twice(_mm256_extracti128_si256(sub.scale, 1), 8);
    if (kBase<F> != 0)
      _mm256_store_si256((__m256i *)row.base, _mm256_mullo_epi16(sub.scale, _mm256_set1_epi16(kBase<F>)));
    if (F::kMins) _mm256_store_si256((__m256i *)row.mins, sub.mins);
    row.d[0] = F::d(b, 0);
    row.m[0] = F::m(b, 0);
  } else {
    constexpr int kRuns = F::kBlock / F::kRun;
    for (int j = 0; j < runs; j++) {
      const uint8_t *block = b + j / kRuns * F::kBytes;
      row.d[j] = F::d(block, j % kRuns);
      if (F::kOffset) row.m[j] = F::m(block, j % kRuns);
    }
  }
}

// One half's lanes of a TileChunk's row.
HALFLAP_INLINE __m256i half_of(const void *row, int half) {
  return _mm256_load_si256(static_cast<const __m256i *>(row) + half);
}
HALFLAP_INLINE __m256i spread(const void *p) { return _mm256_set1_epi32(load32(p)); }

// Here and now: left alone, gcc collects products to add them later, for which there are no registers.
HALFLAP_INLINE __m256i settled(__m256i v) {
  asm("" : "+x"(v));
  return v;
}

// kElements elements from `from` on of R rows and H halves, as sums that `take` (sum, row, half) adds up.
template <class F, int R, int H, int kElements, class Take>
HALFLAP_INLINE void sum_products(const LevelRow *w, const TileChunk &x, int from, Take take) {
  constexpr int kSteps = kElements / 4, kFits = kFit<F, !kFours>, kMost = kFits < kSteps ? kFits : kSteps;
  constexpr int kSums = kMost >= 8 ? 8 : kMost >= 4 ? 4 : kMost >= 2 ? 2 : 1;
#pragma GCC unroll 8
  for (int first = 0; first < kSteps; first += kSums) {
    __m256i sums[R][H];
#pragma GCC unroll 8
    for (int i = 0; i < kSums; i++) {
      const int k = from / 4 + first + i;
      __m256i tokens[H];
      for (int h = 0; h < H; h++) tokens[h] = half_of(x.q[k], h);
      for (int r = 0; r < R; r++) {
        const __m256i levels = spread(w[r].q + 4 * k);
        for (int h = 0; h < H; h++)
          sums[r][h] = settled(i ? add_products<F, !kFours>(sums[r][h], levels, tokens[h]) : first_products<F, !kFours>(levels, tokens[h]));
      }
    }
    for (int r = 0; r < R; r++)
      for (int h = 0; h < H; h++) take(sums[r][h], r, h);
  }
}

// R rows × H halves × one chunk.
template <class F, int R, int H>
HALFLAP_INLINE void multiply_levels(const LevelRow *w, const TileChunk &x, int runs, float (*totals)[kTileTokens], bool first) {
  __m256 s[R][H];
  if constexpr (kScaled<F>) {
    constexpr int kUnder = F::kSub ? F::kSub : 32, kPairs = kChunk / kUnder / 2;  // elements under one scale
    __m256i isum[R][H] = {};
    for (int j = 0; j < kChunk / kUnder; j++)
      sum_products<F, R, H, kUnder>(w, x, j * kUnder, [&](__m256i sum, int r, int h) {
        isum[r][h] = _mm256_add_epi32(isum[r][h], scaled<!kFours>(sum, spread(w[r].scale[j])));
      });
    const auto add_sums = [&](__m256i to, const int16_t *factors, int h) {  // factor · the activations' sum, by sub-block
      for (int p = 0; p < kPairs; p++) {
        const void *sums = kUnder == 16 ? x.sums16[p] : x.sums32[p & 3];
        to = _mm256_add_epi32(to, _mm256_madd_epi16(half_of(sums, h), spread(factors + 2 * p)));
      }
      return to;
    };
    for (int r = 0; r < R; r++)
      for (int h = 0; h < H; h++) {
        if (kBase<F> != 0) isum[r][h] = add_sums(isum[r][h], w[r].base, h);
        s[r][h] = _mm256_fmadd_ps(_mm256_set1_ps(w[r].d[0]), floats(isum[r][h]), _mm256_setzero_ps());
        if (F::kMins)
          s[r][h] = _mm256_fmadd_ps(_mm256_set1_ps(w[r].m[0]), floats(add_sums(_mm256_setzero_si256(), w[r].mins, h)), s[r][h]);
      }
  } else {
    for (int r = 0; r < R; r++)
      for (int h = 0; h < H; h++) s[r][h] = _mm256_setzero_ps();
    for (int j = 0; j < runs; j++) {
      __m256i isum[R][H], of[H];
      for (int h = 0; h < H; h++) {  // the activations' sum: -1/128 of what the tile has
        of[h] = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_srai_epi32(half_of(F::kRun == 16 ? x.start16[j] : x.start32[j & 7], h), 7));
        for (int r = 0; r < R; r++)
          isum[r][h] = kBase<F> != 0 ? _mm256_mullo_epi32(of[h], _mm256_set1_epi32(kBase<F>)) : _mm256_setzero_si256();
      }
      sum_products<F, R, H, F::kRun == 16 ? 16 : 32>(w, x, j * F::kRun, [&](__m256i sum, int r, int h) {
        isum[r][h] = _mm256_add_epi32(isum[r][h], whole<!kFours>(sum));
      });
      for (int r = 0; r < R; r++)
        for (int h = 0; h < H; h++) {
          s[r][h] = _mm256_fmadd_ps(_mm256_set1_ps(w[r].d[j]), floats(isum[r][h]), s[r][h]);
          if (F::kOffset) s[r][h] = _mm256_fmadd_ps(_mm256_set1_ps(w[r].m[j & 7]), floats(of[h]), s[r][h]);
        }
    }
  }
  for (int r = 0; r < R; r++)
    for (int h = 0; h < H; h++) {
      float *total = totals[r] + kHalfTokens * h;
      const __m256 before = first ? _mm256_setzero_ps() : _mm256_load_ps(total);
      _mm256_store_ps(total, _mm256_fmadd_ps(_mm256_load_ps(x.scale + kHalfTokens * h), s[r][h], before));
    }
}

// Sums of rows × halves fill half the registers.
template <int H>
constexpr int kTileRows = 8 / H;

// Blocks of sixteen rows that lie apart, see rows256.h.
template <class F>
void matmul_blocks(const MatmulTask &task) {
  LevelWork &work = *reinterpret_cast<LevelWork *>(task.scratch);
  constexpr int kStep = kChunk / F::kBlock * F::kBytes;
  const int64_t n_chunks = chunks(task.width), groups = (task.tokens + kTileTokens - 1) / kTileTokens;
  for (int64_t g0 = 0; g0 < groups; g0 += kTokenGroups) {
    const int64_t n_groups = least(kTokenGroups, groups - g0);
    const int64_t apart = (task.rows + kBlockRows - 1) / kBlockRows;
    for (int64_t r0 = 0; r0 < apart; r0++) {
      const int64_t valid = (task.rows - r0 + apart - 1) / apart, tiled = round_up(valid, kTileRows<1>);
      const uint8_t *rows[kBlockRows];  // the last again, up to a whole tile
      for (int64_t r = 0; r < kBlockRows; r++) rows[r] = task.weight + (r0 + least(r, valid - 1) * apart) * task.row_bytes;
      for (int64_t c = 0; c < n_chunks; c++) {
        const int runs = chunk_runs<F>(task.width, c);
        for (int64_t r = 0; r < tiled; r++) {
          unpack_levels<F>(rows[r], runs, work.rows[r]);
          rows[r] += kStep;
        }
        for (int64_t g = 0; g < n_groups; g++) {
          const auto multiply = [&](auto halves) {
            constexpr int H = decltype(halves)::value, R = kTileRows<H>;
            for (int64_t r = 0; r < tiled; r += R) {
              for (int i = 0; g == 0 && i < R; i++)  // the chunk after the next
                for (int line = 0; line < kStep; line += 64) _mm_prefetch((const char *)(rows[r + i] + kStep + line), _MM_HINT_T0);
              multiply_levels<F, R, H>(work.rows + r, task.tiles[(g0 + g) * n_chunks + c], runs, work.totals[g] + r, c == 0);
            }
          };
          if (task.tokens - (g0 + g) * kTileTokens <= kHalfTokens)
            multiply(std::integral_constant<int, 1>{});
          else
            multiply(std::integral_constant<int, 2>{});
        }
      }
      for (int64_t t = 0; t < least(n_groups * kTileTokens, task.tokens - g0 * kTileTokens); t++) {
        float *y = task.y + (g0 * kTileTokens + t) * task.y_stride + r0;
        const float(*totals)[kTileTokens] = work.totals[t / kTileTokens];
        for (int64_t r = 0; r < valid; r++) y[r * apart] = totals[r][t % kTileTokens];
      }
    }
  }
  add_bias(task);
}

template <class F>
void matmul_tiles(const MatmulTask &task) {
  task.tokens <= kNarrowTokens ? matmul_rows<F>(task) : matmul_blocks<F>(task);
}

inline void pack_tiles(const Chunk *const *rows, int64_t n_rows, int64_t n_chunks, bool narrow, TileChunk *y) {
  for (int64_t c = 0; c < n_chunks; c++) {
    TileChunk &to = y[c];
    if (narrow) {
      pack_strips(rows, n_rows, c, to);
      continue;
    }
    if (n_rows < kTileTokens) memset(static_cast<void *>(&to), 0, sizeof to);
    for (int64_t t = 0; t < n_rows; t++) {
      const Chunk &from = rows[t][c];
      for (int k = 0; k < kChunk / 4; k++) memcpy(to.q[k][t], from.q + 4 * k, 4);
      for (int p = 0; p < 8; p++) memcpy(to.sums16[p][t], from.sums16 + 2 * p, 4);
      for (int p = 0; p < 4; p++) memcpy(to.sums32[p][t], from.sums32 + 2 * p, 4);
      for (int j = 0; j < 16; j++) to.start16[j][t] = -128 * from.sums16[j];
      for (int j = 0; j < 8; j++) to.start32[j][t] = -128 * from.sums32[j];
      to.scale[t] = from.scale;
    }
  }
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
