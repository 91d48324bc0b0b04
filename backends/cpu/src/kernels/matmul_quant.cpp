// Instances of matmul_quant.h for every quantised type.
#include "matmul_quant.h"
#include "rows512.h"

#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

template <class F>
static void fill(Kernels &k) {
  k.matmul[static_cast<int>(F::kType)] = matmul_panels<F>;
  k.dequantize[static_cast<int>(F::kType)] = dequantize_row<F>;
}

#if defined(__AVX512VNNI__)
template <class Row>
static void fill_rows(Kernels &k) {
  k.matmul[static_cast<int>(Row::Format::kType)] = matmul_rows<Row>;
}
#endif

void fill_matmul_quant(Kernels &k) {
#define HALFLAP_FILL(name, block, bytes) fill<name>(k);
  HALFLAP_QUANTISED_TYPES(HALFLAP_FILL)
#undef HALFLAP_FILL
#if defined(__AVX512VNNI__)
  fill_rows<RowQ8_0>(k);
  fill_rows<RowQ4_0>(k);
  fill_rows<RowQ4_1>(k);
  fill_rows<RowQ5_0>(k);
  fill_rows<RowQ5_1>(k);
  fill_rows<RowIQ4_NL>(k);
  fill_rows<RowQ4_K>(k);
  fill_rows<RowQ5_K>(k);
  fill_rows<RowQ6_K>(k);
  fill_rows<RowQ2_K>(k);
  fill_rows<RowQ3_K>(k);
  fill_rows<RowIQ4_XS>(k);
#endif
}

}  // namespace halflap::cpu::HALFLAP_ISA
