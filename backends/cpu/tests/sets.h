// The instruction sets that this processor runs, through the same switch that users have.
#pragma once
#include <cstdlib>
#include <vector>

#include "dispatch.h"
#include "error.h"

inline std::vector<const halflap::cpu::Kernels *> sets() {
  std::vector<const halflap::cpu::Kernels *> found;
  for (const char *name : {"portable", "avx2", "avx512", "avx512vnni", "amx"}) {
    setenv("HALFLAP_CPU_ISA", name, 1);
    try {
      found.push_back(&halflap::cpu::choose_kernels());
    } catch (const halflap::cpu::Error &) {
    }
  }
  unsetenv("HALFLAP_CPU_ISA");
  return found;
}
