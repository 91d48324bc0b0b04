// e^x, sigmoid, softplus, tanh and the error function on lanes, to about 2 ulp; NaN in, NaN out.
#pragma once
#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

HALFLAP_INLINE Lanes exponential(Lanes x) {
  // Cody and Waite's reduction x = n·ln2 + r, then the Taylor-like minimax polynomial of e^r on [-ln2/2, ln2/2].
  const Lanes bounded = smaller(splat(88.3f), greater(splat(-87.3f), x));
  const Lanes n = round_even(mul(bounded, splat(1.44269504f)));
  Lanes r = fma(n, splat(-0.693359375f), bounded);
  r = fma(n, splat(2.12194440e-4f), r);
  Lanes p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = add(fma(p, mul(r, r), r), splat(1.0f));
  const Lanes y = times_power(p, n);
  return where_less(x, splat(-87.3f), zero(), where_less(splat(88.3f), x, splat(INFINITY), y));
}

HALFLAP_INLINE Lanes sigmoid(Lanes x) {
  return div(splat(1.0f), add(splat(1.0f), exponential(sub(zero(), x))));
}

HALFLAP_INLINE Lanes silu(Lanes x) { return div(x, add(splat(1.0f), exponential(sub(zero(), x)))); }

// ln(1 + e^x) = max(x, 0) + ln(1 + u) with u = e^-|x|; ln(1 + u) = 2 artanh(s) with s = u / (2 + u), at most 1/3.
HALFLAP_INLINE Lanes softplus(Lanes x) {
  const Lanes u = exponential(smaller(sub(zero(), x), x)), s = div(u, add(splat(2.0f), u)), z = mul(s, s);
  Lanes p = splat(1.0f / 15);
  p = fma(p, z, splat(1.0f / 13));
  p = fma(p, z, splat(1.0f / 11));
  p = fma(p, z, splat(1.0f / 9));
  p = fma(p, z, splat(1.0f / 7));
  p = fma(p, z, splat(1.0f / 5));
  p = fma(p, z, splat(1.0f / 3));
  p = fma(p, z, splat(1.0f));
  return fma(add(s, s), p, greater(zero(), x));
}

HALFLAP_INLINE Lanes tanh_lanes(Lanes x) {
  const Lanes far = sub(splat(1.0f), div(splat(2.0f), add(exponential(add(x, x)), splat(1.0f))));
  // Near zero 1 - 2/(e^2x + 1) loses digits: the series keeps them.
  const Lanes s = mul(x, x);
  Lanes p = splat(2.1869488e-2f);
  p = fma(p, s, splat(-5.3968254e-2f));
  p = fma(p, s, splat(1.3333333e-1f));
  p = fma(p, s, splat(-3.3333334e-1f));
  const Lanes near = fma(mul(p, s), x, x);
  return where_less(s, splat(0.04f), near, far);
}

// Near zero x + x·p(x²); further out 1 - e^q(|x|): both fitted by least squares, to 1 ulp of the result.
HALFLAP_INLINE Lanes error_function(Lanes x) {
  const auto horner = [](const auto &terms, Lanes at) {
    Lanes y = splat(terms[0]);
    for (int i = 1; i < static_cast<int>(sizeof terms / sizeof terms[0]); i++) y = fma(y, at, splat(terms[i]));
    return y;
  };
  constexpr float kNear[] = {8.11687551e-05f, -0.000808028231f, 0.00519529124f, -0.0268569789f,
                             0.112836497f,    -0.376126306f,    0.128379166f};
  constexpr float kFar[] = {-1.83008614e-05f, 0.000398619226f, -0.00398124103f, 0.0245802517f,
                            -0.10739096f,     -0.634200042f,   -1.12907295f,    7.91156563e-05f};
  const Lanes size = greater(sub(zero(), x), x), bounded = smaller(splat(3.92f), size);
  const Lanes near = fma(horner(kNear, mul(x, x)), x, x);
  const Lanes far = sub(splat(1.0f), exponential(horner(kFar, bounded)));
  return where_less(size, splat(0.95f), near, where_less(x, zero(), sub(zero(), far), far));
}

}  // namespace halflap::cpu::HALFLAP_ISA
