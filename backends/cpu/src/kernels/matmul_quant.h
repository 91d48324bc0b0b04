// Quantised weights times rounded activations.
//
// Output (row r, token t) is, for every type and however many tokens there are:
//   F = 0; for each chunk of 256 ascending: { S = 0; for each run ascending: S = fma(d, float(isum), S), then the
//   minimum's or offset's term; F = fma(activation scale, S, F) }
// with exact integer sums `isum`, rows in the lanes. So a row's bits never depend on its neighbours or on T.
#pragma once
#include "../formats/all.h"
#include "kernels.h"

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kMostRuns = kChunk / 16;  // runs of elements that share d, see formats/format.h

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

HALFLAP_INLINE int64_t source_row(const MatmulTask &task, int64_t t) { return task.gather ? task.gather[t] : t; }

HALFLAP_INLINE void add_bias(const MatmulTask &task) {
  if (!task.bias) return;
  for (int64_t t = 0; t < task.tokens; t++)
    for_lanes(task.rows, [&](int64_t r, int64_t n) {
      float *y = task.y + t * task.y_stride + r;
      store_some(y, add(load_some(y, n), load_some(task.bias + r, n)), n);
    });
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
