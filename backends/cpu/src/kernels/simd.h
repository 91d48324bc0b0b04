// Sixteen float lanes, whatever the instruction set: kernels are written once and compiled once per set.
// Every operation is exact or correctly rounded and every reduction is one fixed tree, so that the order of arithmetic
// never depends on how work was cut.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(HALFLAP_NEON)
#include <arm_neon.h>
#endif

#define HALFLAP_INLINE inline __attribute__((always_inline))

namespace halflap::cpu::HALFLAP_ISA {

constexpr int kLanes = 16;

HALFLAP_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
HALFLAP_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

HALFLAP_INLINE uint16_t load16(const void *p) {
  uint16_t v;
  memcpy(&v, p, 2);
  return v;
}

HALFLAP_INLINE int32_t load32(const void *p) {
  int32_t v;
  memcpy(&v, p, 4);
  return v;
}

HALFLAP_INLINE float bits_to_float(uint32_t bits) {
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

HALFLAP_INLINE uint32_t float_to_bits(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  return bits;
}

HALFLAP_INLINE float half_to_float(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#elif defined(HALFLAP_NEON)
  __fp16 v;
  memcpy(&v, &h, 2);
  return v;
#else
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
  if (exponent == 31) return bits_to_float(sign | 0x7f800000u | (mantissa << 13));
  if (exponent) return bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float tiny = static_cast<float>(mantissa) * 5.9604644775390625e-08f;  // 2^-24
  return sign ? -tiny : tiny;
#endif
}

HALFLAP_INLINE uint16_t float_to_half(float v) {
#if defined(__F16C__)
  return static_cast<uint16_t>(_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(HALFLAP_NEON)
  const __fp16 h = static_cast<__fp16>(v);
  return load16(&h);
#else
  const uint32_t bits = float_to_bits(v), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal half: let float addition do the rounding
    const float shifted = bits_to_float(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (float_to_bits(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
#endif
}

HALFLAP_INLINE float bfloat_to_float(uint16_t h) { return bits_to_float(static_cast<uint32_t>(h) << 16); }

HALFLAP_INLINE uint16_t float_to_bfloat(float v) {
  const uint32_t bits = float_to_bits(v);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 64);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#if defined(__AVX512F__)

struct Lanes {
  __m512 v;
};
struct Ints {
  __m512i v;
};

HALFLAP_INLINE __m256 lower(Lanes x) { return _mm512_castps512_ps256(x.v); }
HALFLAP_INLINE __m256 upper(Lanes x) { return _mm512_extractf32x8_ps(x.v, 1); }
HALFLAP_INLINE Lanes load(const float *p) { return {_mm512_loadu_ps(p)}; }
HALFLAP_INLINE void store(float *p, Lanes a) { _mm512_storeu_ps(p, a.v); }
HALFLAP_INLINE Lanes splat(float x) { return {_mm512_set1_ps(x)}; }
HALFLAP_INLINE Lanes zero() { return {_mm512_setzero_ps()}; }
HALFLAP_INLINE Lanes add(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
HALFLAP_INLINE Lanes sub(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
HALFLAP_INLINE Lanes mul(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
HALFLAP_INLINE Lanes div(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
HALFLAP_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// If either is NaN the second argument is returned: pass the data second to let NaN through.
HALFLAP_INLINE Lanes greater(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
HALFLAP_INLINE Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
HALFLAP_INLINE Lanes round_even(Lanes a) { return {_mm512_roundscale_ps(a.v, 0)}; }
// condition < bound ? yes : no
HALFLAP_INLINE Lanes where_less(Lanes a, Lanes bound, Lanes yes, Lanes no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, bound.v, _CMP_LT_OQ), no.v, yes.v)};
}
// a · 2^n for whole n in [-126, 127]
HALFLAP_INLINE Lanes times_power(Lanes a, Lanes n) {
  const __m512i e = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
  return {_mm512_mul_ps(a.v, _mm512_castsi512_ps(e))};
}
HALFLAP_INLINE Lanes from_half(const uint16_t *p) { return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p))}; }
HALFLAP_INLINE void to_half(uint16_t *p, Lanes x) { _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT)); }
HALFLAP_INLINE Lanes from_bfloat(const uint16_t *p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// Sixteen signed bytes.
HALFLAP_INLINE Lanes from_bytes(__m128i q) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q))}; }
HALFLAP_INLINE Lanes from_bytes(const uint8_t *p) { return from_bytes(_mm_loadu_si128((const __m128i *)p)); }
HALFLAP_INLINE Ints zero_ints() { return {_mm512_setzero_si512()}; }
HALFLAP_INLINE Lanes to_float(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }
HALFLAP_INLINE Ints load_ints(const int32_t *p) { return {_mm512_loadu_si512(p)}; }
// Bits of the magnitudes: integers order them and keep NaN above infinity.
HALFLAP_INLINE Ints greater_magnitude(Ints a, Lanes b) {
  return {_mm512_max_epi32(a.v, _mm512_and_si512(_mm512_castps_si512(b.v), _mm512_set1_epi32(0x7fffffff)))};
}
HALFLAP_INLINE void store_ints(int32_t *p, Ints a) { _mm512_storeu_si512(p, a.v); }
HALFLAP_INLINE Ints round_to_ints(Lanes a) { return {_mm512_cvtps_epi32(a.v)}; }
// Bit i: lane i of a is greater than that of b; never where either is NaN.
HALFLAP_INLINE uint32_t which_greater(Lanes a, Lanes b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
// bit i ? lane i : other
HALFLAP_INLINE Lanes keep_lanes(uint32_t bits, Lanes a, Lanes other) {
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(bits), other.v, a.v)};
}

#elif defined(__AVX2__)

struct Lanes {
  __m256 a, b;
};
struct Ints {
  __m256i a, b;
};

HALFLAP_INLINE __m256 lower(Lanes x) { return x.a; }
HALFLAP_INLINE __m256 upper(Lanes x) { return x.b; }
HALFLAP_INLINE Lanes load(const float *p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
HALFLAP_INLINE void store(float *p, Lanes x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
HALFLAP_INLINE Lanes splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
HALFLAP_INLINE Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
HALFLAP_INLINE Lanes add(Lanes x, Lanes y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
HALFLAP_INLINE Lanes sub(Lanes x, Lanes y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
HALFLAP_INLINE Lanes mul(Lanes x, Lanes y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
HALFLAP_INLINE Lanes div(Lanes x, Lanes y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
HALFLAP_INLINE Lanes fma(Lanes x, Lanes y, Lanes z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
HALFLAP_INLINE Lanes greater(Lanes x, Lanes y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
HALFLAP_INLINE Lanes smaller(Lanes x, Lanes y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
HALFLAP_INLINE Lanes round_even(Lanes x) { return {_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)}; }
HALFLAP_INLINE Lanes where_less(Lanes x, Lanes bound, Lanes yes, Lanes no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, bound.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, bound.b, _CMP_LT_OQ))};
}
HALFLAP_INLINE __m256 power(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
HALFLAP_INLINE Lanes times_power(Lanes x, Lanes n) {
  return {_mm256_mul_ps(x.a, power(n.a)), _mm256_mul_ps(x.b, power(n.b))};
}
HALFLAP_INLINE void to_half(uint16_t *p, Lanes x) {
  _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
HALFLAP_INLINE Lanes from_half(const uint16_t *p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8)))};
}
HALFLAP_INLINE __m256 widen_bfloat(const uint16_t *p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
HALFLAP_INLINE Lanes from_bfloat(const uint16_t *p) { return {widen_bfloat(p), widen_bfloat(p + 8)}; }
HALFLAP_INLINE Lanes from_bytes(__m128i q) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8)))};
}
HALFLAP_INLINE Lanes from_bytes(const uint8_t *p) { return from_bytes(_mm_loadu_si128((const __m128i *)p)); }
HALFLAP_INLINE Ints zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
HALFLAP_INLINE Lanes to_float(Ints x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
HALFLAP_INLINE Ints load_ints(const int32_t *p) {
  return {_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 8))};
}
HALFLAP_INLINE Ints greater_magnitude(Ints x, Lanes y) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_max_epi32(x.a, _mm256_and_si256(_mm256_castps_si256(y.a), mask)),
          _mm256_max_epi32(x.b, _mm256_and_si256(_mm256_castps_si256(y.b), mask))};
}
HALFLAP_INLINE void store_ints(int32_t *p, Ints x) {
  _mm256_storeu_si256((__m256i *)p, x.a);
  _mm256_storeu_si256((__m256i *)(p + 8), x.b);
}
HALFLAP_INLINE Ints round_to_ints(Lanes x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
HALFLAP_INLINE uint32_t which_greater(Lanes x, Lanes y) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)), high = _mm256_movemask_ps(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ));
  return static_cast<uint32_t>(low | high << 8);
}
HALFLAP_INLINE Lanes keep_lanes(uint32_t bits, Lanes x, Lanes other) {
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
  const __m256i low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), high = _mm256_slli_epi32(low, 8);
  const auto kept = [&](__m256i own) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, own), own)); };
  return {_mm256_blendv_ps(other.a, x.a, kept(low)), _mm256_blendv_ps(other.b, x.b, kept(high))};
}

#elif defined(HALFLAP_NEON)

struct Lanes {
  float32x4_t v[4];
};
struct Ints {
  int32x4_t v[4];
};

template <class F>
HALFLAP_INLINE Lanes each(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}
template <class F>
HALFLAP_INLINE Ints each_int(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}

HALFLAP_INLINE Lanes load(const float *p) {
  return each([=](int i) { return vld1q_f32(p + 4 * i); });
}
HALFLAP_INLINE void store(float *p, Lanes a) {
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.v[i]);
}
HALFLAP_INLINE Lanes splat(float x) {
  return each([=](int) { return vdupq_n_f32(x); });
}
HALFLAP_INLINE Lanes zero() { return splat(0.0f); }
HALFLAP_INLINE Lanes add(Lanes a, Lanes b) {
  return each([&](int i) { return vaddq_f32(a.v[i], b.v[i]); });
}
HALFLAP_INLINE Lanes sub(Lanes a, Lanes b) {
  return each([&](int i) { return vsubq_f32(a.v[i], b.v[i]); });
}
HALFLAP_INLINE Lanes mul(Lanes a, Lanes b) {
  return each([&](int i) { return vmulq_f32(a.v[i], b.v[i]); });
}
HALFLAP_INLINE Lanes div(Lanes a, Lanes b) {
  return each([&](int i) { return vdivq_f32(a.v[i], b.v[i]); });
}
HALFLAP_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
  return each([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
}
// By comparison: vmaxq and vminq would return a NaN from either side.
HALFLAP_INLINE Lanes greater(Lanes a, Lanes b) {
  return each([&](int i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
HALFLAP_INLINE Lanes smaller(Lanes a, Lanes b) {
  return each([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); });
}
HALFLAP_INLINE Lanes round_even(Lanes a) {
  return each([&](int i) { return vrndnq_f32(a.v[i]); });
}
HALFLAP_INLINE Lanes where_less(Lanes a, Lanes bound, Lanes yes, Lanes no) {
  return each([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], bound.v[i]), yes.v[i], no.v[i]); });
}
HALFLAP_INLINE Lanes times_power(Lanes a, Lanes n) {
  return each([&](int i) {
    const int32x4_t e = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23);
    return vmulq_f32(a.v[i], vreinterpretq_f32_s32(e));
  });
}
HALFLAP_INLINE Lanes from_half(const uint16_t *p) {
  return each([=](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
HALFLAP_INLINE void to_half(uint16_t *p, Lanes x) {
  for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
HALFLAP_INLINE Lanes from_bfloat(const uint16_t *p) {
  return each([=](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
HALFLAP_INLINE Lanes from_bytes(const uint8_t *p) {
  const int8x16_t q = vld1q_s8(reinterpret_cast<const int8_t *>(p));
  const int16x8_t low = vmovl_s8(vget_low_s8(q)), high = vmovl_high_s8(q);
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
}
HALFLAP_INLINE Ints zero_ints() {
  return each_int([](int) { return vdupq_n_s32(0); });
}
HALFLAP_INLINE Lanes to_float(Ints a) {
  return each([&](int i) { return vcvtq_f32_s32(a.v[i]); });
}
HALFLAP_INLINE Ints load_ints(const int32_t *p) {
  return each_int([=](int i) { return vld1q_s32(p + 4 * i); });
}
// c + a's two int16 · b's two int16 in every 32-bit lane
HALFLAP_INLINE Ints dot_pairs(Ints c, const void *a, Ints b) {
  return each_int([&](int i) {
    const int16x8_t w = vld1q_s16(static_cast<const int16_t *>(a) + 8 * i), x = vreinterpretq_s16_s32(b.v[i]);
    return vaddq_s32(c.v[i], vpaddq_s32(vmull_s16(vget_low_s16(w), vget_low_s16(x)), vmull_high_s16(w, x)));
  });
}
HALFLAP_INLINE Ints splat_pair(const int16_t *p) {
  const int32_t pair = load32(p);
  return each_int([=](int) { return vdupq_n_s32(pair); });
}
HALFLAP_INLINE Ints greater_magnitude(Ints a, Lanes b) {
  return each_int([&](int i) {
    return vmaxq_s32(a.v[i], vandq_s32(vreinterpretq_s32_f32(b.v[i]), vdupq_n_s32(0x7fffffff)));
  });
}
HALFLAP_INLINE void store_ints(int32_t *p, Ints a) {
  for (int i = 0; i < 4; i++) vst1q_s32(p + 4 * i, a.v[i]);
}
HALFLAP_INLINE Ints round_to_ints(Lanes a) {
  return each_int([&](int i) { return vcvtnq_s32_f32(a.v[i]); });
}

#else

struct Lanes {
  float v[kLanes];
};
struct Ints {
  int32_t v[kLanes];
};

// a · b + c, rounded once. Without the instruction: the product is exact in double; its sum with c is rounded to odd
// there, so that rounding once more, to float, gives what one rounding would.
inline float fused(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b), addend = static_cast<double>(c);
  const double sum = product + addend, part = sum - product;
  const double lost = (product - (sum - part)) + (addend - part);
  int64_t bits;
  memcpy(&bits, &sum, 8);
  const int64_t outwards = (lost > 0) == (sum > 0) ? 1 : -1;
  bits += (lost > 0 || lost < 0) && !(bits & 1) ? outwards : 0;
  double odd;
  memcpy(&odd, &bits, 8);
  return static_cast<float>(odd);
}

template <class F>
HALFLAP_INLINE Lanes each(F f) {
  Lanes r;
  for (int i = 0; i < kLanes; i++) r.v[i] = f(i);
  return r;
}
template <class F>
HALFLAP_INLINE Ints each_int(F f) {
  Ints r;
  for (int i = 0; i < kLanes; i++) r.v[i] = f(i);
  return r;
}

HALFLAP_INLINE Lanes load(const float *p) {
  Lanes r;
  memcpy(r.v, p, sizeof r.v);
  return r;
}
HALFLAP_INLINE void store(float *p, Lanes a) { memcpy(p, a.v, sizeof a.v); }
HALFLAP_INLINE Lanes splat(float x) {
  return each([=](int) { return x; });
}
HALFLAP_INLINE Lanes zero() { return splat(0.0f); }
HALFLAP_INLINE Lanes add(Lanes a, Lanes b) {
  return each([&](int i) { return a.v[i] + b.v[i]; });
}
HALFLAP_INLINE Lanes sub(Lanes a, Lanes b) {
  return each([&](int i) { return a.v[i] - b.v[i]; });
}
HALFLAP_INLINE Lanes mul(Lanes a, Lanes b) {
  return each([&](int i) { return a.v[i] * b.v[i]; });
}
HALFLAP_INLINE Lanes div(Lanes a, Lanes b) {
  return each([&](int i) { return a.v[i] / b.v[i]; });
}
HALFLAP_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
#if defined(__FP_FAST_FMAF)
  return each([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
#else
  // The sum in double may be rounded twice unless it lies half way between two floats, or is too small for a normal one.
  double sums[kLanes];
  uint32_t parts[kLanes][2], doubtful = 0;
  for (int i = 0; i < kLanes; i++) sums[i] = static_cast<double>(a.v[i]) * static_cast<double>(b.v[i]) + static_cast<double>(c.v[i]);
  memcpy(parts, sums, sizeof sums);
  for (int i = 0; i < kLanes; i++) {
    const uint32_t low = parts[i][0] & 0x1fffffff, high = parts[i][1] & 0x7fffffff;
    doubtful |= (low == 0x10000000) | (high - 1 < 0x38100000 - 1);
  }
  if (doubtful) return each([&](int i) { return fused(a.v[i], b.v[i], c.v[i]); });
  return each([&](int i) { return static_cast<float>(sums[i]); });
#endif
}
HALFLAP_INLINE Lanes greater(Lanes a, Lanes b) {
  return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
HALFLAP_INLINE Lanes smaller(Lanes a, Lanes b) {
  return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
HALFLAP_INLINE Lanes round_even(Lanes a) {
  return each([&](int i) { return std::nearbyint(a.v[i]); });
}
HALFLAP_INLINE Lanes where_less(Lanes a, Lanes bound, Lanes yes, Lanes no) {
  return each([&](int i) { return a.v[i] < bound.v[i] ? yes.v[i] : no.v[i]; });
}
HALFLAP_INLINE Lanes times_power(Lanes a, Lanes n) {
  // A NaN's conversion to int is undefined: its product is NaN whatever the power.
  return each([&](int i) {
    const int e = n.v[i] == n.v[i] ? static_cast<int>(n.v[i]) : 0;
    return a.v[i] * bits_to_float(static_cast<uint32_t>(e + 127) << 23);
  });
}
HALFLAP_INLINE Lanes from_half(const uint16_t *p) {
  return each([&](int i) { return half_to_float(load16(p + i)); });
}
HALFLAP_INLINE void to_half(uint16_t *p, Lanes x) {
  for (int i = 0; i < kLanes; i++) p[i] = float_to_half(x.v[i]);
}
HALFLAP_INLINE Lanes from_bfloat(const uint16_t *p) {
  return each([&](int i) { return bfloat_to_float(load16(p + i)); });
}
HALFLAP_INLINE Lanes from_bytes(const uint8_t *p) {
  return each([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}
HALFLAP_INLINE Ints zero_ints() {
  return each_int([](int) { return 0; });
}
HALFLAP_INLINE Lanes to_float(Ints a) {
  return each([&](int i) { return static_cast<float>(a.v[i]); });
}
HALFLAP_INLINE Ints load_ints(const int32_t *p) {
  Ints r;
  memcpy(r.v, p, sizeof r.v);
  return r;
}
HALFLAP_INLINE Ints dot_pairs(Ints c, const void *a, Ints b) {
  int16_t w[2 * kLanes], x[2 * kLanes];
  memcpy(w, a, sizeof w);
  memcpy(x, b.v, sizeof x);
  return each_int([&](int i) { return c.v[i] + w[2 * i] * x[2 * i] + w[2 * i + 1] * x[2 * i + 1]; });
}
HALFLAP_INLINE Ints splat_pair(const int16_t *p) {
  const int32_t pair = load32(p);
  return each_int([=](int) { return pair; });
}
HALFLAP_INLINE Ints greater_magnitude(Ints a, Lanes b) {
  return each_int([&](int i) {
    const int32_t bits = static_cast<int32_t>(float_to_bits(b.v[i]) & 0x7fffffff);
    return a.v[i] > bits ? a.v[i] : bits;
  });
}
HALFLAP_INLINE void store_ints(int32_t *p, Ints a) { memcpy(p, a.v, sizeof a.v); }
HALFLAP_INLINE Ints round_to_ints(Lanes a) {
  return each_int([&](int i) { return static_cast<int32_t>(std::nearbyint(a.v[i])); });
}

#endif

// -- what follows is the same for every set ---------------------------------------------------------------------------

HALFLAP_INLINE Lanes load_first(const float *p, int64_t n) {  // the rest reads as zero
  float t[kLanes] = {};
  for (int64_t i = 0; i < n; i++) t[i] = p[i];
  return load(t);
}

HALFLAP_INLINE void store_first(float *p, Lanes a, int64_t n) {
  float t[kLanes];
  store(t, a);
  for (int64_t i = 0; i < n; i++) p[i] = t[i];
}

// Lanes i and i + 8 first, then i + 4, i + 2, i + 1: one tree for every set.
#if defined(__AVX2__)
HALFLAP_INLINE float sum(Lanes x) {
  const __m256 eight = _mm256_add_ps(lower(x), upper(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

HALFLAP_INLINE float highest(Lanes x) {  // NaN lanes are passed over or not, but always alike
  const __m256 eight = _mm256_max_ps(lower(x), upper(x));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
#else
HALFLAP_INLINE float sum(Lanes a) {
  float t[kLanes];
  store(t, a);
  for (int half = 8; half; half /= 2)
    for (int i = 0; i < half; i++) t[i] += t[i + half];
  return t[0];
}

HALFLAP_INLINE float highest(Lanes a) {
  float t[kLanes];
  store(t, a);
  for (int half = 8; half; half /= 2)
    for (int i = 0; i < half; i++) t[i] = t[i] > t[i + half] ? t[i] : t[i + half];
  return t[0];
}
HALFLAP_INLINE uint32_t which_greater(Lanes a, Lanes b) {
  float s[kLanes], t[kLanes];
  store(s, a);
  store(t, b);
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; i++) bits |= static_cast<uint32_t>(s[i] > t[i]) << i;
  return bits;
}
HALFLAP_INLINE Lanes keep_lanes(uint32_t bits, Lanes a, Lanes other) {
  float s[kLanes], t[kLanes];
  store(s, a);
  store(t, other);
  for (int i = 0; i < kLanes; i++) s[i] = bits >> i & 1 ? s[i] : t[i];
  return load(s);
}
#endif

// Sixteen bytes' low or high halves, as numbers from -8 to 7.
HALFLAP_INLINE Lanes from_nibbles(const uint8_t *p, bool high) {
#if defined(__AVX2__)
  const __m128i both = _mm_loadu_si128((const __m128i *)p), q = high ? _mm_srli_epi16(both, 4) : both;
  return from_bytes(_mm_sub_epi8(_mm_and_si128(q, _mm_set1_epi8(15)), _mm_set1_epi8(8)));
#else
  uint8_t q[kLanes];
  for (int i = 0; i < kLanes; i++) q[i] = static_cast<uint8_t>((high ? p[i] >> 4 : p[i] & 15) - 8);
  return from_bytes(q);
#endif
}

HALFLAP_INLINE int32_t highest(Ints a) {
  int32_t t[kLanes];
  store_ints(t, a);
  for (int half = 8; half; half /= 2)
    for (int i = 0; i < half; i++) t[i] = t[i] > t[i + half] ? t[i] : t[i + half];
  return t[0];
}

// f(index, count) over `n` elements in steps of 16; the last step may be shorter.
template <class F>
HALFLAP_INLINE void for_lanes(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, static_cast<int64_t>(kLanes));
  if (i < n) f(i, n - i);
}

HALFLAP_INLINE Lanes load_some(const float *p, int64_t n) { return n == kLanes ? load(p) : load_first(p, n); }
HALFLAP_INLINE void store_some(float *p, Lanes a, int64_t n) { n == kLanes ? store(p, a) : store_first(p, a, n); }

}  // namespace halflap::cpu::HALFLAP_ISA
