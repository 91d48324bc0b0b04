// Rotary positions of one token's row.
#include "simd.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

static void rope(const float *x, float *y, int64_t heads, int64_t head_dim, int64_t pairs, int64_t offset,
                 bool neighbours, const float *cos, const float *sin) {
  const bool apart = y != x;
  const int64_t end = head_dim - offset;  // of a head, from its first pair on
  x += offset;
  y += offset;
  for (int64_t h = 0; h < heads; h++, x += head_dim, y += head_dim) {
    if (apart)
      for (int64_t i = -offset; i < 0; i++) y[i] = x[i];
    if (neighbours) {
      for (int64_t i = 0; i < pairs; i++) {
        const float a = x[2 * i], b = x[2 * i + 1];
        y[2 * i] = a * cos[i] - b * sin[i];
        y[2 * i + 1] = b * cos[i] + a * sin[i];
      }
    } else {
      for_lanes(pairs, [&](int64_t i, int64_t n) {
        const Lanes a = load_some(x + i, n), b = load_some(x + pairs + i, n);
        const Lanes c = load_some(cos + i, n), s = load_some(sin + i, n);
        store_some(y + i, sub(mul(a, c), mul(b, s)), n);
        store_some(y + pairs + i, add(mul(b, c), mul(a, s)), n);
      });
    }
    if (apart)
      for (int64_t i = 2 * pairs; i < end; i++) y[i] = x[i];
  }
}

void fill_rope(Kernels &k) { k.rope = rope; }

}  // namespace halflap::cpu::HALFLAP_ISA
