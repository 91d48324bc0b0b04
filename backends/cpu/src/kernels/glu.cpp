// Activations, alone and gated.
#include <type_traits>

#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

struct Silu {
  static HALFLAP_INLINE Lanes of(Lanes x) { return silu(x); }
};

struct GeluTanh {
  static HALFLAP_INLINE Lanes of(Lanes x) {
    const Lanes cubed = mul(mul(x, x), x), inner = mul(splat(0.7978845608f), fma(splat(0.044715f), cubed, x));
    // 0.5 · x · (1 + tanh u) = x · sigmoid(2u), without cancellation for negative u
    return mul(x, sigmoid(add(inner, inner)));
  }
};

struct Relu {
  static HALFLAP_INLINE Lanes of(Lanes x) { return greater(zero(), x); }
};

struct Relu2 {
  static HALFLAP_INLINE Lanes of(Lanes x) {
    const Lanes y = greater(zero(), x);
    return mul(y, y);
  }
};

struct Gelu {
  static HALFLAP_INLINE Lanes of(Lanes x) {
    const Lanes half = mul(splat(0.5f), x);
    return fma(half, error_function(mul(x, splat(0.70710678f))), half);
  }
};

struct SwigluOai {
  static HALFLAP_INLINE Lanes of(Lanes x) { return mul(x, sigmoid(mul(splat(1.702f), x))); }
};

struct Sigmoid {
  static HALFLAP_INLINE Lanes of(Lanes x) { return sigmoid(x); }
};

struct Softplus {
  static HALFLAP_INLINE Lanes of(Lanes x) { return softplus(x); }
};

template <class A>
static void apply(const float *x, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) { store_some(y + i, A::of(load_some(x + i, c)), c); });
}

template <class A>
static void gate_with(float limit, const float *gate, const float *up, float *y, int64_t n) {
  const float bound = limit > 0 ? limit : INFINITY;
  const Lanes top = splat(bound), bottom = splat(-bound);
  for_lanes(n, [&](int64_t i, int64_t c) {
    const Lanes g = smaller(top, load_some(gate + i, c));
    Lanes u = smaller(top, greater(bottom, load_some(up + i, c)));
    if constexpr (std::is_same_v<A, SwigluOai>) u = add(u, splat(1.0f));
    store_some(y + i, mul(A::of(g), u), c);
  });
}

// f(activation as a type)
template <class F>
static void with_activation(Activation kind, F f) {
  switch (kind) {
    case Activation::silu: return f(Silu{});
    case Activation::gelu: return f(Gelu{});
    case Activation::gelu_tanh: return f(GeluTanh{});
    case Activation::relu: return f(Relu{});
    case Activation::relu2: return f(Relu2{});
    case Activation::sigmoid: return f(Sigmoid{});
    case Activation::softplus: return f(Softplus{});
    case Activation::swiglu_oai: return f(SwigluOai{});
  }
}

static void activate(Activation kind, const float *x, float *y, int64_t n) {
  with_activation(kind, [&](auto a) { apply<decltype(a)>(x, y, n); });
}

static void glu(Activation kind, float limit, const float *gate, const float *up, float *y, int64_t n) {
  with_activation(kind, [&](auto a) { gate_with<decltype(a)>(limit, gate, up, y, n); });
}

void fill_glu(Kernels &k) {
  k.activate = activate;
  k.glu = glu;
}

}  // namespace halflap::cpu::HALFLAP_ISA
