// Many tokens on AVX-512: sixteen tokens fill the lanes, so weight rows need no transposition. What the two ways to
// multiply such tiles (vpdpbusd here in matmul_vnni.h, AMX in matmul_amx.cpp) share.
#pragma once
#include "matmul_quant.h"

#if defined(__AVX512VNNI__)

namespace halflap::cpu::HALFLAP_ISA {

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
    for (int64_t t = 0; t < tokens; t++)
      store_some(task.y + (t0 + t) * task.y_stride + r0 + r, task.bias ? add(Lanes{v[t]}, bias) : Lanes{v[t]}, n);
  }
}

inline void pack_tiles(const Chunk *const *rows, int64_t n_rows, int64_t n_chunks, TileChunk *y) {
  for (int64_t c = 0; c < n_chunks; c++) {
    TileChunk &to = y[c];
    for (int k = 0; k < kChunk; k += 64) {
      __m512 v[kTileTokens];
      for (int t = 0; t < kTileTokens; t++) v[t] = t < n_rows ? _mm512_load_ps(rows[t][c].q + k) : _mm512_setzero_ps();
      transpose(v);
      for (int i = 0; i < 16; i++) _mm512_store_ps(to.q[k / 4 + i], v[i]);
    }
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i sums[32];
    const auto start = [](__m512i sum) { return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7)); };
    const auto pair = [](__m512i even, __m512i odd) {
      return _mm512_mask_blend_epi16(0xaaaaaaaa, even, _mm512_slli_epi32(odd, 16));
    };
    for (int i = 0; i < 32; i++) {
      const __m512i even = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, _mm512_load_si512(to.q[2 * i]));
      sums[i] = _mm512_dpbusd_epi32(even, ones, _mm512_load_si512(to.q[2 * i + 1]));
      _mm512_store_si512(to.start8[i], start(sums[i]));
    }
    for (int i = 0; i < 16; i++) _mm512_store_si512(to.start16[i], start(sums[i] = _mm512_add_epi32(sums[2 * i], sums[2 * i + 1])));
    for (int i = 0; i < 8; i++) _mm512_store_si512(to.sums16[i], pair(sums[2 * i], sums[2 * i + 1]));
    for (int i = 0; i < 8; i++) _mm512_store_si512(to.start32[i], start(sums[i] = _mm512_add_epi32(sums[2 * i], sums[2 * i + 1])));
    for (int i = 0; i < 4; i++) _mm512_store_si512(to.sums32[i], pair(sums[2 * i], sums[2 * i + 1]));
    for (int t = 0; t < kTileTokens; t++) to.scale[t] = t < n_rows ? rows[t][c].scale : 0;
  }
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
