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
    k.glu(Activation::silu, 0, a.data(), b.data(), y.data(), n);
    check([](double p, double q) { return p / (1 + std::exp(-p)) * q; });
    double squares = 0;
    for (float x : a) squares += static_cast<double>(x) * static_cast<double>(x);
    k.rms_norm(a.data(), b.data(), y.data(), 1, n, 1e-5f);
    check([&](double p, double q) { return p / std::sqrt(squares / static_cast<double>(n) + 1e-5f) * q; });
  }
}

void test_hadamard(const Kernels &k) {
  for (int64_t block : {1, 2, 16, 64}) {
    const int64_t n = 3 * block;
    const std::vector<float> x = random_floats(n);
    std::vector<float> y(x.size());
    std::vector<double> want(x.size());
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = i / block * block; j < (i / block + 1) * block; j++)
        want[static_cast<size_t>(i)] += (__builtin_popcountll(static_cast<uint64_t>(i % block & j % block)) % 2 ? -1 : 1) *
                                        static_cast<double>(x[static_cast<size_t>(j)]) / std::sqrt(static_cast<double>(block));
    k.hadamard(x.data(), y.data(), n, block);
    close(y, want, 1e-6);
  }
}

void test_attention(const Kernels &k, KvType k_type, KvType v_type, int64_t heads, int64_t dim, int64_t v_dim, int64_t window) {
  constexpr int64_t kTokens = 280, kBlocks = 9;  // two spans
  KvLayer layer{};
  layer.k_width = dim;
  layer.v_width = v_dim;
  layer.k_type = k_type;
  layer.v_type = v_type;
  layer.v_offset = kv_codes(k_type, kBlockTokens * dim) + kv_scales(k_type, kBlockTokens * dim);
  layer.block_bytes = layer.v_offset + kv_codes(v_type, kBlockTokens * v_dim) + kv_scales(v_type, kBlockTokens * v_dim);
  std::vector<uint8_t> pool(static_cast<size_t>(kBlocks * layer.block_bytes), 0xff);  // what was never written is NaN
  layer.base = pool.data();
  int32_t blocks[kBlocks];
  for (int32_t b = 0; b < kBlocks; b++) blocks[b] = (b * 7 + 3) % static_cast<int32_t>(kBlocks);
  std::vector<float> q = random_floats(kTokens * heads * dim), ks = random_floats(kTokens * dim), vs = random_floats(kTokens * v_dim);
  std::vector<int32_t> index(kTokens);
  for (int64_t t = 0, count; t < kTokens; t += count) {  // runs of every length
    count = std::min({1 + t % 33, 32 - t % 32, kTokens - t});
    k.store_kv(layer, blocks[t / 32], t % 32, count, &ks[static_cast<size_t>(t * dim)], &vs[static_cast<size_t>(t * v_dim)]);
  }
  for (int64_t t = 0; t < kTokens; t++) {
    index[static_cast<size_t>(t)] = static_cast<int32_t>(t);
    k.load_kv(layer, blocks[t / 32], t % 32, &ks[static_cast<size_t>(t * dim)], &vs[static_cast<size_t>(t * v_dim)]);
  }
  std::vector<float> y(static_cast<size_t>(kTokens * heads * v_dim));
  std::vector<float> scratch(static_cast<size_t>(attention_scratch(heads, dim, v_dim)));
  const auto make = [&](int64_t from, int64_t count) {
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
    // A window's table begins at the first block that any query of the task still sees.
    task.first_token = window ? std::max<int64_t>(0, from - window + 1) / 32 * 32 : 0;
    task.blocks = blocks + task.first_token / 32;
    task.layer = layer;
    task.scale = 0.3f;
    task.window = window;
    task.first_span = task.first_token / kSpan;
    task.last_span = (from + count - 1) / kSpan + 1;
    task.scratch = scratch.data();
    return task;
  };
  for (int64_t t = 0; t < kTokens; t++) k.attend(make(t, 1));
  const std::vector<float> alone = y;
  const int64_t at_once = attention_tokens(heads);
  for (int64_t t = 0; t < kTokens; t += at_once) k.attend(make(t, std::min(at_once, kTokens - t)));
  CHECK(memcmp(alone.data(), y.data(), y.size() * 4) == 0);

  const int64_t record = heads * attention_record(v_dim);
  std::vector<float> records(static_cast<size_t>((kTokens / kSpan + 1) * record));
  std::fill(y.begin(), y.end(), 0.0f);
  for (int64_t t = 0; t < kTokens; t++) {
    const AttentionTask whole = make(t, 1);
    for (int64_t span = whole.first_span; span < whole.last_span; span++) {
      AttentionTask part = whole;
      part.first_span = span;
      part.last_span = span + 1;
      k.attend_spans(part, &records[static_cast<size_t>((span - whole.first_span) * record)]);
    }
    k.merge_spans(whole, records.data());
  }
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

// Every row is put where it ends with its memory, as are mask and space, so that a step beyond is seen.
void test_candidates(const Kernels &k) {
  const auto before = [](const Candidate &a, const Candidate &b) { return a.logit > b.logit || (!(a.logit < b.logit) && a.id < b.id); };
  for (int64_t vocab : {1, 15, 16, 17, 511, 512, 513, 3001})
    for (int64_t wanted : {1, 40, 4000})
      for (int kind = 0; kind < 6; kind++) {  // plain, ties, edits, mask, both, NaN
        std::vector<float> row = random_floats(vocab);
        if (kind == 1)
          for (float &x : row) x = std::round(x);
        if (kind == 5) row[static_cast<size_t>(vocab / 2)] = NAN;
        std::vector<uint8_t> mask(static_cast<size_t>((vocab + 7) / 8));
        for (uint8_t &bits : mask) bits = static_cast<uint8_t>(random_bits());
        const std::vector<Edit> edits = {{0, 1, 2, -1}, {0, 0, 0.5f, 3}, {static_cast<int32_t>(vocab - 1), -1, 1.5f, 0}};
        const bool edited = kind == 2 || kind == 4, masked = kind == 3 || kind == 4;

        std::vector<Candidate> want;
        double sum = 0, tempered = 0;
        for (int64_t i = 0; i < vocab; i++) {
          float l = row[static_cast<size_t>(i)];
          for (const Edit &e : edits)
            if (edited && e.id == i) l = (l + e.bias > 0 ? (l + e.bias) / e.repeat : (l + e.bias) * e.repeat) + e.offset;
          if (masked && !(mask[static_cast<size_t>(i / 8)] >> (i % 8) & 1)) l = -INFINITY;
          want.push_back({l, static_cast<int32_t>(i)});
          sum += std::exp(static_cast<double>(l));
          tempered += std::exp(static_cast<double>(l) / 0.7f);
        }
        CandidatesTask task{};
        task.row = row.data();
        task.vocab = vocab;
        task.edits = edits.data();
        task.n_edits = edited ? 3 : 0;
        task.mask = masked ? mask.data() : nullptr;
        task.count = std::min(wanted, vocab);
        task.temperature = kind % 2 ? 0.7f : 0;
        task.select = [](Candidate *found, int64_t size, int64_t count) {
          std::nth_element(found, found + count - 1, found + size, [](const Candidate &a, const Candidate &b) {
            return a.logit > b.logit || (!(a.logit < b.logit) && a.id < b.id);
          });
        };
        std::vector<Candidate> space(static_cast<size_t>(candidates_space(task.count)));
        task.found = space.data();
        k.candidates(task);
        if (kind == 5) {
          CHECK(task.nans == 1 && task.n_found == 0);
          continue;
        }
        CHECK(task.nans == 0 && task.n_found >= task.count);
        std::sort(space.begin(), space.begin() + task.n_found, before);
        std::sort(want.begin(), want.end(), before);
        for (size_t i = 0; i < static_cast<size_t>(task.count); i++)
          CHECK(space[i].id == want[i].id && !(space[i].logit < want[i].logit) && !(space[i].logit > want[i].logit));
        if (task.temperature > 0 && sum > 0) {
          CHECK(std::fabs(task.log_sum - std::log(sum)) < 1e-5);
          CHECK(std::fabs(task.log_sum_at - std::log(tempered)) < 1e-5);
        }
      }
}

int main() {
  for (const Kernels *k : sets()) {
    random_bits.seed(2);
    printf("set %s\n", k->name);
    same_bits.begin_set(k->name);
    test_rows(*k);
    test_hadamard(*k);
    test_candidates(*k);
    const auto both = [&](KvType k_type, KvType v_type, int64_t window) {
      test_attention(*k, k_type, v_type, 8, 64, 64, window);
      test_attention(*k, k_type, v_type, 3, 32, 96, window);
    };
    for (KvType type : {KvType::f32, KvType::f16, KvType::bf16})
      for (int64_t window : {0, 1, 33, 260}) {
        both(type, type, window);
        test_attention(*k, type, type, 3, 7, 5, window);
        test_attention(*k, type, type, 1, 80, 48, window);
      }
    for (int64_t window : {0, 33}) {
      both(KvType::q8_0, KvType::q8_0, window);
      both(KvType::q4_0, KvType::q4_0, window);
      both(KvType::q8_0, KvType::q4_0, window);
      both(KvType::q4_0, KvType::f16, window);
    }
  }
  same_bits.print();
  return 0;
}
