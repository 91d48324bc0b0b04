// Instances for every quantised type, of the way to multiply that fits the set.
#include "matmul_panels.h"
#include "rows512.h"
#include "tiles256.h"

#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

template <class F>
static void fill(Kernels &k) {
#if defined(__AVX2__)
  k.matmul[static_cast<int>(F::kType)] = [](const MatmulTask &task) {
    task.tiles ? matmul_tiles<F>(task) : matmul_rows<F>(task);
  };
#else
  k.matmul[static_cast<int>(F::kType)] = matmul_panels<F>;
#endif
  k.dequantize[static_cast<int>(F::kType)] = dequantize_row<F>;
}

void fill_matmul_quant(Kernels &k) {
#define HALFLAP_FILL(name, block, bytes) fill<name>(k);
  HALFLAP_QUANTISED_TYPES(HALFLAP_FILL)
#undef HALFLAP_FILL
#if defined(__AVX2__)
  k.pack_tiles = pack_tiles;
  k.tiles_from = kTilesFrom;
  k.narrow_tokens = kNarrowTokens;
#endif
}

}  // namespace halflap::cpu::HALFLAP_ISA
