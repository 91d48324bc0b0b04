// The portable set's multiply-add rounds once, as the instruction of the other sets does.
#define HALFLAP_ISA portable
#include "kernels/simd.h"

#include <random>

#include "check.h"

using namespace halflap::cpu::portable;

int main() {
  std::mt19937 random_bits(3);
  for (int i = 0; i < 4000000; i++) {
    // Any floats; and an addend near the product, where most of both cancels.
    const float a = bits_to_float(static_cast<uint32_t>(random_bits())), b = bits_to_float(static_cast<uint32_t>(random_bits()));
    const uint32_t near = float_to_bits(-a * b) + static_cast<uint32_t>(random_bits() % 5) - 2;
    for (const float c : {bits_to_float(static_cast<uint32_t>(random_bits())), bits_to_float(near), 0.0f, -a}) {
      const float want = std::fma(a, b, c), got = fused(a, b, c);
      CHECK(float_to_bits(got) == float_to_bits(want) || (want != want && got != got));
    }
  }
  return 0;
}
