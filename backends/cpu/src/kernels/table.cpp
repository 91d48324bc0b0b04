// The finished table of this instruction set.
#include "table.h"

#define HALFLAP_TEXT(x) #x
#define HALFLAP_NAME(x) HALFLAP_TEXT(x)

namespace halflap::cpu::HALFLAP_ISA {

const Kernels &kernels() {
  static const Kernels made = [] {
    Kernels k{};
    k.name = HALFLAP_NAME(HALFLAP_ISA);
    fill_matmul_quant(k);
    fill_matmul_float(k);
#if defined(__AMX_INT8__)
    fill_matmul_amx(k);
    fill_matmul_bf16(k);
#endif
    fill_norm(k);
    fill_glu(k);
    fill_elementwise(k);
    fill_rope(k);
    fill_kv(k);
    fill_attention(k);
    fill_hadamard(k);
    fill_candidates(k);
    fill_conv(k);
    fill_compress(k);
    fill_delta_rule(k);
    fill_ssm(k);
    return k;
  }();
  return made;
}

}  // namespace halflap::cpu::HALFLAP_ISA
