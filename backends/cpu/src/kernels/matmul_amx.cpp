// Many tokens on processors with AMX: weight rows as signed bytes are the A tiles, as they lie; sixteen tokens side by
// side are the B tiles. Sums stay exact integers, so results are the bits of matmul_quant.h; only the lanes differ, which
// here are tokens.
//
// A Scaled256 value times its sub-block's scale has up to 14 bits: two planes of bytes, value = 64 · high + low.
#include <type_traits>

#include "matmul_quant.h"
#include "table.h"

#if defined(__AMX_INT8__)

namespace halflap::cpu::HALFLAP_ISA {

namespace {

constexpr int kBlockRows = 32;     // weight rows unpacked together
constexpr int kTokenGroups = 32;   // groups of 16 tokens per pass: their accumulators stay in the second cache

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};
// Tiles 0-3 are sums; 4 and 5 are A (16 rows × K bytes), 6 and 7 are B (K/4 × 16 tokens). Constant: gcc 12's own
// intrinsic lets the compiler drop stores to a configuration built on the stack.
constexpr TileConfig kWhole = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
constexpr TileConfig kOf32 = {1, 0, {}, {64, 64, 64, 64, 32, 32, 64, 64}, {16, 16, 16, 16, 16, 16, 8, 8}};

HALFLAP_INLINE void configure(const TileConfig &config) { asm volatile("ldtilecfg %0" ::"m"(config) : "memory"); }
HALFLAP_INLINE void release() { asm volatile("tilerelease" ::: "memory"); }
template <int T>
HALFLAP_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"n"(T));
}
template <int T>
HALFLAP_INLINE void load_tile(const void *from, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"n"(T), "r"(from), "r"(stride) : "memory");
}
template <int T>
HALFLAP_INLINE void store_tile(void *to) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"n"(T), "r"(to), "r"(int64_t{64}) : "memory");
}
template <int C, int A, int B>
HALFLAP_INLINE void multiply_tiles() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(C), "n"(A), "n"(B));
}

// One chunk of 32 weight rows.
struct alignas(64) Planes {
  int8_t low[kBlockRows][kChunk];
  int8_t high[kBlockRows][kChunk];  // Scaled256 only
  float d[8][kBlockRows];
  float m[8][kBlockRows];  // minus dmin, or the offset
  int16_t mins[kBlockRows][16];
};

struct alignas(64) Work {
  Planes planes;
  int32_t sums[4][16][kTileTokens];             // tiles as stored: (row, token)
  float partial[16][kTileTokens];               // S between halves of a chunk
  float totals[kTokenGroups][kBlockRows][16];  // F: (group, row, token)
};
static_assert(sizeof(Work) <= kMatmulScratch);

template <class F>
void unpack_planes(const MatmulTask &task, int64_t r0, int64_t chunk, int blocks, Planes &p) {
  const int64_t valid = least(kBlockRows, task.rows - r0);
  for (int64_t r = 0; r < valid; r++) {
    alignas(64) int16_t values[kChunk];
    const uint8_t *b = task.weight + (r0 + r) * task.row_bytes + chunk * (kChunk / F::kBlock) * F::kBytes;
    for (int j = 0; j < blocks; j++) {
      float d = 0, m = 0;
      if constexpr (F::kBlock == kChunk) {
        F::decode(b, values, p.mins[r], d, m);
        m = -m;
      } else {
        F::decode(b + j * F::kBytes, values + 32 * j, d, m);
      }
      p.d[j][r] = d;
      p.m[j][r] = m;
    }
    if constexpr (F::kBlock == kChunk) {
      for (int i = 0; i < kChunk; i++) p.low[r][i] = static_cast<int8_t>(values[i] & 63);
      for (int i = 0; i < kChunk; i++) p.high[r][i] = static_cast<int8_t>(values[i] >> 6);
    } else {
      for (int i = 0; i < blocks * 32; i++) p.low[r][i] = static_cast<int8_t>(values[i]);
    }
  }
}

HALFLAP_INLINE __m512 accumulate(float *total, __m512 scale, __m512 s, bool first) {
  const __m512 f = _mm512_fmadd_ps(scale, s, first ? _mm512_setzero_ps() : _mm512_load_ps(total));
  _mm512_store_ps(total, f);
  return f;
}

// 16 rows × (16 or 32) tokens × 256 of a Scaled256 type.
template <class F, int G>
HALFLAP_INLINE void scaled_tile(Work &w, int64_t r, int64_t g, const TileChunk *const *x, bool first) {
  clear_tile<0>();
  clear_tile<1>();
  if (G == 2) {
    clear_tile<2>();
    clear_tile<3>();
  }
  for (int k = 0; k < kChunk; k += 64) {
    load_tile<4>(&w.planes.low[r][k], kChunk);
    load_tile<6>(x[0]->q[k / 4], 64);
    multiply_tiles<0, 4, 6>();
    load_tile<5>(&w.planes.high[r][k], kChunk);
    multiply_tiles<1, 5, 6>();
    if (G == 2) {
      load_tile<7>(x[1]->q[k / 4], 64);
      multiply_tiles<2, 4, 7>();
      multiply_tiles<3, 5, 7>();
    }
  }
  store_tile<0>(w.sums[0]);
  store_tile<1>(w.sums[1]);
  if (G == 2) {
    store_tile<2>(w.sums[2]);
    store_tile<3>(w.sums[3]);
  }
  constexpr int kPairs = F::kSub ? kChunk / (F::kSub ? F::kSub : 1) / 2 : 0;
  for (int n = 0; n < G; n++) {
    __m512i of[kPairs ? kPairs : 1];
    for (int p = 0; p < kPairs; p++) of[p] = _mm512_load_si512(F::kSub == 16 ? x[n]->sums16[p] : x[n]->sums32[p]);
    const __m512 scale = _mm512_load_ps(x[n]->scale);
    for (int i = 0; i < 16; i++) {
      const __m512i high = _mm512_slli_epi32(_mm512_load_si512(w.sums[2 * n + 1][i]), 6);
      const __m512i isum = _mm512_add_epi32(high, _mm512_load_si512(w.sums[2 * n][i]));
      __m512 s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.d[0][r + i]), _mm512_cvtepi32_ps(isum), _mm512_setzero_ps());
      if (F::kSub) {
        __m512i mins = _mm512_setzero_si512();
        for (int p = 0; p < kPairs; p++)
          mins = _mm512_dpwssd_epi32(mins, _mm512_set1_epi32(load32(&w.planes.mins[r + i][2 * p])), of[p]);
        s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.m[0][r + i]), _mm512_cvtepi32_ps(mins), s);
      }
      accumulate(w.totals[g + n][r + i], scale, s, first);
    }
  }
}

// 16 rows × 16 tokens × up to 8 blocks of 32, four blocks at a time.
template <class F>
HALFLAP_INLINE void block_tile(Work &w, int64_t r, int64_t g, const TileChunk *x, int blocks, bool first) {
  for (int from = 0; from < blocks; from += 4) {
    const int n = blocks - from < 4 ? blocks - from : 4;
    const auto one = [&](auto tile, auto a, auto b) {
      constexpr int kTile = decltype(tile)::value, kA = decltype(a)::value, kB = decltype(b)::value;
      if (kTile >= n) return;
      clear_tile<kTile>();
      load_tile<kA>(&w.planes.low[r][32 * (from + kTile)], kChunk);
      load_tile<kB>(x->q[8 * (from + kTile)], 64);
      multiply_tiles<kTile, kA, kB>();
    };
    one(std::integral_constant<int, 0>{}, std::integral_constant<int, 4>{}, std::integral_constant<int, 6>{});
    one(std::integral_constant<int, 1>{}, std::integral_constant<int, 5>{}, std::integral_constant<int, 7>{});
    one(std::integral_constant<int, 2>{}, std::integral_constant<int, 4>{}, std::integral_constant<int, 6>{});
    one(std::integral_constant<int, 3>{}, std::integral_constant<int, 5>{}, std::integral_constant<int, 7>{});
    store_tile<0>(w.sums[0]);
    if (n > 1) store_tile<1>(w.sums[1]);
    if (n > 2) store_tile<2>(w.sums[2]);
    if (n > 3) store_tile<3>(w.sums[3]);
    const __m512 scale = _mm512_load_ps(x->scale);
    __m512 offsets[4];
    for (int j = 0; j < n; j++)  // sums of pairs of blocks lie side by side
      if (F::kOffset) {
        const __m512i both = _mm512_load_si512(x->sums32[(from + j) / 2]);
        offsets[j] = _mm512_cvtepi32_ps(_mm512_srai_epi32(j % 2 ? both : _mm512_slli_epi32(both, 16), 16));
      }
    const bool last = from + 4 >= blocks;
    for (int i = 0; i < 16; i++) {
      float *partial = &w.partial[i][0];
      __m512 s = from ? _mm512_load_ps(partial) : _mm512_setzero_ps();
      for (int j = 0; j < n; j++) {
        s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.d[from + j][r + i]), _mm512_cvtepi32_ps(_mm512_load_si512(w.sums[j][i])), s);
        if (F::kOffset) s = _mm512_fmadd_ps(_mm512_set1_ps(w.planes.m[from + j][r + i]), offsets[j], s);
      }
      if (last)
        accumulate(w.totals[g][r + i], scale, s, first);
      else
        _mm512_store_ps(partial, s);
    }
  }
}

// (32 rows, 16 tokens) of totals to y[token][row].
HALFLAP_INLINE void write_totals(const MatmulTask &task, const Work &w, int64_t g, int64_t r0, int64_t t0) {
  const int64_t rows = least(kBlockRows, task.rows - r0), tokens = least(kTileTokens, task.tokens - t0);
  const __m512i column = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi32(16));
  for (int64_t t = 0; t < tokens; t++)
    for (int64_t r = 0; r < rows; r += kLanes) {
      Lanes v = {_mm512_i32gather_ps(column, &w.totals[g][r][t], 4)};
      const int64_t n = least(kLanes, rows - r);
      if (task.bias) v = add(v, load_some(task.bias + r0 + r, n));
      store_some(task.y + (t0 + t) * task.y_stride + r0 + r, v, n);
    }
}

template <class F>
void matmul_tiles(const MatmulTask &task) {
  Work &w = *reinterpret_cast<Work *>(task.scratch);
  const int64_t n_chunks = chunks(task.width), groups = (task.tokens + kTileTokens - 1) / kTileTokens;
  configure(F::kBlock == kChunk ? kWhole : kOf32);
  for (int64_t g0 = 0; g0 < groups; g0 += kTokenGroups) {
    const int64_t n_groups = least(kTokenGroups, groups - g0);
    for (int64_t r0 = 0; r0 < task.rows; r0 += kBlockRows) {
      for (int64_t c = 0; c < n_chunks; c++) {
        const int blocks = chunk_blocks<F>(task.width, c);
        unpack_planes<F>(task, r0, c, blocks, w.planes);
        const TileChunk *x = task.tiles + g0 * n_chunks + c;
        const int64_t row_tiles = task.rows - r0 > 16 ? 2 : 1;
        for (int64_t g = 0; g < n_groups; g++) {
          const TileChunk *pair[2] = {x + g * n_chunks, x + (g + 1) * n_chunks};
          for (int64_t r = 0; r < row_tiles; r++) {
            if constexpr (F::kBlock != kChunk)
              block_tile<F>(w, 16 * r, g, pair[0], blocks, c == 0);
            else if (g + 1 < n_groups)
              scaled_tile<F, 2>(w, 16 * r, g, pair, c == 0);
            else
              scaled_tile<F, 1>(w, 16 * r, g, pair, c == 0);
          }
          if (F::kBlock == kChunk) g++;
        }
      }
      for (int64_t g = 0; g < n_groups; g++) write_totals(task, w, g, r0, (g0 + g) * kTileTokens);
    }
  }
  release();
}

void pack_tiles(const Chunk *const *rows, int64_t n_rows, int64_t n_chunks, TileChunk *y) {
  for (int64_t c = 0; c < n_chunks; c++) {
    TileChunk &to = y[c];
    if (n_rows < kTileTokens) memset(static_cast<void *>(&to), 0, sizeof to);
    for (int64_t t = 0; t < n_rows; t++) {
      const Chunk &from = rows[t][c];
      for (int k = 0; k < kChunk / 4; k++) memcpy(to.q[k][t], from.q + 4 * k, 4);
      for (int p = 0; p < 4; p++) memcpy(to.sums32[p][t], from.sums32 + 2 * p, 4);
      for (int p = 0; p < 8; p++) memcpy(to.sums16[p][t], from.sums16 + 2 * p, 4);
      to.scale[t] = from.scale;
    }
  }
}

void (*few[kTypes])(const MatmulTask &);  // what serves tasks without tiles

template <class F, Type type>
void matmul(const MatmulTask &task) {
  task.tiles ? matmul_tiles<F>(task) : few[static_cast<int>(type)](task);
}

template <class F, Type type>
void fill(Kernels &k) {
  few[static_cast<int>(type)] = k.matmul[static_cast<int>(type)];
  k.matmul[static_cast<int>(type)] = matmul<F, type>;
}

}  // namespace

void fill_matmul_amx(Kernels &k) {
  k.pack_tiles = pack_tiles;
  fill<Q8_0, Type::Q8_0>(k);
  fill<Q4_0, Type::Q4_0>(k);
  fill<Q4_1, Type::Q4_1>(k);
  fill<Q5_0, Type::Q5_0>(k);
  fill<Q5_1, Type::Q5_1>(k);
  fill<IQ4_NL, Type::IQ4_NL>(k);
  fill<Q2_K, Type::Q2_K>(k);
  fill<Q3_K, Type::Q3_K>(k);
  fill<Q4_K, Type::Q4_K>(k);
  fill<Q5_K, Type::Q5_K>(k);
  fill<Q6_K, Type::Q6_K>(k);
  fill<IQ4_XS, Type::IQ4_XS>(k);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
