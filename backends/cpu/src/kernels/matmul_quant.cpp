// Instances of matmul_quant.h for every quantised type.
#include "matmul_quant.h"

#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

template <class F>
static void fill(Kernels &k, Type type) {
  k.matmul[static_cast<int>(type)] = matmul_panels<F>;
  k.dequantize[static_cast<int>(type)] = dequantize_row<F>;
}

void fill_matmul_quant(Kernels &k) {
  fill<Q8_0>(k, Type::Q8_0);
  fill<Q4_0>(k, Type::Q4_0);
  fill<Q4_1>(k, Type::Q4_1);
  fill<Q5_0>(k, Type::Q5_0);
  fill<Q5_1>(k, Type::Q5_1);
  fill<IQ4_NL>(k, Type::IQ4_NL);
  fill<Q2_K>(k, Type::Q2_K);
  fill<Q3_K>(k, Type::Q3_K);
  fill<Q4_K>(k, Type::Q4_K);
  fill<Q5_K>(k, Type::Q5_K);
  fill<Q6_K>(k, Type::Q6_K);
  fill<IQ4_XS>(k, Type::IQ4_XS);
}

}  // namespace halflap::cpu::HALFLAP_ISA
