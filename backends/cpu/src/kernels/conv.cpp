// conv_state: channels in lanes, taps in ascending order; a row's arithmetic is the same wherever a chunk begins.
#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

static void conv_state(const ConvTask &task) {
  const int64_t n = task.channels, taps = task.taps, history = taps - 1, row = task.stride;
  float *weight = task.scratch, *old = weight + taps * n;  // (taps, n), and the rows before these tokens: (history, n)
  for (int64_t c = 0; c < n; c++)
    for (int64_t j = 0; j < taps; j++) weight[j * n + c] = task.weight[c * taps + j];
  for (int64_t j = 0; j < history; j++) {
    if (task.source)
      memcpy(old + j * n, task.source + j * row, static_cast<size_t>(n) * 4);
    else
      memset(old + j * n, 0, static_cast<size_t>(n) * 4);
  }
  const auto at = [&](int64_t t) { return t < 0 ? old + (history + t) * n : task.x + t * row; };
  for (int64_t t = 0; t < task.tokens; t++)
    for_lanes(n, [&](int64_t i, int64_t some) {
      Lanes y = zero();
      for (int64_t j = 0; j < taps; j++) y = fma(load_some(at(t - history + j) + i, some), load_some(weight + j * n + i, some), y);
      if (task.bias) y = add(y, load_some(task.bias + i, some));
      store_some(task.y + t * row + i, task.silu ? silu(y) : y, some);
    });
  for (int64_t j = 0; j < history; j++)
    memcpy(task.target + j * row, at(task.tokens - history + j), static_cast<size_t>(n) * 4);
}

void fill_conv(Kernels &k) { k.conv_state = conv_state; }

}  // namespace halflap::cpu::HALFLAP_ISA
