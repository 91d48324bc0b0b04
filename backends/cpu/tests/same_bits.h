// Every set must give the same bits: outputs of the first are kept, those of the others compared with them. Their checksum
// is printed, for comparison with other machines.
#pragma once
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "check.h"

class SameBits {
 public:
  void begin_set(const char *name) {
    set_ = name;
    next_ = 0;
  }

  void check(const char *what, const float *y, size_t n) {
    if (next_ == outputs_.size()) outputs_.emplace_back(y, y + n);
    const std::vector<float> &wanted = outputs_[next_++];
    const bool same = wanted.size() == n && memcmp(wanted.data(), y, n * sizeof(float)) == 0;
    if (!same) fprintf(stderr, "%s, %s: not the bits of the first set\n", set_, what);
    CHECK(same);
  }

  void print() const {
    uint64_t sum = 0xcbf29ce484222325u;  // FNV-1a
    for (const std::vector<float> &y : outputs_)
      for (const float v : y) {
        uint32_t bits;
        memcpy(&bits, &v, 4);
        for (int i = 0; i < 32; i += 8) sum = (sum ^ ((bits >> i) & 255)) * 0x100000001b3u;
      }
    printf("checksum %016" PRIx64 "\n", sum);
  }

 private:
  const char *set_ = "";
  size_t next_ = 0;
  std::vector<std::vector<float>> outputs_;
};
