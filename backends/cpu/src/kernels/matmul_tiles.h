// Many tokens on AVX-512: sixteen tokens fill the lanes, so weight rows need no transposition. What the two ways to
// multiply such tiles (vpdpbusd here in matmul_vnni.h, AMX in matmul_amx.cpp) share.
#pragma once
#include "matmul_quant.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kTilesFrom = 3;     // tokens from which tiles are faster
constexpr int kNarrowTokens = 8;  // each has two neighbouring lanes, for eight q in turn instead of four, pairs of sums likewise
constexpr int kBlockRows = 32;    // weight rows unpacked together
constexpr int kTokenGroups = 32;  // groups of 16 tokens per pass: their totals stay in the second cache

using Totals = float[kTokenGroups][kBlockRows][kTileTokens];  // F: (group, row, token)

HALFLAP_INLINE void accumulate(float *total, __m512 scale, __m512 s, bool first) {
  _mm512_store_ps(total, _mm512_fmadd_ps(scale, s, first ? _mm512_setzero_ps() : _mm512_load_ps(total)));
}

HALFLAP_INLINE void transpose(__m512 *v) {  // 16 × 16
  __m512 u[16];
  for (int i = 0; i < 16; i += 2) {
    u[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    u[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      const __m512d a = _mm512_castps_pd(u[i + j]), b = _mm512_castps_pd(u[i + j + 2]);
      v[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      v[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  for (int j = 0; j < 4; j++) {  // v[4i + j]: column j + 4L of rows 4i.. in 128-bit lane L
    const __m512 a = _mm512_shuffle_f32x4(v[j], v[j + 4], 0x88), b = _mm512_shuffle_f32x4(v[j], v[j + 4], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(v[j + 8], v[j + 12], 0x88), d = _mm512_shuffle_f32x4(v[j + 8], v[j + 12], 0xdd);
    u[j] = _mm512_shuffle_f32x4(a, c, 0x88);
    u[j + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    u[j + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    u[j + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
  for (int i = 0; i < 16; i++) v[i] = u[i];
}

// (32 rows from r0, 16 tokens from t0) of totals to y[token][row].
HALFLAP_INLINE void write_totals(const MatmulTask &task, const float (*totals)[kTileTokens], int64_t r0, int64_t t0) {
  const int64_t rows = least(kBlockRows, task.rows - r0), tokens = least(kTileTokens, task.tokens - t0);
  for (int64_t r = 0; r < rows; r += kLanes) {
    const int64_t n = least(kLanes, rows - r);
    const Lanes bias = task.bias ? load_some(task.bias + r0 + r, n) : zero();
    __m512 v[16];
    for (int i = 0; i < 16; i++) v[i] = _mm512_load_ps(totals[r + i]);
    transpose(v);
    for (int64_t t = 0; t < tokens; t++) {
      const Lanes y{v[t]};
      store_some(task.y + (t0 + t) * task.y_stride + r0 + r, task.bias ? add(y, bias) : y, n);
    }
  }
}

// (rows r0 + i · apart, up to 8 tokens) of narrow totals to y[token][row].
HALFLAP_INLINE void write_narrow(const MatmulTask &task, const float (*totals)[kTileTokens], int64_t r0, int64_t apart, int64_t rows) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t t = 0; t < task.tokens; t++) {
      const int64_t r = r0 + i * apart;
      task.y[t * task.y_stride + r] = task.bias ? totals[i][2 * t] + task.bias[r] : totals[i][2 * t];
    }
}

HALFLAP_INLINE __m512i start_of(__m512i sum) { return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7)); }

// Sums of two vectors of q, four to a lane.
HALFLAP_INLINE __m512i sum_of_two(const void *q) {
  const __m512i ones = _mm512_set1_epi8(1), first = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, _mm512_load_si512(q));
  return _mm512_dpbusd_epi32(first, ones, _mm512_load_si512((const uint8_t *)q + 64));
}

inline void pack_chunk(const Chunk *const *rows, int64_t n_rows, int64_t c, TileChunk &to) {
  for (int k = 0; k < kChunk; k += 64) {
    __m512 v[kTileTokens];
    for (int t = 0; t < kTileTokens; t++) v[t] = t < n_rows ? _mm512_load_ps(rows[t][c].q + k) : _mm512_setzero_ps();
    transpose(v);
    for (int i = 0; i < 16; i++) _mm512_store_ps(to.q[k / 4 + i], v[i]);
  }
  __m512i sums[32];
  const auto pair = [&](int i) { return _mm512_mask_blend_epi16(0xaaaaaaaa, sums[2 * i], _mm512_slli_epi32(sums[2 * i + 1], 16)); };
  for (int i = 0; i < 32; i++) _mm512_store_si512(to.start8[i], start_of(sums[i] = sum_of_two(to.q[2 * i])));
  for (int i = 0; i < 16; i++) _mm512_store_si512(to.start16[i], start_of(sums[i] = _mm512_add_epi32(sums[2 * i], sums[2 * i + 1])));
  for (int i = 0; i < 8; i++) _mm512_store_si512(to.sums16[i], pair(i));
  for (int i = 0; i < 8; i++) _mm512_store_si512(to.start32[i], start_of(sums[i] = _mm512_add_epi32(sums[2 * i], sums[2 * i + 1])));
  for (int i = 0; i < 4; i++) _mm512_store_si512(to.sums32[i], pair(i));
  for (int t = 0; t < kTileTokens; t++) to.scale[t] = t < n_rows ? rows[t][c].scale : 0;
}

inline void pack_narrow(const Chunk *const *rows, int64_t n_rows, int64_t c, TileChunk &to) {
  if (n_rows < kNarrowTokens) memset(static_cast<void *>(&to), 0, sizeof to);
  uint8_t *q = reinterpret_cast<uint8_t *>(to.q);
  for (int64_t t = 0; t < n_rows; t++) {
    const Chunk &from = rows[t][c];
    for (int i = 0; i < 32; i++) memcpy(q + 64 * i + 8 * t, from.q + 8 * i, 8);
    for (int i = 0; i < 4; i++) memcpy(to.sums16[i][2 * t], from.sums16 + 4 * i, 8);
    for (int i = 0; i < 2; i++) memcpy(to.sums32[i][2 * t], from.sums32 + 4 * i, 8);
    to.scale[2 * t] = from.scale;
    to.scale[2 * t + 1] = 0;
  }
  for (int i = 0; i < 8; i++) {
    const __m512i a = sum_of_two(q + 256 * i), b = sum_of_two(q + 256 * i + 128);
    _mm512_store_si512(to.start16[2 * i], start_of(a));
    _mm512_store_si512(to.start16[2 * i + 1], start_of(b));
    _mm512_store_si512(to.start32[i], start_of(_mm512_add_epi32(a, b)));
  }
}

inline void pack_tiles(const Chunk *const *rows, int64_t n_rows, int64_t n_chunks, bool narrow, TileChunk *y) {
  for (int64_t c = 0; c < n_chunks; c++) narrow ? pack_narrow(rows, n_rows, c, y[c]) : pack_chunk(rows, n_rows, c, y[c]);
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
