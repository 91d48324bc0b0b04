// One row at a time: sums, products, scales and caps.
#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

static void add_rows(const float *a, const float *b, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) { store_some(y + i, add(load_some(a + i, c), load_some(b + i, c)), c); });
}

static void mul_rows(const float *a, const float *b, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) { store_some(y + i, mul(load_some(a + i, c), load_some(b + i, c)), c); });
}

static void scale_row(const float *x, float factor, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) { store_some(y + i, mul(load_some(x + i, c), splat(factor)), c); });
}

static void shift_row(const float *x, float amount, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) { store_some(y + i, add(load_some(x + i, c), splat(amount)), c); });
}

static void accumulate(const float *x, float factor, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) {
    store_some(y + i, add(load_some(y + i, c), mul(load_some(x + i, c), splat(factor))), c);
  });
}

static void softcap_row(const float *x, float cap, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) {
    store_some(y + i, mul(splat(cap), tanh_lanes(div(load_some(x + i, c), splat(cap)))), c);
  });
}

void fill_elementwise(Kernels &k) {
  k.add = add_rows;
  k.mul = mul_rows;
  k.scale = scale_row;
  k.shift = shift_row;
  k.accumulate = accumulate;
  k.softcap = softcap_row;
}

}  // namespace halflap::cpu::HALFLAP_ISA
