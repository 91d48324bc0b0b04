// F16 and BF16 weights on processors with AMX, for any number of tokens: sixteen weight rows are the A tiles, up to sixteen
// tokens side by side the B tiles. A number is the sum of two bf16 numbers: an F16 weight exactly, an activation to 2^-17.
#include "matmul_tiles.h"
#include "table.h"

#if defined(__AMX_BF16__)

#include "amx_tiles.h"

namespace halflap::cpu::HALFLAP_ISA {

namespace {

constexpr int kDepth = 32;        // of K in a tile
constexpr int kMostDepth = 512;   // of K in a pass
constexpr int kPassGroups = 8;    // groups of 16 tokens per pass: they stay in the second cache

struct alignas(64) Work {
  uint16_t planes[2][2][kBlockRows * kMostDepth];  // of weights: this pass and the next, upper and lower parts
  float sums[kPassGroups][2][kBlockRows][kTileTokens];  // of products with upper and with lower parts of weights
};
static_assert(sizeof(Work) <= kMatmulScratch);

// 32 floats cut to bf16, and rounded to the nearest.
HALFLAP_INLINE __m512i cut(__m512 a, __m512 b) {
  alignas(64) static constexpr auto kOdd = [] {
    struct {
      uint16_t v[32];
    } order{};
    for (int i = 0; i < 32; i++) order.v[i] = static_cast<uint16_t>(2 * i + 1);
    return order;
  }();
  return _mm512_permutex2var_epi16(_mm512_castps_si512(a), _mm512_load_si512(kOdd.v), _mm512_castps_si512(b));
}
HALFLAP_INLINE __m512i rounded(__m512 a, __m512 b) { return (__m512i)_mm512_cvtne2ps_pbh(b, a); }

// What one of two vectors of bf16 leaves of the floats it was made of; nothing of infinities.
HALFLAP_INLINE __m512 rest(__m512 x, __m512i both, int which) {
  const __m256i half = which ? _mm512_extracti64x4_epi64(both, 1) : _mm512_castsi512_si256(both);
  const __m512 upper = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  return _mm512_maskz_sub_ps(static_cast<__mmask16>(~_mm512_fpclass_ps_mask(upper, 0x18)), x, upper);
}

struct Half {
  static constexpr bool kTwoParts = true;
  static constexpr int kPass = 256;  // of K: both parts stay in the first cache
  // 32 elements, those in `some`. Its infinities become NaN.
  static HALFLAP_INLINE void unpack(const uint8_t *from, __mmask32 some, uint16_t *upper, uint16_t *lower) {
    const __m512i both = _mm512_maskz_loadu_epi16(some, from), mask = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    const __m512 a = _mm512_cvtph_ps(_mm512_castsi512_si256(both)), b = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1));
    const auto rest_of = [&](__m512 x) { return _mm512_sub_ps(x, _mm512_and_ps(x, _mm512_castsi512_ps(mask))); };
    _mm512_store_si512(upper, cut(a, b));
    _mm512_store_si512(lower, cut(rest_of(a), rest_of(b)));
  }
};

struct BHalf {
  static constexpr bool kTwoParts = false;
  static constexpr int kPass = kMostDepth;
  static HALFLAP_INLINE void unpack(const uint8_t *from, __mmask32 some, uint16_t *upper, uint16_t *) {
    _mm512_store_si512(upper, _mm512_maskz_loadu_epi16(some, from));
  }
};

// 32 weight rows × some of K × (16 or 32) tokens.
struct Pass {
  const uint8_t *upper;  // A tiles: rows `stride` bytes apart
  const uint8_t *lower;
  int64_t stride;
  int64_t tiles;         // of K
  const uint16_t *x[2];  // B tiles of each group
  int64_t x_tile;        // elements of a B tile
  float (*sums[2])[kBlockRows][kTileTokens];  // of each group
  int groups;
  bool first;

  const uint16_t *of(int group, int64_t tile, int part) const { return x[group] + (2 * tile + part) * x_tile; }
  int64_t x_row() const { return x_tile / 16 * 2; }  // bytes
};

// Tiles 0-3 are sums: the first two of rows 0 and 16.
template <int First>
HALFLAP_INLINE void begin_sums(const float (*sums)[kTileTokens], bool first) {
  clear_tile<First>();
  clear_tile<First + 1>();
  if (first) return;
  load_tile<First>(sums[0], 64);
  load_tile<First + 1>(sums[16], 64);
}

template <int First>
HALFLAP_INLINE void end_sums(float (*sums)[kTileTokens]) {
  store_tile<First>(sums[0]);
  store_tile<First + 1>(sums[16]);
}

template <int First>
HALFLAP_INLINE void load_weights(const uint8_t *part, int64_t tile, int64_t stride) {
  load_tile<First>(part + 2 * kDepth * tile, stride);
  load_tile<First + 1>(part + 2 * kDepth * tile + 16 * stride, stride);
}

// BF16: one or two groups.
HALFLAP_INLINE void multiply_whole(const Pass &p) {
  begin_sums<0>(p.sums[0][0], p.first);
  if (p.groups == 2) begin_sums<2>(p.sums[1][0], p.first);
  for (int64_t k = 0; k < p.tiles; k++) {
    load_weights<4>(p.upper, k, p.stride);
    for (int part = 0; part < 2; part++) {
      load_tile<6>(p.of(0, k, part), p.x_row());
      multiply_bf16_tiles<0, 4, 6>();
      multiply_bf16_tiles<1, 5, 6>();
      if (p.groups == 1) continue;
      load_tile<7>(p.of(1, k, part), p.x_row());
      multiply_bf16_tiles<2, 4, 7>();
      multiply_bf16_tiles<3, 5, 7>();
    }
  }
  end_sums<0>(p.sums[0][0]);
  if (p.groups == 2) end_sums<2>(p.sums[1][0]);
}

// F16: one group; four sums, so that no product waits for the one before. `meanwhile` is called after each 32 of K.
template <class Meanwhile>
HALFLAP_INLINE void multiply_parts(const Pass &p, Meanwhile meanwhile) {
  begin_sums<0>(p.sums[0][0], p.first);
  begin_sums<2>(p.sums[0][1], p.first);
  for (int64_t k = 0; k < p.tiles; k++) {
    load_tile<7>(p.of(0, k, 0), p.x_row());
    load_weights<4>(p.upper, k, p.stride);
    multiply_bf16_tiles<0, 4, 7>();
    multiply_bf16_tiles<1, 5, 7>();
    load_tile<6>(p.lower + 2 * kDepth * k, p.stride);
    multiply_bf16_tiles<2, 6, 7>();
    load_tile<6>(p.lower + 2 * kDepth * k + 16 * p.stride, p.stride);
    multiply_bf16_tiles<3, 6, 7>();
    load_tile<7>(p.of(0, k, 1), p.x_row());
    multiply_bf16_tiles<0, 4, 7>();
    multiply_bf16_tiles<1, 5, 7>();
    multiply_bf16_tiles<3, 6, 7>();
    load_tile<6>(p.lower + 2 * kDepth * k, p.stride);
    multiply_bf16_tiles<2, 6, 7>();
    meanwhile(k);
  }
  end_sums<0>(p.sums[0][0]);
  end_sums<2>(p.sums[0][1]);
}

// 32 rows from r0 times some groups of tokens, to w.sums.
template <class F>
HALFLAP_INLINE void multiply_rows(const MatmulTask &task, int64_t r0, int64_t columns, int64_t g0, int64_t n_groups, Work &w) {
  const int64_t rows = least(kBlockRows, task.rows - r0), passes = (task.width + F::kPass - 1) / F::kPass;
  const auto depth = [&](int64_t pass) { return least(F::kPass, task.width - pass * F::kPass); };
  const auto place = [&](int64_t pass) { return task.weight + r0 * task.row_bytes + pass * F::kPass * 2; };
  const auto in_place = [&](int64_t pass) { return !F::kTwoParts && rows == kBlockRows && depth(pass) % kDepth == 0; };
  constexpr int64_t kSlices = F::kPass / kDepth;  // rows of a pass are unpacked in as many slices as it has tiles
  const auto unpack = [&](int64_t pass, int64_t slice) {
    if (pass == passes || in_place(pass)) return;
    const int64_t n = depth(pass);
    for (int64_t r = slice * kBlockRows / kSlices; r < least(rows, (slice + 1) * kBlockRows / kSlices); r++)
      for (int64_t k = 0; k < n; k += kDepth)
        F::unpack(place(pass) + r * task.row_bytes + k * 2, n - k < kDepth ? (1u << (n - k)) - 1 : ~0u,
                  &w.planes[pass % 2][0][r * F::kPass + k], &w.planes[pass % 2][1][r * F::kPass + k]);
  };
  Pass p{};
  p.x_tile = 16 * columns * 2;
  for (int64_t slice = 0; slice < kSlices; slice++) unpack(0, slice);
  for (int64_t pass = 0; pass < passes; pass++) {
    p.upper = in_place(pass) ? place(pass) : reinterpret_cast<const uint8_t *>(w.planes[pass % 2][0]);
    p.lower = reinterpret_cast<const uint8_t *>(w.planes[pass % 2][1]);
    p.stride = in_place(pass) ? task.row_bytes : F::kPass * 2;
    p.tiles = half_tiles(depth(pass));
    p.first = pass == 0;
    int64_t unpacked = 0;
    for (int64_t g = 0; g < n_groups; g += p.groups) {
      p.groups = F::kTwoParts ? 1 : static_cast<int>(least(2, n_groups - g));
      for (int n = 0; n < p.groups; n++) {
        p.x[n] = task.halves + ((g0 + g + n) * half_tiles(task.width) + pass * kSlices) * 2 * p.x_tile;
        p.sums[n] = w.sums[g + n];
      }
      if constexpr (F::kTwoParts)
        multiply_parts(p, [&](int64_t) {
          if (unpacked < kSlices) unpack(pass + 1, unpacked++);
        });
      else
        multiply_whole(p);
    }
    while (unpacked < kSlices) unpack(pass + 1, unpacked++);
  }
}

template <class F>
void matmul(const MatmulTask &task) {
  Work &w = *reinterpret_cast<Work *>(task.scratch);
  const int64_t groups = (task.tokens + kTileTokens - 1) / kTileTokens, columns = least(task.tokens, kTileTokens);
  const auto c = static_cast<uint16_t>(4 * columns);
  // F16 puts weights into tiles 4 to 6 and activations into 7; BF16 weights into 4 and 5, activations into 6 and 7.
  const uint16_t six = F::kTwoParts ? 64 : c;
  configure({1, 0, {}, {c, c, c, c, 64, 64, six, c}, {16, 16, 16, 16, 16, 16, 16, 16}});
  if (task.rows < kBlockRows) memset(static_cast<void *>(w.planes), 0, sizeof w.planes);
  for (int64_t g0 = 0; g0 < groups; g0 += kPassGroups) {
    const int64_t n_groups = least(kPassGroups, groups - g0);
    for (int64_t r0 = 0; r0 < task.rows; r0 += kBlockRows) {
      multiply_rows<F>(task, r0, columns, g0, n_groups, w);
      for (int64_t g = 0; g < n_groups; g++) {
        if (F::kTwoParts)
          for (int r = 0; r < kBlockRows; r++)
            _mm512_store_ps(w.sums[g][0][r], _mm512_add_ps(_mm512_load_ps(w.sums[g][0][r]), _mm512_load_ps(w.sums[g][1][r])));
        write_totals(task, w.sums[g][0], r0, (g0 + g) * kTileTokens);
      }
    }
  }
  release();
}

void pack_halves(const float *const *rows, int64_t n_rows, int64_t columns, int64_t width, uint16_t *y) {
  const auto some = static_cast<__mmask16>((1u << columns) - 1);
  for (int64_t k = 0; k < width; k += kDepth) {
    __m512 upper[kTileTokens], lower[kTileTokens];
    for (int64_t t = 0; t < kTileTokens; t++) {
      const __m512 a = t < n_rows ? load_some(rows[t] + k, least(16, width - k)).v : _mm512_setzero_ps();
      const __m512 b = t < n_rows && width - k > 16 ? load_some(rows[t] + k + 16, least(16, width - k - 16)).v : _mm512_setzero_ps();
      const __m512i high = rounded(a, b);
      upper[t] = _mm512_castsi512_ps(high);
      lower[t] = _mm512_castsi512_ps(rounded(rest(a, high, 0), rest(b, high, 1)));
    }
    for (__m512 *part : {upper, lower}) {
      transpose(part);
      for (int i = 0; i < 16; i++, y += 2 * columns) _mm512_mask_storeu_ps(y, some, part[i]);
    }
  }
}

}  // namespace

void fill_matmul_bf16(Kernels &k) {
  k.pack_halves = pack_halves;
  k.matmul[static_cast<int>(Type::F16)] = matmul<Half>;
  k.matmul[static_cast<int>(Type::BF16)] = matmul<BHalf>;
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
