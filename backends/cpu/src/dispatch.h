// Which set of kernels this processor gets.
#pragma once
#include "kernels/kernels.h"

namespace halflap::cpu {

// The best set, or the one that HALFLAP_CPU_ISA names; throws HL_UNSUPPORTED where the processor lacks it.
const Kernels &choose_kernels();

// "AMD EPYC 9000": as the system calls the processor.
const char *processor_name();
int physical_cores();

}  // namespace halflap::cpu
