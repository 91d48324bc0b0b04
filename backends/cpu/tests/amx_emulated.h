// AMX tiles in plain C++, for tests on processors without them: what the instructions do, and an abort where they would
// fault. Included by kernels/amx_tiles.h.
#pragma once
#include <cstdlib>

namespace halflap::cpu::HALFLAP_ISA {

struct Tiles {
  TileConfig config;
  bool configured;
  uint8_t bytes[8][16][64];

  void need(int tile) const {
    if (!configured || config.rows[tile] == 0 || config.rows[tile] > 16 || config.bytes[tile] > 64) abort();
  }
};
inline thread_local Tiles tiles_of_thread;

inline void configure(const TileConfig &config) {
  tiles_of_thread = {config, config.palette == 1, {}};
}
inline void release() { tiles_of_thread.configured = false; }

template <int T>
void clear_tile() {
  tiles_of_thread.need(T);
  memset(tiles_of_thread.bytes[T], 0, sizeof tiles_of_thread.bytes[T]);
}

template <int T>
void load_tile(const void *from, int64_t stride) {
  clear_tile<T>();
  Tiles &t = tiles_of_thread;
  for (int r = 0; r < t.config.rows[T]; r++)
    memcpy(t.bytes[T][r], static_cast<const uint8_t *>(from) + r * stride, t.config.bytes[T]);
}

template <int T>
void store_tile(void *to) {
  const Tiles &t = tiles_of_thread;
  t.need(T);
  for (int r = 0; r < t.config.rows[T]; r++) memcpy(static_cast<uint8_t *>(to) + r * 64, t.bytes[T][r], t.config.bytes[T]);
}

// C += A · B: int8, four products to each int32 of C.
template <int C, int A, int B>
void multiply_tiles() {
  Tiles &t = tiles_of_thread;
  const int rows = t.config.rows[C], columns = t.config.bytes[C] / 4, fours = t.config.bytes[A] / 4;
  for (int tile : {C, A, B}) t.need(tile);
  if (t.config.rows[A] != rows || t.config.rows[B] != fours || t.config.bytes[B] != t.config.bytes[C]) abort();
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {
      int32_t sum = load32(&t.bytes[C][r][4 * c]);
      for (int k = 0; k < fours; k++)
        for (int i = 0; i < 4; i++)
          sum += static_cast<int8_t>(t.bytes[A][r][4 * k + i]) * static_cast<int8_t>(t.bytes[B][k][4 * c + i]);
      memcpy(&t.bytes[C][r][4 * c], &sum, 4);
    }
}

// The instruction takes and gives zero for numbers below the normal ones.
inline float flushed(float x) { return x < 0x1p-126f && x > -0x1p-126f ? x * 0 : x; }

// C += A · B: pairs of bf16; the first and the second of every pair are summed apart.
template <int C, int A, int B>
void multiply_bf16_tiles() {
  Tiles &t = tiles_of_thread;
  const int rows = t.config.rows[C], columns = t.config.bytes[C] / 4, pairs = t.config.bytes[A] / 4;
  for (int tile : {C, A, B}) t.need(tile);
  if (t.config.rows[A] != rows || t.config.rows[B] != pairs || t.config.bytes[B] != t.config.bytes[C]) abort();
  const auto number = [](const uint8_t *p) { return flushed(bfloat_to_float(load16(p))); };
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {
      float sums[2] = {0, 0}, total;
      for (int k = 0; k < pairs; k++)
        for (int i = 0; i < 2; i++)
          sums[i] = flushed(__builtin_fmaf(number(&t.bytes[A][r][4 * k + 2 * i]), number(&t.bytes[B][k][4 * c + 2 * i]), sums[i]));
      memcpy(&total, &t.bytes[C][r][4 * c], 4);
      total = flushed(flushed(total) + flushed(sums[0] + sums[1]));
      memcpy(&t.bytes[C][r][4 * c], &total, 4);
    }
}

}  // namespace halflap::cpu::HALFLAP_ISA
