// Counted, 64-byte aligned memory. `held` is what device_info reports, so every pool and scratch comes from here.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace halflap::cpu {

struct MemoryProbe {
  int64_t free;   // bytes: MemAvailable, limited by the control group
  int64_t total;
};
MemoryProbe probe_memory();

class Allocator {
 public:
  static int64_t counted(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  int64_t held() const { return held_.load(); }

 private:
  friend class Buffer;
  std::atomic<int64_t> held_{0};
};

// Zeroed bytes; large ones are committed by the system as they are touched.
class Buffer {
 public:
  Buffer() = default;
  // Throws HL_OUT_OF_MEMORY, naming `what`.
  Buffer(Allocator &from, int64_t bytes, const char *what);
  Buffer(Buffer &&other) noexcept { *this = std::move(other); }
  Buffer &operator=(Buffer &&other) noexcept {
    std::swap(from_, other.from_);
    std::swap(raw_, other.raw_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~Buffer();

  uint8_t *data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  Allocator *from_ = nullptr;
  void *raw_ = nullptr;
  uint8_t *data_ = nullptr;
  int64_t bytes_ = 0;   // counted
  int64_t mapped_ = 0;  // asked of the system
};

}  // namespace halflap::cpu
