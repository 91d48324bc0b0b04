// The portable set's multiply-add rounds once, as the instruction of the other sets does.
#define HALFLAP_ISA portable
#include "kernels/simd.h"

#include <random>

#include "check.h"

using namespace halflap::cpu::portable;

int main() {
  std::mt19937 random(3);
  const auto random_bits = [&] { return static_cast<uint32_t>(random()); };
  for (int i = 0; i < 4000000; i++) {
    // Any floats, half of them with few bits, so that sums lie half way; and an addend near the product, where most of
    // both cancels.
    const uint32_t mask = i % 2 ? 0xffffffff : 0xfffff000;
    const float a = bits_to_float(random_bits() & mask), b = bits_to_float(random_bits() & mask);
    const uint32_t near = float_to_bits(-a * b) + random_bits() % 5 - 2;
    for (const float c : {bits_to_float(random_bits()), bits_to_float(near), 0.0f, -a}) {
      const float want = std::fma(a, b, c);
      for (const float got : {fused(a, b, c), fma(splat(a), splat(b), splat(c)).v[i % kLanes]})
        CHECK(float_to_bits(got) == float_to_bits(want) || (want != want && got != got));
    }
  }
  return 0;
}
