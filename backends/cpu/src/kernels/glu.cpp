// Activations, alone and gated.
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
static void gate_with(const float *gate, const float *up, float *y, int64_t n) {
  for_lanes(n, [&](int64_t i, int64_t c) {
    store_some(y + i, mul(A::of(load_some(gate + i, c)), load_some(up + i, c)), c);
  });
}

static void activate(Activation kind, const float *x, float *y, int64_t n) {
  switch (kind) {
    case Activation::silu: return apply<Silu>(x, y, n);
    case Activation::gelu_tanh: return apply<GeluTanh>(x, y, n);
    case Activation::relu: return apply<Relu>(x, y, n);
    case Activation::sigmoid: return apply<Sigmoid>(x, y, n);
    case Activation::softplus: return apply<Softplus>(x, y, n);
  }
}

static void glu(Activation kind, const float *gate, const float *up, float *y, int64_t n) {
  switch (kind) {
    case Activation::silu: return gate_with<Silu>(gate, up, y, n);
    case Activation::gelu_tanh: return gate_with<GeluTanh>(gate, up, y, n);
    case Activation::relu: return gate_with<Relu>(gate, up, y, n);
    case Activation::sigmoid: return gate_with<Sigmoid>(gate, up, y, n);
    case Activation::softplus: return gate_with<Softplus>(gate, up, y, n);
  }
}

void fill_glu(Kernels &k) {
  k.activate = activate;
  k.glu = glu;
}

}  // namespace halflap::cpu::HALFLAP_ISA
