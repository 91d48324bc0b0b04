// Instances of matmul_quant.h for every quantised type.
#include "matmul_quant.h"
#include "rows512.h"

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
#if defined(__AVX512VNNI__)
  k.matmul[static_cast<int>(Type::Q8_0)] = matmul_rows<RowQ8_0>;
  k.matmul[static_cast<int>(Type::Q4_0)] = matmul_rows<RowQ4_0>;
  k.matmul[static_cast<int>(Type::Q4_1)] = matmul_rows<RowQ4_1>;
  k.matmul[static_cast<int>(Type::Q5_0)] = matmul_rows<RowQ5_0>;
  k.matmul[static_cast<int>(Type::Q5_1)] = matmul_rows<RowQ5_1>;
  k.matmul[static_cast<int>(Type::IQ4_NL)] = matmul_rows<RowIQ4_NL>;
  k.matmul[static_cast<int>(Type::Q4_K)] = matmul_rows<RowQ4_K>;
  k.matmul[static_cast<int>(Type::Q5_K)] = matmul_rows<RowQ5_K>;
  k.matmul[static_cast<int>(Type::Q6_K)] = matmul_rows<RowQ6_K>;
  k.matmul[static_cast<int>(Type::Q2_K)] = matmul_rows<RowQ2_K>;
  k.matmul[static_cast<int>(Type::Q3_K)] = matmul_rows<RowQ3_K>;
  k.matmul[static_cast<int>(Type::IQ4_XS)] = matmul_rows<RowIQ4_XS>;
#endif
}

}  // namespace halflap::cpu::HALFLAP_ISA
