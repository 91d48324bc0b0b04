// delta_rule, token by token: one pass over the state per token moves it on by the token before and sums what k and q
// read of it, in ascending order of rows. docs/adr/0009 says why there is no chunked form.
#include "columns.h"
#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

static float dot(const float *a, const float *b, int64_t n) {
  Lanes total = zero();
  for_lanes(n, [&](int64_t i, int64_t some) { total = fma(load_some(a + i, some), load_some(b + i, some), total); });
  return sum(total);
}

template <int V>
static void some_columns(const DeltaTask &task, int64_t column, int64_t some) {
  constexpr int64_t wide = V * kLanes;
  const int64_t size = task.size, last = task.tokens - 1;
  float *work = task.scratch;  // (size, wide): the state between tokens
  const float *from = task.source ? task.source + column : nullptr;
  int64_t stride = task.row_stride;
  Lanes change[V], share = zero();  // what the newest token adds to a row per unit of its k; what it leaves of the state
  const auto moved = [&](const Lanes s, float k, int v) { return fma(splat(k), change[v], mul(share, s)); };
  const auto read = [&](int64_t i, int v) {
    if (!from) return zero();
    return V == 1 && stride != wide ? load_some(from + i * stride, some) : load(from + i * stride + v * kLanes);
  };
  for (int64_t t = 0; t <= last; t++) {
    const float *k = task.k + t * task.qk_stride, *q = task.q + t * task.qk_stride, *before = k - task.qk_stride;
    Lanes by_k[V], by_q[V];
    for (int v = 0; v < V; v++) by_k[v] = by_q[v] = zero();
    for (int64_t i = 0; i < size; i++)
      for (int v = 0; v < V; v++) {
        Lanes s = read(i, v);
        if (t) s = moved(s, before[i], v);
        if (last) store(work + i * wide + v * kLanes, s);
        by_k[v] = fma(s, splat(k[i]), by_k[v]);
        by_q[v] = fma(s, splat(q[i]), by_q[v]);
      }
    if (last) {
      from = work;
      stride = wide;
    }
    share = exponential(splat(task.decay[t * task.rate_stride]));
    const Lanes beta = splat(task.beta[t * task.rate_stride]), both = splat(dot(k, q, size)), scale = splat(task.scale);
    for (int v = 0; v < V; v++) {
      const float *value = task.v + t * task.v_stride + column + v * kLanes;
      change[v] = mul(beta, sub(load_some(value, some), mul(share, by_k[v])));
      store_some(task.y + t * task.v_stride + column + v * kLanes,
                 mul(scale, fma(both, change[v], mul(share, by_q[v]))), some);
    }
  }
  const float *k = task.k + last * task.qk_stride;
  for (int64_t i = 0; i < size; i++)
    for (int v = 0; v < V; v++)
      store_some(task.target + i * task.row_stride + column + v * kLanes, moved(read(i, v), k[i], v), some);
}

static void delta_rule(const DeltaTask &task) {
  if (task.tokens == 0) return copy_columns(task.source, task.target, task.size, task.row_stride, task.columns);
  for_columns(task.columns, [&](auto width, int64_t column, int64_t some) {
    some_columns<decltype(width)::vectors>(task, column, some);
  });
}

void fill_delta_rule(Kernels &k) { k.delta_rule = delta_rule; }

}  // namespace halflap::cpu::HALFLAP_ISA
