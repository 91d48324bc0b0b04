// ssm_scan, token by token: one pass over the state per token moves it on and sums what c reads of it.
#include "columns.h"
#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

// AEach: a is a rate per column and row of the state (Mamba 1), else one for all.
template <int V, bool AEach>
static void some_columns(const ScanTask &task, int64_t column, int64_t some) {
  constexpr int64_t wide = V * kLanes;
  const int64_t states = task.states, last = task.tokens - 1;
  float *work = task.scratch, *rates = work + states * kStateColumns;  // (states, wide) both
  if (AEach)
    for (int64_t i = 0; i < states; i++)
      for (int64_t c = 0; c < wide; c++)
        rates[i * wide + c] = column + c < task.columns ? task.a[(column + c) * states + i] : 0.0f;
  const auto each = [&](const float *p, bool one_each, int v) {
    return one_each ? load_some(p + column + v * kLanes, some) : splat(*p);
  };
  for (int64_t t = 0; t <= last; t++) {
    const float *b = task.b + t * task.bc_stride, *c = task.c + t * task.bc_stride;
    Lanes x[V], dt[V], add_in[V], kept[V], y[V];
    for (int v = 0; v < V; v++) {
      x[v] = load_some(task.x + t * task.stride + column + v * kLanes, some);
      dt[v] = each(task.dt + t * task.dt_stride, task.dt_each, v);
      if (task.dt_bias) dt[v] = add(dt[v], each(task.dt_bias, task.dt_each, v));
      dt[v] = softplus(dt[v]);
      add_in[v] = mul(dt[v], x[v]);
      if (!AEach) kept[v] = exponential(mul(dt[v], splat(*task.a)));
      y[v] = zero();
    }
    const float *from = t ? work : task.source ? task.source + column : nullptr;
    float *to = t < last ? work : task.target + column;
    const int64_t from_stride = t ? wide : task.row_stride, to_stride = t < last ? wide : task.row_stride;
    for (int64_t i = 0; i < states; i++)
      for (int v = 0; v < V; v++) {
        if (AEach) kept[v] = exponential(mul(dt[v], load(rates + i * wide + v * kLanes)));
        const Lanes s = !from ? zero() : t ? load(from + i * from_stride + v * kLanes) : load_some(from + i * from_stride + v * kLanes, some);
        const Lanes moved = fma(splat(b[i]), add_in[v], mul(kept[v], s));
        if (t < last)
          store(to + i * to_stride + v * kLanes, moved);
        else
          store_some(to + i * to_stride + v * kLanes, moved, some);
        y[v] = fma(moved, splat(c[i]), y[v]);
      }
    for (int v = 0; v < V; v++) {
      if (task.d) y[v] = fma(each(task.d, task.d_each, v), x[v], y[v]);
      store_some(task.y + t * task.stride + column + v * kLanes, y[v], some);
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
