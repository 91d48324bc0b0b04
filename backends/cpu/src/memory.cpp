#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "error.h"

namespace halflap::cpu {

constexpr int64_t kHugePage = int64_t{2} << 20;

static int64_t read_number(const char *path) {  // -1: no such file, or "max"
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  long long value = -1;
  if (fscanf(file, "%lld", &value) != 1) value = -1;
  fclose(file);
  return value;
}

MemoryProbe probe_memory() {
  MemoryProbe probe{-1, -1};
  if (FILE *file = fopen("/proc/meminfo", "r")) {
    char line[128];
    long long kib;
    while (fgets(line, sizeof line, file)) {
      if (sscanf(line, "MemTotal: %lld", &kib) == 1) probe.total = kib * 1024;
      if (sscanf(line, "MemAvailable: %lld", &kib) == 1) probe.free = kib * 1024;
    }
    fclose(file);
  }
  const int64_t page = sysconf(_SC_PAGESIZE);
  if (probe.total < 0) probe.total = sysconf(_SC_PHYS_PAGES) * page;
  if (probe.free < 0) probe.free = sysconf(_SC_AVPHYS_PAGES) * page;
  // Control groups, version 2 then 1, as a container sees its own.
  const char *files[2][2] = {{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
                             {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"}};
  for (const auto &pair : files) {
    const int64_t limit = read_number(pair[0]), used = read_number(pair[1]);
    if (limit < 0 || used < 0 || limit >= probe.total) continue;
    const int64_t left = limit > used ? limit - used : 0;
    probe.total = limit;
    if (left < probe.free) probe.free = left;
  }
  return probe;
}

Buffer::Buffer(Allocator &from, int64_t bytes, const char *what) {
  const int64_t counted = Allocator::counted(bytes);
  if (counted == 0) return;
  // Asking first gives an error where overcommit would give a killed process.
  if (counted > (int64_t{1} << 24)) {
    const MemoryProbe probe = probe_memory();
    if (counted > probe.free) fail_memory(what, counted, probe.free);
  }
  // Large ones begin where huge pages do: a walk through a KV cache otherwise waits for address translation.
  const bool large = counted >= 2 * kHugePage;
  mapped_ = large ? counted + kHugePage : counted + 64;
  raw_ = large ? mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
               : calloc(static_cast<size_t>(mapped_), 1);
  if (!raw_ || raw_ == MAP_FAILED) {
    raw_ = nullptr;
    fail_memory(what, counted, probe_memory().free);
  }
  const uintptr_t unit = large ? kHugePage : 64;
  data_ = reinterpret_cast<uint8_t *>((reinterpret_cast<uintptr_t>(raw_) + unit - 1) & ~(unit - 1));
  if (large) madvise(data_, static_cast<size_t>(counted), MADV_HUGEPAGE);  // a wish: without it, small pages
  bytes_ = counted;
  from_ = &from;
  from_->held_ += bytes_;
}

Buffer::~Buffer() {
  if (!raw_) return;
  if (bytes_ >= 2 * kHugePage)
    munmap(raw_, static_cast<size_t>(mapped_));
  else
    free(raw_);
  from_->held_ -= bytes_;
}

}  // namespace halflap::cpu
