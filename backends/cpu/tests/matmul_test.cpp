// Every type and set: equal to dequantised weights times rounded activations in double, and the same bits for any number
// of tokens, through rows, panels and tiles. Weights end where their allocation ends, so that a sanitizer sees overreads.
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "sets.h"

using namespace halflap::cpu;

namespace {

std::mt19937 random_bits(1);

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

std::vector<uint8_t> random_weight(Type type, int64_t rows, int64_t width) {
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * row_bytes(type, width)));
  bytes.shrink_to_fit();
  for (uint8_t &b : bytes) b = static_cast<uint8_t>(random_bits());
  // Halves and floats with a middling exponent, wherever scales may stand.
  const TypeInfo &t = info(type);
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(t.bytes)) {
    if (type == Type::F32) bytes[at + 3] = 0x3d;
    if (type == Type::F16 || type == Type::BF16) bytes[at + 1] = 0x2d;
    if (t.block == 32) bytes[at + 1] = 0x1d, bytes[at + 3] = static_cast<uint8_t>(bytes[at + 3] & 0xbf);
    if (type == Type::Q4_1 || type == Type::Q5_1) bytes[at + 3] = 0x1d;
    if (type == Type::Q4_K || type == Type::Q5_K) bytes[at + 1] = bytes[at + 3] = 0x1d;
    if (type == Type::Q2_K) bytes[at + 81] = bytes[at + 83] = 0x1d;
    if (type == Type::Q3_K) bytes[at + 109] = 0x1d;
    if (type == Type::Q6_K) bytes[at + 209] = 0x1d;
    if (type == Type::IQ4_XS) bytes[at + 1] = 0x1d;
  }
  return bytes;
}

void test(const Kernels &k, Type type, int64_t rows, int64_t width) {
  constexpr int64_t kTokens = 37;
  const int64_t n_chunks = chunks(width);
  const std::vector<uint8_t> weight = random_weight(type, rows, width);
  auto x = aligned<float>(kTokens * width), y = aligned<float>(kTokens * rows), one = aligned<float>(rows);
  auto rounded = aligned<Chunk>(kTokens * n_chunks);
  auto tiles = aligned<TileChunk>((kTokens / 16 + 1) * n_chunks);
  auto scratch = aligned<uint8_t>(kMatmulScratch);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < kTokens * width; i++) x[i] = normal(random_bits);
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
  if (k.pack_tiles && is_quantised(type)) {
    for (int64_t t = 0; t < kTokens; t += 16) {
      const Chunk *rows_of[16];
      const int64_t n = kTokens - t < 16 ? kTokens - t : 16;
      for (int64_t i = 0; i < n; i++) rows_of[i] = &rounded[(t + i) * n_chunks];
      k.pack_tiles(rows_of, n, n_chunks, &tiles[t / 16 * n_chunks]);
    }
    task.tiles = tiles.get();
  }
  k.matmul[static_cast<int>(type)](task);

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

  task.tiles = nullptr;
  for (int64_t n : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{7}}) {
    task.tokens = n;
    for (int64_t t = 0; t + n <= kTokens; t += n) {
      auto part = aligned<float>(n * rows);
      task.x = is_quantised(type) ? static_cast<const void *>(&rounded[t * n_chunks]) : &x[t * width];
      task.y = part.get();
      k.matmul[static_cast<int>(type)](task);
      CHECK(memcmp(part.get(), &y[t * rows], static_cast<size_t>(n * rows) * 4) == 0);
    }
  }
}

}  // namespace

int main() {
  for (const Kernels *k : sets())
    for (int t = 0; t < kTypes; t++) {
      const Type type = static_cast<Type>(t);
      const int64_t block = info(type).block;
      test(*k, type, 33, block == 256 ? 512 : 288);
      test(*k, type, 1, block == 1 ? 17 : block);
      test(*k, type, 50, 768);
    }
  return 0;
}
