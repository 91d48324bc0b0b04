// Each file of kernels puts its functions into the set's table.
#pragma once
#include "kernels.h"

namespace halflap::cpu::HALFLAP_ISA {

void fill_matmul_quant(Kernels &k);
void fill_matmul_float(Kernels &k);
void fill_matmul_amx(Kernels &k);   // after fill_matmul_quant: falls back on it
void fill_matmul_bf16(Kernels &k);  // after fill_matmul_float: takes F16 and BF16 from it
void fill_norm(Kernels &k);
void fill_glu(Kernels &k);
void fill_elementwise(Kernels &k);
void fill_rope(Kernels &k);
void fill_kv(Kernels &k);
void fill_attention(Kernels &k);
void fill_hadamard(Kernels &k);
void fill_candidates(Kernels &k);
void fill_conv(Kernels &k);
void fill_compress(Kernels &k);
void fill_delta_rule(Kernels &k);
void fill_ssm(Kernels &k);

}  // namespace halflap::cpu::HALFLAP_ISA
