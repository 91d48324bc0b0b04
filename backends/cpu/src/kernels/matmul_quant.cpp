// Instances of matmul_quant.h for every quantised type.
#include "matmul_quant.h"
#include "rows512.h"

#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

template <class F>
static void fill(Kernels &k) {
#if defined(__AVX512VNNI__)
  k.matmul[static_cast<int>(F::kType)] = matmul_rows<F>;
#else
  k.matmul[static_cast<int>(F::kType)] = matmul_panels<F>;
#endif
  k.dequantize[static_cast<int>(F::kType)] = dequantize_row<F>;
}

void fill_matmul_quant(Kernels &k) {
#define HALFLAP_FILL(name, block, bytes) fill<name>(k);
  HALFLAP_QUANTISED_TYPES(HALFLAP_FILL)
#undef HALFLAP_FILL
#if defined(__AVX512VNNI__)
  k.pack_tiles = pack_tiles;
  k.tiles_from = 3;
#endif
}

}  // namespace halflap::cpu::HALFLAP_ISA
