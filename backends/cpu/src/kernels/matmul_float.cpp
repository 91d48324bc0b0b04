// F32, F16 and BF16 weights times float activations: sixteen accumulators along K and one fixed reduction tree, the same
// for every tile shape, so that a row's bits never depend on T.
#include "simd.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

struct Float32 {
  static constexpr int kBytes = 4;
  static HALFLAP_INLINE Lanes lanes(const uint8_t *p) { return load(reinterpret_cast<const float *>(p)); }
  static HALFLAP_INLINE float one(const uint8_t *p) {
    float v;
    memcpy(&v, p, 4);
    return v;
  }
};

struct Float16 {
  static constexpr int kBytes = 2;
  static HALFLAP_INLINE Lanes lanes(const uint8_t *p) { return from_half(reinterpret_cast<const uint16_t *>(p)); }
  static HALFLAP_INLINE float one(const uint8_t *p) { return half_to_float(load16(p)); }
};

struct BFloat16 {
  static constexpr int kBytes = 2;
  static HALFLAP_INLINE Lanes lanes(const uint8_t *p) { return from_bfloat(reinterpret_cast<const uint16_t *>(p)); }
  static HALFLAP_INLINE float one(const uint8_t *p) { return bfloat_to_float(load16(p)); }
};

template <class F>
HALFLAP_INLINE Lanes some_lanes(const uint8_t *p, int64_t n) {
  if (n == kLanes) return F::lanes(p);
  float t[kLanes] = {};
  for (int64_t i = 0; i < n; i++) t[i] = F::one(p + i * F::kBytes);
  return load(t);
}

template <class F, int R, int N>
HALFLAP_INLINE void tile(const MatmulTask &task, int64_t r, int64_t t) {
  const uint8_t *w[R];
  const float *x[N];
  for (int i = 0; i < R; i++) w[i] = task.weight + (r + i) * task.row_bytes;
  for (int n = 0; n < N; n++)
    x[n] = static_cast<const float *>(task.x) + (task.gather ? task.gather[t + n] : t + n) * task.x_stride;
  Lanes sums[R][N];
  for (int i = 0; i < R; i++)
    for (int n = 0; n < N; n++) sums[i][n] = zero();
  for_lanes(task.width, [&](int64_t k, int64_t count) {
    Lanes a[N];
    for (int n = 0; n < N; n++) a[n] = load_some(x[n] + k, count);
    for (int i = 0; i < R; i++) {
      const Lanes b = some_lanes<F>(w[i] + k * F::kBytes, count);
      for (int n = 0; n < N; n++) sums[i][n] = fma(b, a[n], sums[i][n]);
    }
  });
  for (int i = 0; i < R; i++)
    for (int n = 0; n < N; n++) {
      const float y = sum(sums[i][n]);
      task.y[(t + n) * task.y_stride + r + i] = task.bias ? y + task.bias[r + i] : y;
    }
}

template <class F, int R>
void rows(const MatmulTask &task, int64_t r) {
  int64_t t = 0;
  for (; t + 4 <= task.tokens; t += 4) tile<F, R, 4>(task, r, t);
  for (; t < task.tokens; t++) tile<F, R, 1>(task, r, t);
}

template <class F>
void matmul_float(const MatmulTask &task) {
  int64_t r = 0;
  for (; r + 4 <= task.rows; r += 4) rows<F, 4>(task, r);
  for (; r < task.rows; r++) rows<F, 1>(task, r);
}

template <class F>
void widen(const uint8_t *row, int64_t width, float *y) {
  for_lanes(width, [&](int64_t k, int64_t n) { store_some(y + k, some_lanes<F>(row + k * F::kBytes, n), n); });
}

template <class F>
static void fill(Kernels &k, Type type) {
  k.matmul[static_cast<int>(type)] = matmul_float<F>;
  k.dequantize[static_cast<int>(type)] = widen<F>;
}

void fill_matmul_float(Kernels &k) {
  fill<Float32>(k, Type::F32);
  fill<Float16>(k, Type::F16);
  fill<BFloat16>(k, Type::BF16);
}

}  // namespace halflap::cpu::HALFLAP_ISA
