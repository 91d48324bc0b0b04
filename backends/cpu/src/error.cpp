#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace halflap::cpu {

void fail(int32_t status, const char *format, ...) {
  char text[504];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  throw Error{status, text};
}

void fail_memory(const char *what, int64_t wanted, int64_t free) {
  char text[504];
  snprintf(text, sizeof text, "%s: got %lld free bytes, want %lld", what, static_cast<long long>(free),
           static_cast<long long>(wanted));
  throw Error{HL_OUT_OF_MEMORY, text, wanted, free};
}

}  // namespace halflap::cpu
