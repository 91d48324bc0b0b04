// How fast one thread multiplies: billions of multiply-adds per second for many tokens, GB/s of weights for one.
//
//     matmul_bench [TYPE …]      HALFLAP_CPU_ISA chooses the set; default: every type
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dispatch.h"

using namespace halflap::cpu;

namespace {

constexpr int64_t kWidth = 2048, kMostTokens = 512;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Free {
  void operator()(void *p) const { free(p); }
};
template <class T>
std::unique_ptr<T[], Free> aligned(int64_t n) {
  const size_t bytes = (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
  void *p = aligned_alloc(64, bytes);
  memset(p, 0, bytes);
  return std::unique_ptr<T[], Free>(static_cast<T *>(p));
}

// Best seconds of three for all rows.
double measure(const Kernels &k, Type type, MatmulTask task, int64_t each) {
  double best = 1e9;
  const MatmulTask whole = task;
  for (int round = 0; round < 3; round++) {
    const double begin = now();
    for (int64_t r = 0; r < whole.rows; r += each) {
      task.weight = whole.weight + r * whole.row_bytes;
      task.rows = std::min(each, whole.rows - r);
      k.matmul[static_cast<int>(type)](task);
    }
    best = std::min(best, now() - begin);
  }
  return best;
}

void bench(const Kernels &k, Type type) {
  const int64_t bytes = row_bytes(type, kWidth), few = 1536, many = (int64_t{192} << 20) / bytes / 128 * 128;
  auto weight = aligned<uint8_t>(many * bytes + 64);
  uint32_t seed = 1;
  for (int64_t i = 0; i < many * bytes; i += 4) {
    seed = seed * 1664525 + 1013904223;
    // Halves stay small wherever they stand; no number is below the normal ones.
    const uint32_t v = type == Type::BF16 ? (seed & 0x00ff00ff) | 0x3e003e00 : seed & 0x1fff1fff;
    memcpy(&weight[i], &v, 4);
  }
  const int64_t n_chunks = chunks(kWidth);
  auto x = aligned<float>(kMostTokens * kWidth), y = aligned<float>(kMostTokens * 128);
  auto rounded = aligned<Chunk>(kMostTokens * n_chunks);
  auto tiles = aligned<TileChunk>(kMostTokens / 16 * n_chunks);
  auto halves = aligned<uint16_t>(kMostTokens / 16 * half_tiles(kWidth) * kHalfTile);
  auto scratch = aligned<uint8_t>(kMatmulScratch);
  for (int64_t i = 0; i < kMostTokens * kWidth; i++) x[i] = static_cast<float>((seed = seed * 1664525 + 1013904223) >> 8) * 1e-7f - 0.8f;
  for (int64_t t = 0; t < kMostTokens; t++) k.quantize(&x[t * kWidth], kWidth, &rounded[t * n_chunks]);
  MatmulTask task{};
  task.weight = weight.get();
  task.row_bytes = bytes;
  task.width = kWidth;
  task.x = is_quantised(type) ? static_cast<const void *>(rounded.get()) : x.get();
  task.x_stride = is_quantised(type) ? n_chunks : kWidth;
  task.y = y.get();
  task.y_stride = 128;
  task.scratch = scratch.get();
  printf("%-11s %-8s", k.name, info(type).name);
  double alone = 0;
  const auto pack_halves = [&](int64_t tokens) {
    for (int64_t t = 0; k.pack_halves && t < tokens; t += 16) {
      const float *of[16];
      for (int64_t i = 0; i < 16; i++) of[i] = &x[(t + i) * kWidth];
      const int64_t n = std::min(tokens, int64_t{16});
      k.pack_halves(of, n, n, kWidth, &halves[t / 16 * half_tiles(kWidth) * kHalfTile]);
    }
    task.halves = halves.get();
  };
  task.tokens = 1;
  task.rows = 256;
  pack_halves(1);
  measure(k, type, task, 64);
  printf("  cached %5.1f", static_cast<double>(task.rows * bytes) / measure(k, type, task, 64) / 1e9);
  for (int64_t tokens : {1, 2, 4, 8, 16, 32, 64, 512}) {
    task.tokens = tokens;
    task.rows = tokens <= 8 ? many : few;
    task.tiles = nullptr;
    if (k.pack_tiles && tokens >= k.tiles_from) {
      for (int64_t t = 0; t < tokens; t += 16) {
        const Chunk *of[16];
        for (int64_t i = 0; i < 16; i++) of[i] = &rounded[(t + i) * n_chunks];
        k.pack_tiles(of, std::min(tokens, int64_t{16}), n_chunks, tokens <= k.narrow_tokens, &tiles[t / 16 * n_chunks]);
      }
      task.tiles = tiles.get();
    }
    pack_halves(tokens);
    const double seconds = measure(k, type, task, tokens > 2 ? 128 : 64);
    if (tokens == 1) alone = seconds;
    if (tokens == 1)
      printf("  T=1 %5.1f GB/s", static_cast<double>(task.rows * bytes) / seconds / 1e9);
    else if (tokens <= 8)
      printf("  T=%ld x%4.2f", tokens, alone / seconds * static_cast<double>(tokens));
    else
      printf("  T=%ld %5.1f", tokens, static_cast<double>(task.rows * kWidth * tokens) / seconds / 1e9);
    fflush(stdout);
  }
  printf(" Gmac/s\n");
}

}  // namespace

int main(int count, char **names) {
  const Kernels &k = choose_kernels();
  for (int t = 0; t < kTypes; t++) {
    const Type type = static_cast<Type>(t);
    bool wanted = count == 1 && is_quantised(type);
    for (int i = 1; i < count; i++) wanted |= strcmp(names[i], info(type).name) == 0;
    if (wanted) bench(k, type);
  }
  return 0;
}
