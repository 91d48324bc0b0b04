// The extension "candidates" of abi.h.
#pragma once
#include "device.h"

namespace halflap::cpu {

// Checks the asks, finds what they want and writes it. Fails with HL_INVALID on what breaks a rule of the header.
void find_candidates(const Device &device, const hl_candidates &asks);

}  // namespace halflap::cpu
