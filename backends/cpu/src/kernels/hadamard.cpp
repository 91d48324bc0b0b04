// Walsh-Hadamard transform in Sylvester order.
#include "table.h"

#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

static void hadamard(const float *x, float *y, int64_t width, int64_t block) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(block));
  for (int64_t from = 0; from < width; from += block) {
    float *to = y + from;
    for (int64_t i = 0; i < block; i++) to[i] = x[from + i] * scale;
    for (int64_t half = 1; half < block; half *= 2)
      for (int64_t i = 0; i < block; i += 2 * half)
        for (int64_t j = i; j < i + half; j++) {
          const float a = to[j], b = to[j + half];
          to[j] = a + b;
          to[j + half] = a - b;
        }
  }
}

void fill_hadamard(Kernels &k) { k.hadamard = hadamard; }

}  // namespace halflap::cpu::HALFLAP_ISA
