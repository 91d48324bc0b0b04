// The exported table: translates handles, catches everything, keeps the caller's floating-point environment.
#include <halflap/abi.h>
#include <unistd.h>

#include <algorithm>
#include <cfenv>
#include <cstring>
#include <exception>
#include <new>

#include "candidates.h"
#include "device.h"
#include "ops/ops.h"

using namespace halflap::cpu;

struct hl_backend_device {
  std::shared_ptr<Device> device;
};
struct hl_backend_weights {
  std::shared_ptr<Device> device;  // its allocator must outlive the buffers
  std::shared_ptr<Weights> weights;
};
struct hl_backend_state {
  std::shared_ptr<Device> device;
  std::shared_ptr<State> state;
};
struct hl_backend_executable {
  std::unique_ptr<Executable> executable;
};
struct hl_backend_fence {};  // runs are finished when `run` returns: there is nothing to wait for

namespace {

pid_t owner = 0;  // the process that loaded the library

// Rounding to nearest, no flushing, whatever the host has set; the host's modes come back at the end.
class FloatingPoint {
 public:
  FloatingPoint() {
    fegetenv(&callers_);
    fesetenv(FE_DFL_ENV);
  }
  ~FloatingPoint() { fesetenv(&callers_); }

 private:
  fenv_t callers_;
};

int32_t report(hl_error *error, const Error &e) {
  if (error && error->struct_size >= static_cast<int64_t>(sizeof *error)) {
    error->status = e.status;
    error->wanted = e.wanted;
    error->free = e.free;
    const size_t n = std::min(e.text.size(), sizeof error->text - 1);
    memcpy(error->text, e.text.data(), n);
    error->text[n] = 0;
  }
  return e.status;
}

template <class F>
int32_t guard(hl_error *error, F f) noexcept {
  try {
    if (getpid() != owner)
      fail(HL_FORKED, "process: got %d, want %d, which loaded this library", static_cast<int>(getpid()), static_cast<int>(owner));
    const FloatingPoint environment;
    f();
    return HL_OK;
  } catch (const Error &e) {
    return report(error, e);
  } catch (const std::bad_alloc &) {
    return report(error, {HL_OUT_OF_MEMORY, "bookkeeping: got no memory, want some"});
  } catch (const std::exception &e) {
    return report(error, {HL_INTERNAL, std::string("device 'cpu': got ") + e.what() + ", want no exception"});
  } catch (...) {
    return report(error, {HL_INTERNAL, "device 'cpu': got an unknown exception, want none"});
  }
}

template <class T>
T &need(const char *what, T *pointer) {
  if (!pointer) fail(HL_INVALID, "%s: got NULL, want a pointer", what);
  return *pointer;
}

int32_t device_count(int64_t *count, hl_error *error) {
  return guard(error, [&] { need("count", count) = 1; });
}

int32_t device_open(int64_t index, const hl_option *options, int64_t n_options, hl_device **device, hl_error *error) {
  return guard(error, [&] {
    if (index != 0) fail(HL_INVALID, "device: got %lld, want 0", static_cast<long long>(index));
    need("device", device) = new hl_backend_device{std::make_shared<Device>(options, n_options)};
  });
}

// After a fork the child leaves everything as it is: its parent's threads are not here to be joined.
template <class T>
void close(T *handle) noexcept {
  if (getpid() == owner) delete handle;
}

void device_close(hl_device *device) { close(device); }
void weights_close(hl_weights *weights) { close(weights); }
void state_close(hl_state *state) { close(state); }
void executable_close(hl_executable *executable) { close(executable); }
void fence_close(hl_fence *fence) { close(fence); }

int32_t device_info(hl_device *device, hl_device_info *info, hl_error *error) {
  return guard(error, [&] {
    check_struct("hl_device_info", need("info", info).struct_size, sizeof *info);
    need("device", device).device->describe(*info);
  });
}

int32_t supports(hl_device *device, const hl_graph *graph, int64_t node, hl_error *error) {
  return guard(error, [&] {
    need("device", device);
    const Graph read = read_graph(graph);
    if (node < 0 || node >= static_cast<int64_t>(read.nodes.size()))
      fail(HL_INVALID, "node: got %lld, want 0 to %zu", static_cast<long long>(node), read.nodes.size() - 1);
    check_node(read, read.nodes[static_cast<size_t>(node)]);
  });
}

int32_t estimate(hl_device *device, const hl_graph *graph, const hl_limits *limits, hl_memory_report *memory, hl_error *error) {
  return guard(error, [&] {
    check_struct("hl_memory_report", need("report", memory).struct_size, sizeof *memory);
    const Device &d = *need("device", device).device;
    const Plan plan(read_graph(graph), read_limits(limits), d.threads, d.kernels);
    const WeightBytes weights = weight_bytes(plan.graph);
    memory->weights_in_place = weights.in_place;
    memory->weights_packed = weights.packed;
    memory->state = state_bytes(plan.graph.groups, plan.limits);
    memory->scratch = Allocator::counted(plan.scratch);
  });
}

int32_t weights_pack(hl_device *device, const hl_graph *graph, const hl_weight *weights, int64_t n_weights,
                     hl_weights **packed, hl_error *error) {
  return guard(error, [&] {
    const std::shared_ptr<Device> &d = need("device", device).device;
    need("packed", packed) =
        new hl_backend_weights{d, std::make_shared<Weights>(d->memory, read_graph(graph), weights, n_weights)};
  });
}

int32_t state_new(hl_device *device, const hl_group *groups, int64_t n_groups, const hl_limits *limits, hl_state **state,
                  hl_error *error) {
  return guard(error, [&] {
    const std::shared_ptr<Device> &d = need("device", device).device;
    need("state", state) =
        new hl_backend_state{d, std::make_shared<State>(d->memory, read_groups(groups, n_groups), read_limits(limits))};
  });
}

// The group, once it is known that it has this layer and this block or slot.
const Group &find_group(const State &state, int32_t group, int32_t layer, int32_t block) {
  if (group < 0 || group >= static_cast<int32_t>(state.groups.size()))
    fail(HL_INVALID, "group: got %d, want 0 to %zu", group, state.groups.size() - 1);
  const Group &g = state.groups[static_cast<size_t>(group)];
  if (layer < 0 || layer >= static_cast<int32_t>(g.layers.size()))
    fail(HL_INVALID, "layer: got %d, want 0 to %zu", layer, g.layers.size() - 1);
  const int64_t count = g.kind == HL_SLOTS ? g.slots : g.blocks;
  if (block < 0 || block >= count)
    fail(HL_INVALID, "block or slot: got %d, want 0 to %lld", block, static_cast<long long>(count - 1));
  return g;
}

int32_t state_export(hl_state *state, int32_t group, int32_t layer, int32_t block, float *rows, hl_error *error) {
  return guard(error, [&] {
    const State &s = *need("state", state).state;
    const Group &g = find_group(s, group, layer, block);
    need("rows", rows);
    if (g.kind == HL_SLOTS) {
      const SlotLayer &l = s.slots(group, layer);
      std::copy_n(l.row(block), l.elements, rows);
      return;
    }
    const KvLayer &l = s.layer(group, layer);
    for (int64_t i = 0; i < g.block_rows(); i++, rows += l.k_width + l.v_width) {
      const RowPlace at = g.row_place(block, i);
      state->device->kernels.load_kv(l, at.block, at.place, rows, rows + l.k_width);
    }
  });
}

int32_t state_import(hl_state *state, int32_t group, int32_t layer, int32_t block, const float *rows, hl_error *error) {
  return guard(error, [&] {
    const State &s = *need("state", state).state;
    const Group &g = find_group(s, group, layer, block);
    need("rows", rows);
    if (g.kind == HL_SLOTS) {
      const SlotLayer &l = s.slots(group, layer);
      std::copy_n(rows, l.elements, l.row(block));
      return;
    }
    const KvLayer &l = s.layer(group, layer);
    for (int64_t i = 0; i < g.block_rows(); i++, rows += l.k_width + l.v_width) {
      const RowPlace at = g.row_place(block, i);
      state->device->kernels.store_kv(l, at.block, at.place, 1, rows, rows + l.k_width);
    }
  });
}

int32_t compile(hl_device *device, const hl_graph *graph, hl_weights *weights, hl_state *state, const hl_limits *limits,
                hl_executable **executable, hl_error *error) {
  return guard(error, [&] {
    const std::shared_ptr<Device> &d = need("device", device).device;
    need("executable", executable) = new hl_backend_executable{
        std::make_unique<Executable>(d, read_graph(graph), need("weights", weights).weights, need("state", state).state,
                                     read_limits(limits))};
  });
}

int32_t run(hl_executable *executable, const hl_run *run, hl_fence **fence, hl_error *error) {
  return guard(error, [&] {
    check_struct("hl_run", need("run", run).struct_size, sizeof *run);
    need("fence", fence);
    need("executable", executable).executable->run(*run);
    *fence = new hl_backend_fence;
  });
}

int32_t fence_done(hl_fence *) { return 1; }
int32_t fence_wait(hl_fence *fence, int64_t, hl_error *error) {
  return guard(error, [&] { need("fence", fence); });
}
void fence_cancel(hl_fence *) {}

int32_t candidates(hl_device *device, const hl_candidates *asks, hl_error *error) {
  return guard(error, [&] { find_candidates(*need("device", device).device, need("asks", asks)); });
}

const void *get_extension(hl_str name) {
  static const hl_candidates_api table = {sizeof table, candidates};
  return name.data && view(name) == "candidates" ? &table : nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const hl_backend_api *halflap_backend(const hl_host *host, hl_error *error) {
  static const hl_backend_api api = [] {
    hl_backend_api a{};
    a.struct_size = sizeof a;
    a.abi_major = HALFLAP_ABI_MAJOR;
    a.abi_minor = HALFLAP_ABI_MINOR;
    a.needs_minor = 0;
    a.name = {"cpu", 3};
    a.get_extension = get_extension;
    a.device_count = device_count;
    a.device_open = device_open;
    a.device_close = device_close;
    a.device_info = device_info;
    a.supports = supports;
    a.estimate = estimate;
    a.weights_pack = weights_pack;
    a.weights_close = weights_close;
    a.state_new = state_new;
    a.state_export = state_export;
    a.state_import = state_import;
    a.state_close = state_close;
    a.compile = compile;
    a.executable_close = executable_close;
    a.run = run;
    a.fence_done = fence_done;
    a.fence_wait = fence_wait;
    a.fence_cancel = fence_cancel;
    a.fence_close = fence_close;
    return a;
  }();
  if (owner == 0) owner = getpid();
  const int32_t status = guard(error, [&] {
    check_struct("hl_host", need("host", host).struct_size, sizeof *host);
    if (host->abi_major != HALFLAP_ABI_MAJOR)
      fail(HL_UNSUPPORTED, "ABI of the host: got %d, want %d", host->abi_major, HALFLAP_ABI_MAJOR);
  });
  return status == HL_OK ? &api : nullptr;
}
