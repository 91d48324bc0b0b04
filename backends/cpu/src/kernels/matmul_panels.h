// Without AVX2: 32 weight rows × 256 of K, unpacked in the order in which a set's integer products read them.
#pragma once
#include "matmul_quant.h"

#if !defined(__AVX2__)

namespace halflap::cpu::HALFLAP_ISA {

#if defined(__ARM_FEATURE_DOTPROD)

// Levels as bytes, multiplied in fours (vdotq) or eights (vmmlaq); then the sub-scales.
#if defined(__ARM_FEATURE_MATMUL_INT8)
constexpr int kDepth = 8;
#else
constexpr int kDepth = 4;
#endif

struct PanelIntegers {
  int8_t q[kChunk / kDepth][kPanelRows][kDepth];
  int32_t scales[kChunk / 16][kPanelRows];

  template <class F>
  HALFLAP_INLINE void pack_row(const uint8_t *b, int blocks, int r) {
    for (int j = 0; j < blocks; j++, b += F::kBytes) {
      int8_t levels[F::kBlock];
      F::levels(b, levels);
      for (int k = 0; k < F::kBlock / kDepth; k++) memcpy(q[j * (F::kBlock / kDepth) + k][r], levels + k * kDepth, kDepth);
      if constexpr (F::kSub > 0) {
        int16_t of[F::kBlock / F::kSub];
        F::scales(b, of);
        for (int s = 0; s < F::kBlock / F::kSub; s++) scales[s][r] = of[s];
      }
    }
  }

  // The exact sums of one run, for N tokens and 32 rows.
  template <class F, int N>
  HALFLAP_INLINE void sum_run(int run, const Chunk *const *x, Ints (*sums)[2]) const {
    constexpr int kAtOnce = F::kSub ? F::kSub : F::kRun;  // elements under one scale
    for (int half = 0; half < 2; half++) {
      for (int n = 0; n < N; n++) sums[n][half] = zero_ints();
      for (int k = run * F::kRun; k < (run + 1) * F::kRun; k += kAtOnce) {
        Ints part[N];
        sum_levels<kAtOnce, N>(k, 16 * half, x, part);
        for (int n = 0; n < N; n++)
          for (int i = 0; i < 4; i++) {
            if constexpr (F::kSub > 0)
              sums[n][half].v[i] = vmlaq_s32(sums[n][half].v[i], part[n].v[i], vld1q_s32(&scales[k / kAtOnce][16 * half + 4 * i]));
            else
              sums[n][half].v[i] = part[n].v[i];
          }
      }
    }
  }

 private:
#if defined(__ARM_FEATURE_MATMUL_INT8)
  // A product is of two rows and two tokens; a lone token is taken twice.
  template <int kElements, int N>
  HALFLAP_INLINE void sum_levels(int from, int row, const Chunk *const *x, Ints *part) const {
    static_assert(N <= 2);
    int32x4_t two[8];
    for (int i = 0; i < 8; i++) two[i] = vdupq_n_s32(0);
    for (int k = from; k < from + kElements; k += 8) {
      const int8x16_t tokens = vcombine_s8(vld1_s8(x[0]->q + k), vld1_s8(x[N - 1]->q + k));
      for (int i = 0; i < 8; i++) two[i] = vmmlaq_s32(two[i], vld1q_s8(q[k / 8][row + 2 * i]), tokens);
    }
    for (int i = 0; i < 4; i++) {
      part[0].v[i] = vuzp1q_s32(two[2 * i], two[2 * i + 1]);
      if constexpr (N == 2) part[1].v[i] = vuzp2q_s32(two[2 * i], two[2 * i + 1]);
    }
  }
#else
  template <int kElements, int N>
  HALFLAP_INLINE void sum_levels(int from, int row, const Chunk *const *x, Ints *part) const {
    for (int n = 0; n < N; n++) part[n] = zero_ints();
    for (int k = from; k < from + kElements; k += 4)
      for (int n = 0; n < N; n++) {
        const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(load32(x[n]->q + k)));
        for (int i = 0; i < 4; i++) part[n].v[i] = vdotq_s32(part[n].v[i], vld1q_s8(q[k / 4][row + 4 * i]), four);
      }
  }
#endif
};

#else

// Levels times their sub-scales as int16, multiplied in pairs.
struct PanelIntegers {
  int16_t q[kChunk / 2][kPanelRows][2];

  template <class F>
  HALFLAP_INLINE void pack_row(const uint8_t *b, int blocks, int r) {
    alignas(64) int16_t values[kChunk];
    for (int j = 0; j < blocks; j++) scaled_levels<F>(b + j * F::kBytes, values + j * F::kBlock);
    for (int k = 0; k < blocks * F::kBlock / 2; k++) memcpy(q[k][r], values + 2 * k, 4);
  }

  template <class F, int N>
  HALFLAP_INLINE void sum_run(int run, const Chunk *const *x, Ints (*sums)[2]) const {
    for (int n = 0; n < N; n++) sums[n][0] = sums[n][1] = zero_ints();
    for (int k = run * F::kRun / 2; k < (run + 1) * F::kRun / 2; k++)
      for (int n = 0; n < N; n++) {
        const Ints pair = splat_pair(x[n]->wide + 2 * k);
        sums[n][0] = dot_pairs(sums[n][0], q[k][0], pair);
        sums[n][1] = dot_pairs(sums[n][1], q[k][16], pair);
      }
  }
};

#endif

struct alignas(64) Panel {
  PanelIntegers integers;
  float d[kMostRuns][kPanelRows];
  float m[kMostRuns][kPanelRows];
  int16_t mins[8][kPanelRows][2];  // integer minima of pairs of sub-blocks
};
static_assert(kTaskRows / kPanelRows * sizeof(Panel) <= kMatmulScratch);

template <class F>
void unpack(const uint8_t *weight, int64_t row_bytes, int64_t rows, int64_t chunk, int runs, Panel &p) {
  if (rows < kPanelRows) memset(static_cast<void *>(&p), 0, sizeof p);
  for (int r = 0; r < least(rows, kPanelRows); r++) {
    const uint8_t *b = weight + r * row_bytes + chunk * (kChunk / F::kBlock) * F::kBytes;
    p.integers.pack_row<F>(b, runs * F::kRun / F::kBlock, r);
    unpack_floats<F>(b, runs, &p.d[0][r], &p.m[0][r], kPanelRows);
    if constexpr (F::kMins) {
      int16_t mins[kChunk / F::kSub];
      F::mins(b, mins);
      for (int k = 0; k < kChunk / F::kSub / 2; k++) memcpy(p.mins[k][r], mins + 2 * k, 4);
    }
  }
}

// N tokens × 32 rows × one chunk; y accumulates in memory between chunks.
template <class F, int N>
HALFLAP_INLINE void multiply(const Panel &p, int runs, const Chunk *const *x, float *const *y, int64_t rows, bool first) {
  Lanes s[N][2];
  for (int n = 0; n < N; n++) s[n][0] = s[n][1] = zero();
  for (int b = 0; b < runs; b++) {
    Ints sums[N][2];
    p.integers.sum_run<F, N>(b, x, sums);
    for (int n = 0; n < N; n++)
      for (int i = 0; i < 2; i++) {
        s[n][i] = fma(load(p.d[b] + 16 * i), to_float(sums[n][i]), s[n][i]);
        if (F::kOffset) s[n][i] = fma(load(p.m[b] + 16 * i), splat(x[n]->sums32[b]), s[n][i]);
      }
  }
  for (int n = 0; n < N; n++)
    for (int i = 0; i < 2; i++) {
      if constexpr (F::kMins) {
        Ints sums = zero_ints();
        const int16_t *of = F::kSub == 16 ? x[n]->sums16 : x[n]->sums32;
        for (int k = 0; k < kChunk / F::kSub / 2; k++)
          sums = dot_pairs(sums, p.mins[k][16 * i], splat_pair(of + 2 * k));
        s[n][i] = fma(load(p.m[0] + 16 * i), to_float(sums), s[n][i]);
      }
      const int64_t valid = least(kLanes, rows - 16 * i);
      if (valid <= 0) continue;
      const Lanes before = first ? zero() : load_some(y[n] + 16 * i, valid);
      store_some(y[n] + 16 * i, fma(splat(x[n]->scale), s[n][i], before), valid);
    }
}

constexpr int kTokenTile = 2;

template <class F, int N>
void multiply_tile(const MatmulTask &task, const Panel *panels, int64_t t, int64_t chunk, int runs) {
  const Chunk *x[N];
  for (int n = 0; n < N; n++) x[n] = static_cast<const Chunk *>(task.x) + source_row(task, t + n) * task.x_stride + chunk;
  for (int64_t r = 0; r < task.rows; r += kPanelRows) {
    float *y[N];
    for (int n = 0; n < N; n++) y[n] = task.y + (t + n) * task.y_stride + r;
    multiply<F, N>(panels[r / kPanelRows], runs, x, y, task.rows - r, chunk == 0);
  }
}

template <class F>
void matmul_panels(const MatmulTask &task) {
  Panel *panels = reinterpret_cast<Panel *>(task.scratch);  // (rows / 32)
  for (int64_t c = 0; c < chunks(task.width); c++) {
    const int runs = chunk_runs<F>(task.width, c);
    for (int64_t r = 0; r < task.rows; r += kPanelRows)
      unpack<F>(task.weight + r * task.row_bytes, task.row_bytes, task.rows - r, c, runs, panels[r / kPanelRows]);
    int64_t t = 0;
    for (; t + kTokenTile <= task.tokens; t += kTokenTile) multiply_tile<F, kTokenTile>(task, panels, t, c, runs);
    for (; t < task.tokens; t++) multiply_tile<F, 1>(task, panels, t, c, runs);
  }
  add_bias(task);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
