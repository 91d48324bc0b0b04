// Root mean square norms, and the rounding of activations that quantised weights meet.
#include "simd.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

static void rms_norm(const float *x, const float *weight, float *y, int64_t groups, int64_t width, float eps) {
  for (int64_t g = 0; g < groups; g++, x += width, y += width) {
    Lanes squares = zero();
    for_lanes(width, [&](int64_t i, int64_t n) {
      const Lanes v = load_some(x + i, n);
      squares = fma(v, v, squares);
    });
    const float mean = sum(squares) / static_cast<float>(width);
    const Lanes factor = splat(1.0f / std::sqrt(mean + eps));
    for_lanes(width, [&](int64_t i, int64_t n) {
      Lanes v = mul(load_some(x + i, n), factor);
      if (weight) v = mul(v, load_some(weight + i, n));
      store_some(y + i, v, n);
    });
  }
}

static void layer_norm(const float *x, const float *weight, int64_t weight_stride, const float *bias, int64_t bias_stride,
                       float *y, int64_t groups, int64_t width, float eps) {
  for (int64_t g = 0; g < groups; g++, x += width, y += width) {
    Lanes total = zero();
    for_lanes(width, [&](int64_t i, int64_t n) { total = add(total, load_some(x + i, n)); });
    const Lanes mean = splat(sum(total) / static_cast<float>(width));
    Lanes squares = zero();
    for_lanes(width, [&](int64_t i, int64_t n) {
      float centred[kLanes];
      store(centred, sub(load_some(x + i, n), mean));
      const Lanes v = load_some(centred, n);  // lanes past the row count as zero
      squares = fma(v, v, squares);
    });
    const Lanes factor = splat(1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + eps));
    for_lanes(width, [&](int64_t i, int64_t n) {
      Lanes v = mul(sub(load_some(x + i, n), mean), factor);
      if (weight) v = mul(v, load_some(weight + g * weight_stride + i, n));
      if (bias) v = add(v, load_some(bias + g * bias_stride + i, n));
      store_some(y + i, v, n);
    });
  }
}

static void l2_norm(const float *x, float *y, int64_t groups, int64_t width, float eps) {
  for (int64_t g = 0; g < groups; g++, x += width, y += width) {
    Lanes squares = zero();
    for_lanes(width, [&](int64_t i, int64_t n) {
      const Lanes v = load_some(x + i, n);
      squares = fma(v, v, squares);
    });
    const Lanes factor = splat(1.0f / std::sqrt(sum(squares) + eps));
    for_lanes(width, [&](int64_t i, int64_t n) { store_some(y + i, mul(load_some(x + i, n), factor), n); });
  }
}

static void quantize_chunk(const float *x, int64_t n, Chunk &y) {
  alignas(64) float padded[kChunk];
  if (n < kChunk) {
    memset(padded, 0, sizeof padded);
    memcpy(padded, x, static_cast<size_t>(n) * 4);
    x = padded;
  }
  Ints magnitudes = zero_ints();
  for (int i = 0; i < kChunk; i += kLanes) magnitudes = greater_magnitude(magnitudes, load(x + i));
  const float peak = bits_to_float(static_cast<uint32_t>(highest(magnitudes)));
  y.scale = peak / 127.0f;
  if (!(peak < INFINITY) || y.scale == 0.0f) {  // NaN and infinity spoil the whole chunk, as they should
    memset(static_cast<void *>(&y), 0, sizeof y);
    y.scale = peak < INFINITY ? 0.0f : NAN;
    return;
  }
  const Lanes scale = splat(y.scale), top = splat(127.0f), bottom = splat(-127.0f);
  const auto rounded = [&](int i) { return round_to_ints(smaller(top, greater(bottom, div(load(x + i), scale)))); };
#if defined(__AVX512VNNI__)
  const __m512i ones = _mm512_set1_epi8(1), fourth = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0);
  for (int i = 0; i < kChunk; i += 64) {
    for (int j = i; j < i + 64; j += kLanes) _mm_store_si128((__m128i *)(y.q + j), _mm512_cvtepi32_epi8(rounded(j).v));
    __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, _mm512_load_si512(y.q + i));
    sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_CDAB));
    sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32(sums, _MM_PERM_BADC));
    const __m512i four = _mm512_permutexvar_epi32(fourth, sums);
    _mm_storel_epi64((__m128i *)(y.sums16 + i / 16), _mm256_castsi256_si128(_mm512_cvtepi32_epi16(four)));
  }
#elif defined(__AVX2__) && !defined(__AVX512F__)
  const __m256i ones = _mm256_set1_epi16(1), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (int i = 0; i < kChunk; i += 32) {
    const Ints a = rounded(i), b = rounded(i + kLanes);
    const __m256i first = _mm256_packs_epi32(a.a, a.b), second = _mm256_packs_epi32(b.a, b.b);
    _mm256_store_si256((__m256i *)(y.q + i), _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second), order));
    __m256i sums = _mm256_hadd_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(second, ones));
    sums = _mm256_hadd_epi32(sums, sums);
    const __m128i two = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    y.sums16[i / 16] = static_cast<int16_t>(_mm_extract_epi32(two, 0));
    y.sums16[i / 16 + 1] = static_cast<int16_t>(_mm_extract_epi32(two, 1));
  }
#else
  alignas(64) int32_t q[kLanes];
  for (int i = 0; i < kChunk; i += kLanes) {
    store_ints(q, rounded(i));
    int total = 0;
    for (int j = 0; j < kLanes; j++) {
      y.q[i + j] = static_cast<int8_t>(q[j]);
#if !defined(__AVX2__)
      y.wide[i + j] = static_cast<int16_t>(q[j]);
#endif
      total += q[j];
    }
    y.sums16[i / 16] = static_cast<int16_t>(total);
  }
#endif
  for (int j = 0; j < 8; j++) y.sums32[j] = static_cast<int16_t>(y.sums16[2 * j] + y.sums16[2 * j + 1]);
}

static void quantize(const float *x, int64_t width, Chunk *y) {
  for (int64_t k = 0; k < width; k += kChunk) quantize_chunk(x + k, least(kChunk, width - k), y[k / kChunk]);
}

void fill_norm(Kernels &k) {
  k.rms_norm = rms_norm;
  k.layer_norm = layer_norm;
  k.l2_norm = l2_norm;
  k.quantize = quantize;
}

}  // namespace halflap::cpu::HALFLAP_ISA
