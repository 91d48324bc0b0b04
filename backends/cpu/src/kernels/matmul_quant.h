// Quantised weights times rounded activations.
//
// Output (row r, token t) is, for every type and however many tokens there are:
//   F = 0; for each chunk of 256 ascending: { S = 0; for each run ascending: S = fma(d, float(isum), S), then the
//   minimum's or offset's term; F = fma(activation scale, S, F) }
// with exact integer sums `isum`, rows in the lanes. So a row's bits never depend on its neighbours or on T.
#pragma once
#include "panel.h"

namespace halflap::cpu::HALFLAP_ISA {

template <class F>
HALFLAP_INLINE int chunk_runs(int64_t width, int64_t chunk) {
  return static_cast<int>(least(kChunk, width - chunk * kChunk) / F::kRun);
}

// d and m of each run of one row's chunk, `stride` apart.
template <class F>
HALFLAP_INLINE void unpack_floats(const uint8_t *b, int runs, float *d, float *m, int64_t stride) {
  constexpr int kRuns = F::kBlock / F::kRun;  // of a block
  for (int j = 0; j < runs; j += kRuns, b += F::kBytes)
    for (int i = 0; i < kRuns; i++) {
      d[(j + i) * stride] = F::d(b, i);
      m[(j + i) * stride] = F::m(b, i);
    }
}

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

#if defined(__AVX512F__)
constexpr int kTokenTile = 6;
#else
constexpr int kTokenTile = 2;
#endif

HALFLAP_INLINE int64_t source_row(const MatmulTask &task, int64_t t) { return task.gather ? task.gather[t] : t; }

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

HALFLAP_INLINE void add_bias(const MatmulTask &task) {
  if (!task.bias) return;
  for (int64_t t = 0; t < task.tokens; t++)
    for_lanes(task.rows, [&](int64_t r, int64_t n) {
      float *y = task.y + t * task.y_stride + r;
      store_some(y, add(load_some(y, n), load_some(task.bias + r, n)), n);
    });
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

// As core's decoders have it: at most one rounding, where a minimum or offset is added.
template <class F>
void dequantize_row(const uint8_t *row, int64_t width, float *y) {
  constexpr int kSub = F::kSub ? F::kSub : F::kRun < 32 ? F::kRun : 32;
  int8_t levels[F::kBlock];
  int16_t scales[F::kBlock / kSub], mins[F::kBlock / kSub];
  for (int64_t k = 0; k < width; k += F::kBlock, row += F::kBytes) {
    F::levels(row, levels);
    F::scales(row, scales);
    F::mins(row, mins);
    for (int j = 0; j < F::kBlock / kSub; j++) {
      const float d = F::d(row, j * kSub / F::kRun), m = F::m(row, j * kSub / F::kRun);
      const float scale = F::kSub ? d * static_cast<float>(scales[j]) : d;
      const float least = F::kMins ? m * static_cast<float>(mins[j]) : m;
      for (int i = j * kSub; i < (j + 1) * kSub; i++) {
        const float value = scale * static_cast<float>(levels[i]);
        y[k + i] = F::kMins || F::kOffset ? value + least : value;
      }
    }
  }
}

}  // namespace halflap::cpu::HALFLAP_ISA
