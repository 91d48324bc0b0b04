// AVX-VNNI in AVX2, so that the kernels of the set `avx2vnni` run on processors without it. Included before all else.
#pragma once
#include <immintrin.h>

#define __AVXVNNI__ 1
#define _mm256_dpbusd_avx_epi32 emulated_dpbusd

// to + four bytes of a (unsigned) times four of b (signed) in every 32-bit lane; nothing saturates.
static inline __m256i emulated_dpbusd(__m256i to, __m256i a, __m256i b) {
  const __m256i evens = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(255)),
                                          _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
  const __m256i odds = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
  return _mm256_add_epi32(to, _mm256_add_epi32(evens, odds));
}
