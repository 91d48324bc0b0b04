// Attention and row ops of every set against plain loops, with odd sizes and buffers that end where they should.
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

std::mt19937 random_bits;
SameBits same_bits;

std::vector<float> random_floats(int64_t n) {  // in [-2, 2)
  std::vector<float> v(static_cast<size_t>(n));
  for (float &x : v) x = static_cast<float>(static_cast<int32_t>(random_bits())) * 0x1p-30f;
  return v;
}

void close(const std::vector<float> &got, const std::vector<double> &want, double tolerance) {
  double peak = 1e-30, worst = 0;
  for (double w : want) peak = std::max(peak, std::fabs(w));
  for (size_t i = 0; i < want.size(); i++) worst = std::max(worst, std::fabs(want[i] - static_cast<double>(got[i])));
  CHECK(worst <= tolerance * peak);
  same_bits.check("row ops or attention", got.data(), got.size());
}

void test_rows(const Kernels &k) {
  for (int64_t n : {1, 15, 16, 17, 100}) {
    const std::vector<float> a = random_floats(n), b = random_floats(n);
    std::vector<float> y(static_cast<size_t>(n));
    std::vector<double> want(static_cast<size_t>(n));
    const auto check = [&](auto f) {
      for (size_t i = 0; i < want.size(); i++) want[i] = f(static_cast<double>(a[i]), static_cast<double>(b[i]));
      close(y, want, 1e-6);
    };
    k.add(a.data(), b.data(), y.data(), n);
    check([](double p, double q) { return p + q; });
    k.mul(a.data(), b.data(), y.data(), n);
    check([](double p, double q) { return p * q; });
    k.softcap(a.data(), 3, y.data(), n);
    check([](double p, double) { return 3 * std::tanh(p / 3); });
    k.glu(Activation::silu, a.data(), b.data(), y.data(), n);
    check([](double p, double q) { return p / (1 + std::exp(-p)) * q; });
    double squares = 0;
    for (float x : a) squares += static_cast<double>(x) * static_cast<double>(x);
    k.rms_norm(a.data(), b.data(), y.data(), 1, n, 1e-5f);
    check([&](double p, double q) { return p / std::sqrt(squares / static_cast<double>(n) + 1e-5f) * q; });
  }
}

void test_attention(const Kernels &k, KvType type, int64_t heads, int64_t dim, int64_t v_dim, int64_t window) {
  constexpr int64_t kTokens = 75, kBlocks = 3;
  KvLayer layer{};
  layer.k_width = dim;
  layer.v_width = v_dim;
  layer.k_type = layer.v_type = type;
  layer.v_offset = kBlockTokens * dim * kv_bytes(type);
  layer.block_bytes = layer.v_offset + kBlockTokens * v_dim * kv_bytes(type);
  std::vector<uint8_t> pool(static_cast<size_t>(kBlocks * layer.block_bytes));
  layer.base = pool.data();
  const int32_t blocks[kBlocks] = {2, 0, 1};
  std::vector<float> q = random_floats(kTokens * heads * dim), ks = random_floats(kTokens * dim), vs = random_floats(kTokens * v_dim);
  std::vector<int32_t> index(kTokens);
  for (int64_t t = 0; t < kTokens; t++) {
    index[static_cast<size_t>(t)] = static_cast<int32_t>(t);
    k.store_kv(layer, blocks[t / 32], t % 32, &ks[static_cast<size_t>(t * dim)], &vs[static_cast<size_t>(t * v_dim)]);
    k.load_kv(layer, blocks[t / 32], t % 32, &ks[static_cast<size_t>(t * dim)], &vs[static_cast<size_t>(t * v_dim)]);
  }
  std::vector<float> y(static_cast<size_t>(kTokens * heads * v_dim));
  std::vector<float> scratch(static_cast<size_t>(attention_scratch(heads, dim, v_dim)));
  const auto attend = [&](int64_t from, int64_t count) {
    AttentionTask task{};
    task.q = &q[static_cast<size_t>(from * heads * dim)];
    task.q_stride = heads * dim;
    task.y = &y[static_cast<size_t>(from * heads * v_dim)];
    task.y_stride = heads * v_dim;
    task.tokens = count;
    task.heads = heads;
    task.head_dim = dim;
    task.v_head_dim = v_dim;
    task.index = &index[static_cast<size_t>(from)];
    task.blocks = blocks;
    task.layer = layer;
    task.scale = 0.3f;
    task.window = window;
    task.scratch = scratch.data();
    k.attend(task);
  };
  for (int64_t t = 0; t < kTokens; t++) attend(t, 1);
  const std::vector<float> alone = y;
  const int64_t at_once = attention_tokens(heads);
  for (int64_t t = 0; t < kTokens; t += at_once) attend(t, std::min(at_once, kTokens - t));
  CHECK(memcmp(alone.data(), y.data(), y.size() * 4) == 0);

  std::vector<double> want(y.size());
  for (int64_t t = 0; t < kTokens; t++)
    for (int64_t h = 0; h < heads; h++) {
      std::vector<double> weights;
      double total = 0;
      const int64_t low = window ? std::max<int64_t>(0, t - window + 1) : 0;
      for (int64_t s = low; s <= t; s++) {
        double score = 0;
        for (int64_t i = 0; i < dim; i++)
          score += static_cast<double>(q[static_cast<size_t>((t * heads + h) * dim + i)]) *
                   static_cast<double>(ks[static_cast<size_t>(s * dim + i)]);
        weights.push_back(std::exp(0.3f * score));
        total += weights.back();
      }
      for (int64_t s = low; s <= t; s++)
        for (int64_t i = 0; i < v_dim; i++)
          want[static_cast<size_t>((t * heads + h) * v_dim + i)] +=
              weights[static_cast<size_t>(s - low)] / total * static_cast<double>(vs[static_cast<size_t>(s * v_dim + i)]);
    }
  close(y, want, 1e-5);
}

}  // namespace

int main() {
  for (const Kernels *k : sets()) {
    random_bits.seed(2);
    same_bits.begin_set(k->name);
    test_rows(*k);
    for (KvType type : {KvType::f32, KvType::f16, KvType::bf16})
      for (int64_t window : {0, 1, 33}) {
        test_attention(*k, type, 8, 64, 64, window);
        test_attention(*k, type, 3, 7, 5, window);
        test_attention(*k, type, 1, 80, 48, window);
      }
  }
  same_bits.print();
  return 0;
}
