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
struct Columns {
  Lanes change[V];  // what the newest token adds to a row per unit of its k
  Lanes share;      // what it leaves of the state
  Lanes by_k[V], by_q[V];

  HALFLAP_INLINE Lanes moved(Lanes s, float k, int v) const { return fma(splat(k), change[v], mul(share, s)); }

  // Sums over the state as it stands before this token. Move: first by the token before, whose k is `before`.
  template <bool Move, bool Keep>
  HALFLAP_INLINE void pass(Rows from, Rows to, int64_t size, const float *before, const float *k, const float *q) {
    Lanes sum_k[V], sum_q[V];
    for (int v = 0; v < V; v++) sum_k[v] = sum_q[v] = zero();
    for (int64_t i = 0; i < size; i++)
      for (int v = 0; v < V; v++) {
        Lanes s = load(from.at<V>(i, v));
        if (Move) s = moved(s, before[i], v);
        if (Keep) store(to.at<V>(i, v), s);
        sum_k[v] = fma(s, splat(k[i]), sum_k[v]);
        sum_q[v] = fma(s, splat(q[i]), sum_q[v]);
      }
    for (int v = 0; v < V; v++) {
      by_k[v] = sum_k[v];
      by_q[v] = sum_q[v];
    }
  }
};

template <int V>
static void some_columns(const DeltaTask &task, int64_t column, int64_t some) {
  const int64_t size = task.size, last = task.tokens - 1;
  const Rows work{task.scratch, V * kLanes};
  Rows from = first_rows<V>(task.source ? task.source + column : nullptr, task.row_stride, size, some, task.scratch);
  Columns<V> now{};
  for (int64_t t = 0; t <= last; t++) {
    const float *k = task.k + t * task.qk_stride, *q = task.q + t * task.qk_stride;
    if (t) {
      now.template pass<true, true>(work, work, size, k - task.qk_stride, k, q);
    } else if (last) {
      now.template pass<false, true>(from, work, size, nullptr, k, q);
      from = work;
    } else {
      now.template pass<false, false>(from, work, size, nullptr, k, q);
    }
    now.share = exponential(splat(task.decay[t * task.rate_stride]));
    const Lanes beta = splat(task.beta[t * task.rate_stride]), both = splat(dot(k, q, size)), scale = splat(task.scale);
    for (int v = 0; v < V; v++) {
      const int64_t at = t * task.v_stride + column + v * kLanes;
      now.change[v] = mul(beta, sub(load_some(task.v + at, some), mul(now.share, now.by_k[v])));
      store_some(task.y + at, mul(scale, fma(both, now.change[v], mul(now.share, now.by_q[v]))), some);
    }
  }
  const float *k = task.k + last * task.qk_stride;
  const Rows to{task.target + column, task.row_stride};
  for (int64_t i = 0; i < size; i++)
    for (int v = 0; v < V; v++) store_some(to.at<V>(i, v), now.moved(load(from.at<V>(i, v)), k[i], v), some);
}

static void delta_rule(const DeltaTask &task) {
  if (task.tokens == 0) return copy_columns(task.source, task.target, task.size, task.row_stride, task.columns);
  for_columns(task.columns, [&](auto width, int64_t column, int64_t some) {
    some_columns<decltype(width)::vectors>(task, column, some);
  });
}

void fill_delta_rule(Kernels &k) { k.delta_rule = delta_rule; }

}  // namespace halflap::cpu::HALFLAP_ISA
