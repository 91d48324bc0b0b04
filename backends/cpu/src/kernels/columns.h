// Columns of a recurrent state, some vectors at a time: as many as leave room for what is summed beside them.
#pragma once
#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

#if defined(__AVX512F__)
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif

// f(Width<n>, first column, columns in the last vector) until all columns are done; what is left over comes one vector
// at a time. A column's arithmetic does not depend on which it came with.
template <int N>
struct Width {
  static constexpr int vectors = N;
};

template <class F>
HALFLAP_INLINE void for_columns(int64_t columns, F f) {
  int64_t c = 0;
  for (; c + kVectors * kLanes <= columns; c += kVectors * kLanes) f(Width<kVectors>{}, c, static_cast<int64_t>(kLanes));
  for (; c < columns; c += kLanes) f(Width<1>{}, c, least(kLanes, columns - c));
}

// The state as a pass reads it: rows of `stride`, or zero.
HALFLAP_INLINE void copy_columns(const float *source, float *target, int64_t rows, int64_t stride, int64_t columns) {
  for (int64_t i = 0; i < rows; i++) {
    if (!source)
      memset(target + i * stride, 0, static_cast<size_t>(columns) * 4);
    else if (source != target)
      memcpy(target + i * stride, source + i * stride, static_cast<size_t>(columns) * 4);
  }
}

}  // namespace halflap::cpu::HALFLAP_ISA
