// The eight tile registers of AMX: instructions, or tests/amx_emulated.h for processors without them.
#pragma once
#include "simd.h"

namespace halflap::cpu::HALFLAP_ISA {

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
};

}  // namespace halflap::cpu::HALFLAP_ISA

#if defined(HALFLAP_AMX_EMULATED)
#include "amx_emulated.h"
#else

namespace halflap::cpu::HALFLAP_ISA {

// Written out: gcc 12's own intrinsic for the configuration lets the compiler drop stores to one built on the stack.
HALFLAP_INLINE void configure(const TileConfig &config) { asm volatile("ldtilecfg %0" ::"m"(config) : "memory"); }
HALFLAP_INLINE void release() { asm volatile("tilerelease" ::: "memory"); }
template <int T>
HALFLAP_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"n"(T));
}
template <int T>
HALFLAP_INLINE void load_tile(const void *from, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"n"(T), "r"(from), "r"(stride) : "memory");
}
template <int T>
HALFLAP_INLINE void store_tile(void *to) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"n"(T), "r"(to), "r"(int64_t{64}) : "memory");
}
template <int C, int A, int B>
HALFLAP_INLINE void multiply_tiles() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(C), "n"(A), "n"(B));
}

template <int C, int A, int B>
HALFLAP_INLINE void multiply_bf16_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(C), "n"(A), "n"(B));
}

}  // namespace halflap::cpu::HALFLAP_ISA

#endif
