// The one exception of this backend; api.cpp turns it into a status and a text.
#pragma once
#include <halflap/abi.h>

#include <cstdint>
#include <string>

namespace halflap::cpu {

struct Error {
  int32_t status;
  std::string text;  // "what: got X, want Y"
  int64_t wanted = 0;
  int64_t free = 0;
};

[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(int32_t status, const char *format, ...);
[[noreturn]] void fail_memory(const char *what, int64_t wanted, int64_t free);

}  // namespace halflap::cpu
