// conv_state, delta_rule and ssm_scan of every set against plain loops, in one piece and cut, in place and not.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "check.h"
#include "same_bits.h"
#include "sets.h"

using namespace halflap::cpu;

namespace {

using Floats = std::vector<float>;

std::mt19937 random_bits;
SameBits same_bits;

Floats random_floats(int64_t n, float low = -1, float high = 1) {
  Floats v(static_cast<size_t>(n));
  for (float &x : v) x = low + (high - low) * static_cast<float>(random_bits() >> 8) * 0x1p-24f;
  return v;
}

double wide(float x) { return static_cast<double>(x); }

void close(const Floats &got, const std::vector<double> &want) {
  double peak = 1e-30, worst = 0;
  for (double w : want) peak = std::max(peak, std::fabs(w));
  for (size_t i = 0; i < want.size(); i++) worst = std::max(worst, std::fabs(want[i] - wide(got[i])));
  CHECK(worst <= 1e-5 * peak);
}

constexpr int64_t kTokens = 13;
const std::vector<std::vector<int64_t>> kCuts{{0, 13}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, {0, 5, 5, 12, 13}};

// run(begin, end, source, target) over every way to cut the tokens; results and states must be equal bit by bit.
template <class F>
void cut(size_t state_size, const Floats *first, Floats &y, Floats &state, F run) {
  Floats whole;
  for (size_t way = 0; way < kCuts.size(); way++) {
    Floats now(state_size, NAN), next(state_size, NAN);  // fresh memory holds garbage
    const float *source = nullptr;
    if (first) {
      now = *first;
      source = now.data();
    }
    for (size_t i = 1; i < kCuts[way].size(); i++) {
      float *target = i % 2 ? next.data() : now.data();  // in place from time to time
      if (i % 3 == 0 && source) target = const_cast<float *>(source);
      run(kCuts[way][i - 1], kCuts[way][i], source, target);
      source = target;
    }
    const Floats ended(source, source + state_size);
    if (way == 0) {
      state = ended;
      whole = y;
      same_bits.check("results", y.data(), y.size());
      same_bits.check("state", state.data(), state.size());
    } else {
      CHECK(memcmp(ended.data(), state.data(), state_size * 4) == 0);
      CHECK(memcmp(y.data(), whole.data(), y.size() * 4) == 0);
    }
  }
}

void test_conv(const Kernels &k, int64_t n, int64_t taps, bool silu) {
  const int64_t stride = n + 3;
  const Floats x = random_floats(kTokens * stride), weight = random_floats(n * taps), bias = random_floats(n);
  Floats y(x.size()), state, scratch(static_cast<size_t>(conv_scratch(taps)));
  const size_t size = static_cast<size_t>((taps - 1) * stride);
  cut(size, nullptr, y, state, [&](int64_t begin, int64_t end, const float *source, float *target) {
    ConvTask task{};
    task.x = x.data() + begin * stride;
    task.y = y.data() + begin * stride;
    task.stride = stride;
    task.tokens = end - begin;
    task.channels = n;
    task.taps = taps;
    task.weight = weight.data();
    task.bias = bias.data();
    task.silu = silu;
    task.source = source;
    task.target = target;
    task.scratch = scratch.data();
    for (int64_t j = 0; j < taps - 1; j++)  // columns of other tasks: kept as they are
      for (int64_t c = n; c < stride; c++) target[j * stride + c] = 7;
    k.conv_state(task);
  });
  std::vector<double> want(y.size());
  for (int64_t t = 0; t < kTokens; t++)
    for (int64_t c = 0; c < n; c++) {
      double sum = wide(bias[static_cast<size_t>(c)]);
      for (int64_t j = 0; j < taps; j++)
        if (const int64_t row = t - taps + 1 + j; row >= 0)
          sum += wide(x[static_cast<size_t>(row * stride + c)]) * wide(weight[static_cast<size_t>(c * taps + j)]);
      want[static_cast<size_t>(t * stride + c)] = silu ? sum / (1 + std::exp(-sum)) : sum;
    }
  close(y, want);
}

void test_delta(const Kernels &k, int64_t size, int64_t n, bool fresh) {
  const Floats q = random_floats(kTokens * size), decay = random_floats(kTokens, -1, 0), beta = random_floats(kTokens, 0, 1);
  Floats keys = random_floats(kTokens * size), v = random_floats(kTokens * n), first = random_floats(size * n);
  for (float &x : keys) x /= std::sqrt(static_cast<float>(size));
  Floats y(v.size()), state, scratch(static_cast<size_t>(size * kStateColumns));
  const float scale = 0.3f;
  cut(first.size(), fresh ? nullptr : &first, y, state, [&](int64_t begin, int64_t end, const float *source, float *target) {
    for (int64_t from = 0; from < n; from += kStateColumns) {
      DeltaTask task{};
      task.q = q.data() + begin * size;
      task.k = keys.data() + begin * size;
      task.v = v.data() + begin * n + from;
      task.y = y.data() + begin * n + from;
      task.decay = decay.data() + begin;
      task.beta = beta.data() + begin;
      task.qk_stride = size;
      task.v_stride = task.row_stride = n;
      task.rate_stride = 1;
      task.tokens = end - begin;
      task.size = size;
      task.columns = std::min<int64_t>(kStateColumns, n - from);
      task.scale = scale;
      task.source = source ? source + from : nullptr;
      task.target = target + from;
      task.scratch = scratch.data();
      k.delta_rule(task);
    }
  });
  std::vector<double> s(first.size()), want(y.size());
  if (!fresh) std::copy(first.begin(), first.end(), s.begin());
  for (int64_t t = 0; t < kTokens; t++)
    for (int64_t c = 0; c < n; c++) {
      double read = 0;
      for (int64_t i = 0; i < size; i++) {
        double &cell = s[static_cast<size_t>(i * n + c)];
        cell *= std::exp(wide(decay[static_cast<size_t>(t)]));
        read += cell * wide(keys[static_cast<size_t>(t * size + i)]);
      }
      const double change = wide(beta[static_cast<size_t>(t)]) * (wide(v[static_cast<size_t>(t * n + c)]) - read);
      for (int64_t i = 0; i < size; i++) {
        double &cell = s[static_cast<size_t>(i * n + c)];
        cell += wide(keys[static_cast<size_t>(t * size + i)]) * change;
        want[static_cast<size_t>(t * n + c)] += cell * wide(q[static_cast<size_t>(t * size + i)]) * wide(scale);
      }
    }
  close(y, want);
  close(state, s);
}

void test_scan(const Kernels &k, int64_t states, int64_t n, bool each) {
  const int64_t rates = each ? n : 1;
  const Floats x = random_floats(kTokens * n), dt = random_floats(kTokens * rates, -3, 3), bias = random_floats(rates);
  const Floats b = random_floats(kTokens * states), c = random_floats(kTokens * states), d = random_floats(rates);
  const Floats a = random_floats(each ? n * states : 1, -2, -0.1f), first = random_floats(states * n);
  Floats y(x.size()), state, scratch(static_cast<size_t>(2 * states * kStateColumns));
  cut(first.size(), &first, y, state, [&](int64_t begin, int64_t end, const float *source, float *target) {
    for (int64_t from = 0; from < n; from += kStateColumns) {
      const int64_t rate = each ? from : 0;
      ScanTask task{};
      task.x = x.data() + begin * n + from;
      task.y = y.data() + begin * n + from;
      task.dt = dt.data() + begin * rates + rate;
      task.b = b.data() + begin * states;
      task.c = c.data() + begin * states;
      task.a = a.data() + rate * states;
      task.d = d.data() + rate;
      task.dt_bias = bias.data() + rate;
      task.dt_each = task.a_each = task.d_each = each;
      task.stride = task.row_stride = n;
      task.dt_stride = rates;
      task.bc_stride = task.states = states;
      task.tokens = end - begin;
      task.columns = std::min<int64_t>(kStateColumns, n - from);
      task.source = source ? source + from : nullptr;
      task.target = target + from;
      task.scratch = scratch.data();
      k.ssm_scan(task);
    }
  });
  std::vector<double> s(first.begin(), first.end()), want(y.size());
  for (int64_t t = 0; t < kTokens; t++)
    for (int64_t i = 0; i < n; i++) {
      const auto rate = [&](const Floats &values, int64_t row) { return wide(values[static_cast<size_t>(row * rates + (each ? i : 0))]); };
      const double step = std::log1p(std::exp(rate(dt, t) + rate(bias, 0))), in = wide(x[static_cast<size_t>(t * n + i)]);
      double &out = want[static_cast<size_t>(t * n + i)];
      out = rate(d, 0) * in;
      for (int64_t j = 0; j < states; j++) {
        double &cell = s[static_cast<size_t>(j * n + i)];
        cell = cell * std::exp(step * wide(a[static_cast<size_t>(each ? i * states + j : 0)])) +
               wide(b[static_cast<size_t>(t * states + j)]) * step * in;
        out += cell * wide(c[static_cast<size_t>(t * states + j)]);
      }
    }
  close(y, want);
  close(state, s);
}

}  // namespace

int main() {
  for (const Kernels *k : sets()) {
    random_bits.seed(3);
    same_bits.begin_set(k->name);
    for (int64_t n : {1, 16, 37, 256}) {
      test_conv(*k, n, 4, true);
      test_conv(*k, n, 2, false);
    }
    for (int64_t size : {1, 16, 33, 128})
      for (int64_t n : {1, 16, 33, 64, 80, 128}) {
        test_delta(*k, size, n, n % 2 == 0);
        test_scan(*k, size, n, false);
        test_scan(*k, size, n, true);
      }
  }
  same_bits.print();
  return 0;
}
