// ssm_scan, token by token: one pass over the state per token moves it on and sums what c reads of it, in ascending
// order of rows.
#include "columns.h"
#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

template <int V>
struct Columns {
  Lanes dt[V], added[V], kept[V], y[V];

  // AEach: rates (states, V · lanes), one per column and row of the state (Mamba 1); else `kept` holds for all rows.
  template <bool AEach>
  HALFLAP_INLINE void pass(Rows from, Rows to, int64_t states, const float *b, const float *c, const float *rates, int64_t some) {
    Lanes in[V], share[V], total[V];
    for (int v = 0; v < V; v++) {
      in[v] = added[v];
      share[v] = kept[v];
      total[v] = zero();
    }
    for (int64_t i = 0; i < states; i++)
      for (int v = 0; v < V; v++) {
        if (AEach) share[v] = exponential(mul(dt[v], load(rates + (i * V + v) * kLanes)));
        const Lanes s = fma(splat(b[i]), in[v], mul(share[v], load(from.at<V>(i, v))));
        if (V == 1)
          store_some(to.at<V>(i, v), s, some);
        else
          store(to.at<V>(i, v), s);
        total[v] = fma(s, splat(c[i]), total[v]);
      }
    for (int v = 0; v < V; v++) y[v] = total[v];
  }
};

template <int V, bool AEach>
static void some_columns(const ScanTask &task, int64_t column, int64_t some) {
  const int64_t states = task.states, last = task.tokens - 1;
  const Rows work{task.scratch, V * kLanes}, target{task.target + column, task.row_stride};
  float *rates = task.scratch + states * kStateColumns;
  if (AEach)
    for (int64_t i = 0; i < states; i++)
      for (int64_t c = 0; c < V * kLanes; c++)
        rates[i * V * kLanes + c] = column + c < task.columns ? task.a[(column + c) * states + i] : 0.0f;
  const auto each = [&](const float *p, bool one_each, int v) {
    return one_each ? load_some(p + column + v * kLanes, some) : splat(*p);
  };
  Rows from = first_rows<V>(task.source ? task.source + column : nullptr, task.row_stride, states, some, task.scratch);
  Columns<V> now{};
  for (int64_t t = 0; t <= last; t++) {
    Lanes x[V];
    for (int v = 0; v < V; v++) {
      x[v] = load_some(task.x + t * task.stride + column + v * kLanes, some);
      now.dt[v] = each(task.dt + t * task.dt_stride, task.dt_each, v);
      if (task.dt_bias) now.dt[v] = add(now.dt[v], each(task.dt_bias, task.dt_each, v));
      now.dt[v] = softplus(now.dt[v]);
      now.added[v] = mul(now.dt[v], x[v]);
      if (!AEach) now.kept[v] = exponential(mul(now.dt[v], splat(*task.a)));
    }
    const float *b = task.b + t * task.bc_stride, *c = task.c + t * task.bc_stride;
    now.template pass<AEach>(from, t < last ? work : target, states, b, c, rates, t < last ? kLanes : some);
    from = work;
    for (int v = 0; v < V; v++) {
      if (task.d) now.y[v] = fma(each(task.d, task.d_each, v), x[v], now.y[v]);
      store_some(task.y + t * task.stride + column + v * kLanes, now.y[v], some);
    }
  }
}

static void ssm_scan(const ScanTask &task) {
  if (task.tokens == 0) return copy_columns(task.source, task.target, task.states, task.row_stride, task.columns);
  for_columns(task.columns, [&](auto width, int64_t column, int64_t some) {
    if (task.a_each)
      some_columns<decltype(width)::vectors, true>(task, column, some);
    else
      some_columns<decltype(width)::vectors, false>(task, column, some);
  });
}

void fill_ssm(Kernels &k) { k.ssm_scan = ssm_scan; }

}  // namespace halflap::cpu::HALFLAP_ISA
