// Many tokens on processors with AMX: weight rows as signed bytes are the A tiles, as they lie; sixteen tokens side by
// side are the B tiles. Sums stay exact integers, so results are the bits of matmul_quant.h; only the lanes differ, which
// here are tokens.
//
// Levels times their integer sub-scales have up to 14 bits: two planes of bytes, value = 64 · high + low.
#include <type_traits>

#include "levels512.h"
#include "matmul_tiles.h"
#include "table.h"

#if defined(__AMX_INT8__)

#include "amx_tiles.h"

namespace halflap::cpu::HALFLAP_ISA {

namespace {

// Tiles 0-3 are sums; 4 and 5 are A (16 rows × K bytes), 6 and 7 are B (K/4 × 16 tokens).
constexpr TileConfig kWhole = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
constexpr TileConfig kOf32 = {1, 0, {}, {64, 64, 64, 64, 32, 32, 64, 64}, {16, 16, 16, 16, 16, 16, 8, 8}};
constexpr TileConfig kOf16 = {1, 0, {}, {64, 64, 64, 64, 16, 16, 64, 64}, {16, 16, 16, 16, 16, 16, 4, 4}};
template <class F>
constexpr const TileConfig &kConfig = F::kRun == kChunk ? kWhole : F::kRun == 32 ? kOf32 : kOf16;

// One chunk of 32 weight rows.
struct alignas(64) Planes {
  int8_t low[kBlockRows][kChunk];
  int8_t high[kBlockRows][kChunk];  // runs of 256 only
  float d[kMostRuns][kBlockRows];
  float m[kMostRuns][kBlockRows];
  int16_t mins[kBlockRows][16];
};

struct alignas(64) Work {
  Planes planes;
  int32_t sums[2][4][16][kTileTokens];          // tiles as stored: (row, token); two sets, see `pipeline`
  float partial[16][kTileTokens];               // S between halves of a chunk
  Totals totals;
};
static_assert(sizeof(Work) <= kMatmulScratch);

// 64 levels times their scales, as two planes. A 128-bit quarter of either vector of words has one sub-block's.
HALFLAP_INLINE void split(__m512i levels, int lowest, __m512i scale, int8_t *low, int8_t *high) {
  const __m512i zero = _mm512_setzero_si512(), base = _mm512_set1_epi16(static_cast<int16_t>(lowest)), six = _mm512_set1_epi16(63);
  const __m512i a = _mm512_mullo_epi16(_mm512_add_epi16(_mm512_unpacklo_epi8(levels, zero), base), scale);
  const __m512i b = _mm512_mullo_epi16(_mm512_add_epi16(_mm512_unpackhi_epi8(levels, zero), base), scale);
  _mm512_store_si512(low, _mm512_packus_epi16(_mm512_and_si512(a, six), _mm512_and_si512(b, six)));
  _mm512_store_si512(high, _mm512_packs_epi16(_mm512_srai_epi16(a, 6), _mm512_srai_epi16(b, 6)));
}

template <class F>
void unpack_planes(const MatmulTask &task, int64_t r0, int64_t chunk, int runs, Planes &p) {
  const int64_t valid = least(kBlockRows, task.rows - r0);
  for (int64_t r = 0; r < valid; r++) {
    const uint8_t *b = task.weight + (r0 + r) * task.row_bytes + chunk * (kChunk / F::kBlock) * F::kBytes;
    __m512i v[4];
    Wide<F>::levels(b, runs, v);
    if constexpr (kScaled<F>) {
      const SubScales sub = Wide<F>::scales(b);
      const __m512i four = F::kSub == 16 ? _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002,
                                                            0x0002000200020002, 0x0001000100010001, 0x0001000100010001, 0, 0)
                                         : _mm512_set_epi64(0x0001000100010001, 0x0001000100010001, 0x0001000100010001,
                                                            0x0001000100010001, 0, 0, 0, 0);
      for (int i = 0; i < 4; i++) {
        const __m512i order = _mm512_add_epi16(four, _mm512_set1_epi16(static_cast<int16_t>(i * 64 / kScaleRun<F>)));
        const __m512i scale = _mm512_permutexvar_epi16(order, _mm512_castsi256_si512(sub.scale));
        split(v[i], F::kLowest, scale, p.low[r] + 64 * i, p.high[r] + 64 * i);
      }
      if (F::kMins) _mm256_storeu_si256((__m256i *)p.mins[r], sub.mins);
    } else {
      for (int i = 0; i < 4; i++) _mm512_store_si512(p.low[r] + 64 * i, _mm512_add_epi8(v[i], _mm512_set1_epi8(F::kLowest)));
    }
    unpack_floats<F>(b, runs, &p.d[0][r], &p.m[0][r], kBlockRows);
  }
}

// What one set of tiles computes: 16 rows from r, tokens from group g, and of shorter runs those from `from`.
struct Item {
  int64_t r, g;
  int groups;  // runs of 256: 1 or 2
  int from, runs;
};

// -- runs of 256: 16 rows × (16 or 32) tokens × a whole chunk ---------------------------------------------------------------

template <class F>
struct Scaled {
  static HALFLAP_INLINE void multiply(const Work &w, const Item &item, const TileChunk *const *x) {
    clear_tile<0>();
    clear_tile<1>();
    clear_tile<2>();
    clear_tile<3>();
    for (int k = 0; k < kChunk; k += 64) {
      load_tile<4>(&w.planes.low[item.r][k], kChunk);
      load_tile<6>(x[0]->q[k / 4], 64);
      multiply_tiles<0, 4, 6>();
      load_tile<5>(&w.planes.high[item.r][k], kChunk);
      multiply_tiles<1, 5, 6>();
      if (item.groups == 1) continue;
      load_tile<7>(x[1]->q[k / 4], 64);
      multiply_tiles<2, 4, 7>();
      multiply_tiles<3, 5, 7>();
    }
  }

  static HALFLAP_INLINE void finish(Work &w, int set, const Item &item, const TileChunk *const *x, bool first) {
    constexpr int kPairs = F::kMins ? kChunk / F::kSub / 2 : 0;
    for (int n = 0; n < item.groups; n++) {
      __m512i of[kPairs ? kPairs : 1];
      for (int p = 0; p < kPairs; p++) of[p] = _mm512_load_si512(F::kSub == 16 ? x[n]->sums16[p] : x[n]->sums32[p]);
      const __m512 scale = _mm512_load_ps(x[n]->scale);
      for (int i = 0; i < 16; i++) {
        const int64_t r = item.r + i;
        const __m512i high = _mm512_slli_epi32(_mm512_load_si512(w.sums[set][2 * n + 1][i]), 6);
        const __m512i isum = _mm512_add_epi32(high, _mm512_load_si512(w.sums[set][2 * n][i]));
        __m512 s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.d[0][r]), _mm512_cvtepi32_ps(isum), _mm512_setzero_ps());
        if (F::kMins) {
          __m512i mins = _mm512_setzero_si512();
          for (int p = 0; p < kPairs; p++)
            mins = _mm512_dpwssd_epi32(mins, _mm512_set1_epi32(load32(&w.planes.mins[r][2 * p])), of[p]);
          s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.m[0][r]), _mm512_cvtepi32_ps(mins), s);
        }
        accumulate(w.totals[item.g + n][r], scale, s, first);
      }
    }
  }
};

// -- shorter runs: 16 rows × 16 tokens × four runs, a tile of sums for each --------------------------------------------------

template <class F>
struct Runs {
  template <int T, int A, int B>
  static HALFLAP_INLINE void multiply_run(const Work &w, const Item &item, const TileChunk *x) {
    clear_tile<T>();
    if (item.from + T >= item.runs) return;
    load_tile<A>(&w.planes.low[item.r][F::kRun * (item.from + T)], kChunk);
    load_tile<B>(x->q[F::kRun / 4 * (item.from + T)], 64);
    multiply_tiles<T, A, B>();
  }

  static HALFLAP_INLINE void multiply(const Work &w, const Item &item, const TileChunk *const *x) {
    multiply_run<0, 4, 6>(w, item, x[0]);
    multiply_run<1, 5, 7>(w, item, x[0]);
    multiply_run<2, 4, 6>(w, item, x[0]);
    multiply_run<3, 5, 7>(w, item, x[0]);
  }

  static HALFLAP_INLINE void finish(Work &w, int set, const Item &item, const TileChunk *const *x, bool first) {
    const int n = item.runs - item.from < 4 ? item.runs - item.from : 4;
    const __m512 scale = _mm512_load_ps(x[0]->scale);
    __m512 offsets[4] = {};
    if (F::kOffset)
      for (int j = 0; j < n; j++) {  // sums of pairs of blocks lie side by side
        const __m512i both = _mm512_load_si512(x[0]->sums32[(item.from + j) / 2]);
        offsets[j] = _mm512_cvtepi32_ps(_mm512_srai_epi32(j % 2 ? both : _mm512_slli_epi32(both, 16), 16));
      }
    for (int i = 0; i < 16; i++) {
      const int64_t r = item.r + i;
      __m512 s = item.from ? _mm512_load_ps(w.partial[i]) : _mm512_setzero_ps();
      for (int j = 0; j < n; j++) {
        const __m512 d = _mm512_set1_ps(w.planes.d[item.from + j][r]);
        s = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(_mm512_load_si512(w.sums[set][j][i])), s);
        if (F::kOffset) s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.m[item.from + j][r]), offsets[j], s);
      }
      if (item.from + 4 >= item.runs)
        accumulate(w.totals[item.g][r], scale, s, first);
      else
        _mm512_store_ps(w.partial[i], s);
    }
  }
};

// The vector units finish one set of sums while the tiles make the next.
template <class Kind>
HALFLAP_INLINE void pipeline(Work &w, const Item *items, int count, const TileChunk *x, int64_t n_chunks, bool first) {
  for (int i = 0; i <= count; i++) {
    const auto groups = [&](const Item &item, const TileChunk **pair) {
      pair[0] = x + item.g * n_chunks;
      pair[1] = pair[0] + n_chunks;
    };
    const TileChunk *pair[2];
    if (i < count) {
      groups(items[i], pair);
      Kind::multiply(w, items[i], pair);
    }
    if (i > 0) {
      groups(items[i - 1], pair);
      Kind::finish(w, (i - 1) % 2, items[i - 1], pair, first);
    }
    if (i < count) {
      store_tile<0>(w.sums[i % 2][0]);
      store_tile<1>(w.sums[i % 2][1]);
      store_tile<2>(w.sums[i % 2][2]);
      store_tile<3>(w.sums[i % 2][3]);
    }
  }
}

template <class F>
void matmul_tiles(const MatmulTask &task) {
  using Kind = std::conditional_t<F::kRun == kChunk, Scaled<F>, Runs<F>>;
  Work &w = *reinterpret_cast<Work *>(task.scratch);
  const int64_t n_chunks = chunks(task.width), groups = (task.tokens + kTileTokens - 1) / kTileTokens;
  configure(kConfig<F>);
  for (int64_t g0 = 0; g0 < groups; g0 += kTokenGroups) {
    const int64_t n_groups = least(kTokenGroups, groups - g0);
    for (int64_t r0 = 0; r0 < task.rows; r0 += kBlockRows) {
      const int64_t rows = least(kBlockRows, task.rows - r0);
      for (int64_t c = 0; c < n_chunks; c++) {
        const int runs = chunk_runs<F>(task.width, c);
        unpack_planes<F>(task, r0, c, runs, w.planes);
        Item items[2 * kMostRuns / 4 * kTokenGroups];
        int count = 0;
        const int64_t at_once = F::kRun == kChunk ? 2 : 1;
        for (int64_t g = 0; g < n_groups; g += at_once)
          for (int64_t r = 0; r < rows; r += 16)
            for (int from = 0; from < runs; from += 4)
              items[count++] = {r, g, static_cast<int>(least(at_once, n_groups - g)), from, runs};
        pipeline<Kind>(w, items, count, task.tiles + g0 * n_chunks + c, n_chunks, c == 0);
      }
      for (int64_t g = 0; g < n_groups; g++) write_totals(task, w.totals[g], r0, (g0 + g) * kTileTokens);
    }
  }
  release();
}

void (*few[kTypes])(const MatmulTask &);  // what serves few tokens

template <class F>
void matmul(const MatmulTask &task) {
  task.tiles && task.tokens > kTileTokens ? matmul_tiles<F>(task) : few[static_cast<int>(F::kType)](task);
}

template <class F>
void fill(Kernels &k) {
  few[static_cast<int>(F::kType)] = k.matmul[static_cast<int>(F::kType)];
  k.matmul[static_cast<int>(F::kType)] = matmul<F>;
}

}  // namespace

void fill_matmul_amx(Kernels &k) {
#define HALFLAP_FILL(name, block, bytes) fill<name>(k);
  HALFLAP_QUANTISED_TYPES(HALFLAP_FILL)
#undef HALFLAP_FILL
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
