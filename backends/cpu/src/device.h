// An open device, and a compiled graph.
#pragma once
#include <string>

#include "dispatch.h"
#include "plan.h"
#include "weights.h"

namespace halflap::cpu {

struct Device {
  Device(const hl_option *options, int64_t n_options);
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  void describe(hl_device_info &info) const;

  Allocator memory;
  const Kernels &kernels;
  int threads;
  std::string about;
};

struct Executable {
  Executable(std::shared_ptr<Device> device, Graph graph, std::shared_ptr<Weights> weights, std::shared_ptr<State> state,
             Limits limits);

  void run(const hl_run &run);

 private:
  void check_tensors(const char *what, const hl_tensor *tensors, int64_t n, const Step &step, bool fetch) const;
  int64_t bytes(const Value &value, const Step &step) const;

  std::shared_ptr<Device> device_;
  std::shared_ptr<Weights> weights_;
  std::shared_ptr<State> state_;
  Plan plan_;
  std::vector<bool> addressed_;  // by group of the state: see read_step
  Buffer scratch_;
  std::vector<uint8_t *> buffers_;
  int ids_ = -1, rows_ = -1;  // the inputs that come from the step
};

}  // namespace halflap::cpu
