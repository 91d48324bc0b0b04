// Every type and set: equal to dequantised weights times rounded activations in double, and the same bits for any number
// of tokens, through rows, panels and tiles, and in every set. Weights end where their allocation ends, so that a sanitizer sees overreads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "same_bits.h"
#include "sets.h"

using namespace halflap::cpu;

namespace {

std::mt19937 random_bits;
SameBits same_bits, same_half_bits, same_tile_bits;  // F16 and BF16 on AMX are sums of other products

struct Free {
  void operator()(void *p) const { free(p); }
};
template <class T>
using Aligned = std::unique_ptr<T[], Free>;
template <class T>
Aligned<T> aligned(int64_t n) {
  const size_t bytes = (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
  void *p = aligned_alloc(64, bytes);
  memset(p, 0, bytes);
  return Aligned<T>(static_cast<T *>(p));
}

// Random bytes, each block drawn anew until its scales make middling values.
std::vector<uint8_t> random_weight(const Kernels &k, Type type, int64_t rows, int64_t width) {
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * row_bytes(type, width)));
  bytes.shrink_to_fit();
  const TypeInfo &t = info(type);
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(t.bytes)) {
    float values[kChunk], largest = 0;
    do {
      for (int i = 0; i < t.bytes; i++) bytes[at + static_cast<size_t>(i)] = static_cast<uint8_t>(random_bits());
      k.dequantize[static_cast<int>(type)](&bytes[at], t.block, values);
      largest = 0;
      for (int i = 0; i < t.block; i++) largest = values[i] == values[i] ? std::max(largest, std::fabs(values[i])) : INFINITY;
    } while (!(largest > 0.01f && largest < 4));
  }
  return bytes;
}

void test(const Kernels &k, Type type, int64_t rows, int64_t width) {
  constexpr int64_t kTokens = 37;
  const int64_t n_chunks = chunks(width);
  const std::vector<uint8_t> weight = random_weight(k, type, rows, width);
  auto x = aligned<float>(kTokens * width), y = aligned<float>(kTokens * rows), one = aligned<float>(rows);
  auto rounded = aligned<Chunk>(kTokens * n_chunks);
  auto tiles = aligned<TileChunk>((kTokens / 16 + 1) * n_chunks);
  auto halves = aligned<uint16_t>((kTokens / 16 + 1) * half_tiles(width) * kHalfTile);
  auto scratch = aligned<uint8_t>(kMatmulScratch);
  for (int64_t i = 0; i < kTokens * width; i++) x[i] = static_cast<float>(static_cast<int32_t>(random_bits())) * 0x1p-30f;
  for (int64_t t = 0; t < kTokens; t++) k.quantize(&x[t * width], width, &rounded[t * n_chunks]);

  MatmulTask task{};
  task.weight = weight.data();
  task.row_bytes = row_bytes(type, width);
  task.rows = rows;
  task.width = width;
  task.x = is_quantised(type) ? static_cast<const void *>(rounded.get()) : x.get();
  task.x_stride = is_quantised(type) ? n_chunks : width;
  task.tokens = kTokens;
  task.y = y.get();
  task.y_stride = rows;
  task.scratch = scratch.get();
  const bool has_tiles = k.pack_tiles && is_quantised(type);
  const auto pack = [&](int64_t first, int64_t tokens) {
    for (int64_t t = 0; t < tokens; t += 16) {
      const Chunk *rows_of[16];
      const int64_t n = std::min<int64_t>(16, tokens - t);
      for (int64_t i = 0; i < n; i++) rows_of[i] = &rounded[(first + t + i) * n_chunks];
      k.pack_tiles(rows_of, n, n_chunks, tokens <= k.narrow_tokens, &tiles[t / 16 * n_chunks]);
    }
    task.tiles = tiles.get();
  };
  const bool has_halves = k.pack_halves && is_half(type);
  const auto pack_halves = [&](int64_t first, int64_t tokens) {
    for (int64_t t = 0; t < tokens; t += 16) {
      const float *rows_of[16];
      const int64_t n = std::min<int64_t>(16, tokens - t);
      for (int64_t i = 0; i < n; i++) rows_of[i] = &x[(first + t + i) * width];
      k.pack_halves(rows_of, n, std::min<int64_t>(16, tokens), width, &halves[t / 16 * half_tiles(width) * kHalfTile]);
    }
    task.halves = halves.get();
  };
  if (has_tiles) pack(0, kTokens);
  if (has_halves) pack_halves(0, kTokens);
  k.matmul[static_cast<int>(type)](task);
  (has_halves ? same_tile_bits : is_half(type) ? same_half_bits : same_bits).check(info(type).name, y.get(), static_cast<size_t>(kTokens * rows));

  std::vector<float> values(static_cast<size_t>(width));
  double worst = 0, peak = 0;
  for (int64_t r = 0; r < rows; r++) {
    k.dequantize[static_cast<int>(type)](weight.data() + r * task.row_bytes, width, values.data());
    for (int64_t t = 0; t < kTokens; t++) {
      double want = 0;
      for (int64_t i = 0; i < width; i++) {
        const Chunk &c = rounded[t * n_chunks + i / kChunk];
        const double met = is_quantised(type) ? static_cast<double>(c.scale) * c.q[i % kChunk] : x[t * width + i];
        want += static_cast<double>(values[static_cast<size_t>(i)]) * met;
      }
      peak = std::max(peak, std::fabs(want));
      worst = std::max(worst, std::fabs(want - static_cast<double>(y[t * rows + r])));
    }
  }
  if (!(worst <= 1e-5 * peak)) fprintf(stderr, "%s %s (%ld, %ld): off by %g of %g\n", k.name, info(type).name, rows, width, worst, peak);
  CHECK(worst <= 1e-5 * peak);

  for (bool tiled : {false, true})
    for (int64_t n : {1, 2, 3, 4, 7, 8, 10, 12, 13, 16, 20}) {
      if (tiled && !has_tiles) continue;
      task.tiles = nullptr;
      task.tokens = n;
      for (int64_t t = 0; t + n <= kTokens; t += n) {
        auto part = aligned<float>(n * rows);
        if (tiled) pack(t, n);
        if (has_halves) pack_halves(t, n);
        task.x = is_quantised(type) ? static_cast<const void *>(&rounded[t * n_chunks]) : &x[t * width];
        task.y = part.get();
        k.matmul[static_cast<int>(type)](task);
        CHECK(memcmp(part.get(), &y[t * rows], static_cast<size_t>(n * rows) * 4) == 0);
      }
    }
}

}  // namespace

int main() {
  for (const Kernels *k : sets()) {
    random_bits.seed(1);
    printf("set %s\n", k->name);
    same_bits.begin_set(k->name);
    same_half_bits.begin_set(k->name);
    same_tile_bits.begin_set(k->name);
    for (int t = 0; t < kTypes; t++) {
      const Type type = static_cast<Type>(t);
      const int64_t block = info(type).block;
      test(*k, type, 33, 256 + std::max(block, int64_t{32}));
      test(*k, type, 1, block == 1 ? 17 : block);
      test(*k, type, 50, 768);
    }
  }
  same_bits.print();
  same_half_bits.print();
  return 0;
}
