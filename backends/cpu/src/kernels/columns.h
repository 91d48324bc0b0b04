// Columns of a recurrent state, some vectors at a time: as many as leave room for what is summed beside them.
#pragma once
#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

#if defined(__AVX512F__)
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif

template <int N>
struct Width {
  static constexpr int vectors = N;
};

// f(Width<n>, first column, columns in the last vector) until all columns are done; what is left over comes one vector
// at a time. A column's arithmetic does not depend on which it came with.
template <class F>
HALFLAP_INLINE void for_columns(int64_t columns, F f) {
  int64_t c = 0;
  for (; c + kVectors * kLanes <= columns; c += kVectors * kLanes) f(Width<kVectors>{}, c, static_cast<int64_t>(kLanes));
  for (; c < columns; c += kLanes) f(Width<1>{}, c, least(kLanes, columns - c));
}

// Some rows of a state, `stride` apart.
struct Rows {
  float *base;
  int64_t stride;

  template <int V>
  HALFLAP_INLINE float *at(int64_t row, int v) const {
    return base + row * stride + v * kLanes;
  }
};

// Where the first pass finds the state: in place if its vectors are full, else copied to `work`; zero without a source.
template <int V>
HALFLAP_INLINE Rows first_rows(const float *source, int64_t stride, int64_t rows, int64_t some, float *work) {
  if (source && some == kLanes) return {const_cast<float *>(source), stride};
  for (int64_t i = 0; i < rows; i++)
    for (int v = 0; v < V; v++) store(work + (i * V + v) * kLanes, source ? load_some(source + i * stride, some) : zero());
  return {work, V * kLanes};
}

// What no token changes is copied.
HALFLAP_INLINE void copy_columns(const float *source, float *target, int64_t rows, int64_t stride, int64_t columns) {
  for (int64_t i = 0; i < rows; i++) {
    if (!source)
      memset(target + i * stride, 0, static_cast<size_t>(columns) * 4);
    else if (source != target)
      memcpy(target + i * stride, source + i * stride, static_cast<size_t>(columns) * 4);
  }
}

}  // namespace halflap::cpu::HALFLAP_ISA
