// The instruction sets that this processor runs, through the same switch that users have; and AMX and AVX-VNNI emulated.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dispatch.h"
#include "error.h"

#if defined(HALFLAP_AMX_EMULATED)
namespace halflap::cpu::amx_emulated {
const Kernels &kernels();
}
#endif
#if defined(HALFLAP_AVXVNNI_EMULATED)
namespace halflap::cpu::avx2vnni_emulated {
const Kernels &kernels();
}
#endif

inline std::vector<const halflap::cpu::Kernels *> sets() {
  std::vector<const halflap::cpu::Kernels *> found;
  for (const char *name : {"portable", "avx2", "avx2vnni", "avx512", "avx512vnni", "amx", "neon", "neondot", "i8mm"}) {
    setenv("HALFLAP_CPU_ISA", name, 1);
    try {
      found.push_back(&halflap::cpu::choose_kernels());
    } catch (const halflap::cpu::Error &) {
    }
  }
  unsetenv("HALFLAP_CPU_ISA");
#if defined(HALFLAP_AMX_EMULATED)
  const auto is_vnni = [](const halflap::cpu::Kernels *k) { return strcmp(k->name, "avx512vnni") == 0; };
  if (std::any_of(found.begin(), found.end(), is_vnni) && __builtin_cpu_supports("avx512bf16"))
    found.push_back(&halflap::cpu::amx_emulated::kernels());
#endif
#if defined(HALFLAP_AVXVNNI_EMULATED)
  if (__builtin_cpu_supports("avx2")) found.push_back(&halflap::cpu::avx2vnni_emulated::kernels());
#endif
  return found;
}
