// Rows that stand for several tokens: a running softmax per element, and the scores by which such rows are chosen.
#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

// The running softmax of n elements: rows `peak`, `total`, `mixed`, each `stride` apart.
HALFLAP_INLINE void advance(float *state, int64_t stride, const float *gate, const float *bias, const float *value, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t some) {
    float *at = state + i;
    const Lanes g = add(load_some(gate + i, some), load_some(bias + i, some));
    const Lanes peak = load_some(at, some), total = load_some(at + stride, some), mixed = load_some(at + 2 * stride, some);
    const Lanes top = where_less(zero(), total, greater(peak, g), g);
    const Lanes fade = where_less(zero(), total, exponential(sub(peak, top)), zero()), weight = exponential(sub(g, top));
    store_some(at, top, some);
    store_some(at + stride, fma(total, fade, weight), some);
    store_some(at + 2 * stride, fma(mixed, fade, mul(weight, load_some(value + i, some))), some);
  });
}

static void compress(const CompressTask &task) {
  const int64_t n = task.elements, sets = task.overlap ? 2 : 1, width = task.width;
  float *state = task.scratch;  // (sets, 3, n): this window's, then the next one's
  for (int64_t i = 0; i < 3 * sets; i++) {
    if (task.source)
      memcpy(state + i * n, task.source + i * width, static_cast<size_t>(n) * 4);
    else
      memset(state + i * n, 0, static_cast<size_t>(n) * 4);
  }
  for (int64_t t = 0; t < task.tokens; t++) {
    const int64_t place = task.index[t] % task.rate, row = t * task.stride;
    const float *bias = task.bias + place * task.stride;
    if (place == 0) {
      if (task.overlap) memcpy(state, state + 3 * n, static_cast<size_t>(3 * n) * 4);
      memset(state + 3 * (sets - 1) * n, 0, static_cast<size_t>(3 * n) * 4);
    }
    const int64_t own = task.overlap ? width : 0;
    advance(state, n, task.gate + row + own, bias + own, task.kv + row + own, n);
    if (task.overlap) advance(state + 3 * n, n, task.gate + row, bias, task.kv + row, n);
    for_lanes(n, [&](int64_t i, int64_t some) {
      store_some(task.y + t * width + i, div(load_some(state + 2 * n + i, some), load_some(state + n + i, some)), some);
    });
  }
  for (int64_t i = 0; i < 3 * sets; i++) memcpy(task.target + i * width, state + i * n, static_cast<size_t>(n) * 4);
}

// y[j] = sum over heads, ascending, of weight · relu(q · key j).
static void index_scores(const float *q, const float *weights, int64_t heads, int64_t dim, const float *keys, float *y) {
  Lanes y0 = zero(), y1 = zero();
  for (int64_t h = 0; h < heads; h++, q += dim) {
    Lanes s0 = zero(), s1 = zero();
    for (int64_t d = 0; d < dim; d++) {
      s0 = fma(splat(q[d]), load(keys + d * kBlockTokens), s0);
      s1 = fma(splat(q[d]), load(keys + d * kBlockTokens + kLanes), s1);
    }
    y0 = fma(splat(weights[h]), greater(zero(), s0), y0);
    y1 = fma(splat(weights[h]), greater(zero(), s1), y1);
  }
  store(y, y0);
  store(y + kLanes, y1);
}

void fill_compress(Kernels &k) {
  k.compress = compress;
  k.index_scores = index_scores;
}

}  // namespace halflap::cpu::HALFLAP_ISA
