// The smallest native backend: one device on the host, one op (scale), every rule of abi.h kept.
#include <halflap/abi.h>

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

struct hl_backend_device {};
struct hl_backend_weights {};
struct hl_backend_state {};
struct hl_backend_fence {};

struct Scale {  // one node, bound at compile: indices into the graph's values
  int32_t x, y;
  float factor;
};

struct hl_backend_executable {
  std::vector<Scale> nodes;
  std::vector<int64_t> width;  // per value: elements of one token's row
  std::vector<bool> input;     // per value: comes from the caller
  int64_t tokens;              // the limit
};

namespace {

const pid_t home = getpid();
std::atomic<int64_t> open_parts{0};

int32_t fail(hl_error *error, int32_t status, const char *text) {
  error->status = status;
  std::snprintf(error->text, sizeof error->text, "%s", text);
  return status;
}

// Nothing may be thrown across the line, and nothing runs in a forked child.
template <class Body> int32_t guarded(hl_error *error, Body body) {
  if (getpid() != home) return fail(error, HL_FORKED, "process: got a forked one, want the one that loaded this");
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return fail(error, HL_OUT_OF_MEMORY, "memory: got too little, want more");
  } catch (...) {
    return fail(error, HL_INTERNAL, "backend: got an exception, want none");
  }
}

bool is(hl_str s, const char *text) { return s.size == (int64_t)std::strlen(text) && !std::memcmp(s.data, text, s.size); }

template <class T> const T &at(const T *array, int64_t i) { return *static_cast<const T *>(HL_AT(array, i)); }

hl_str str(const char *text) { return {text, (int64_t)std::strlen(text)}; }

// Why a node cannot run here, or nullptr. What is unknown is unsupported, never ignored.
const char *refusal(const hl_graph *graph, const hl_node &node) {
  if (!is(node.op, "scale")) return "op: got another, want 'scale'";
  if (node.version != 1) return "version of scale: got another, want 1";
  if (node.n_attrs != 1 || !is(at(node.attrs, 0).name, "factor")) return "attributes of scale: got others, want 'factor'";
  if (at(node.attrs, 0).type != HL_ATTR_FLOAT) return "factor: got another type, want a float";
  const hl_value &x = at(graph->values, node.inputs[0]);
  if (x.n_dims != 2 || x.dims[0] != HL_DIM_T || !is(x.dtype, "f32")) return "x: got another shape, want f32 (T, width)";
  return nullptr;
}

int32_t device_count(int64_t *count, hl_error *) { *count = 1; return HL_OK; }

int32_t device_open(int64_t index, const hl_option *, int64_t, hl_device **device, hl_error *error) {
  if (index != 0) return fail(error, HL_INVALID, "device: got another index, want 0");
  return guarded(error, [&] { *device = new hl_backend_device; return HL_OK; });
}

void device_close(hl_device *device) { delete device; }

int32_t device_info(hl_device *, hl_device_info *info, hl_error *error) {
  return guarded(error, [&] {
    info->id = str("example-native");
    info->about = str("C++, one op");
    info->features = str("row_invariant");
    info->roundings = nullptr;
    info->n_roundings = 0;
    info->memory_free = info->largest_allocation = info->memory_total = 1 << 30;  // a real one asks its driver
    info->allocated = open_parts;
    info->threads = 0;
    return HL_OK;
  });
}

int32_t supports(hl_device *, const hl_graph *graph, int64_t node, hl_error *error) {
  return guarded(error, [&]() -> int32_t {
    const char *reason = refusal(graph, at(graph->nodes, node));
    return reason ? fail(error, HL_UNSUPPORTED, reason) : HL_OK;
  });
}

int32_t estimate(hl_device *, const hl_graph *, const hl_limits *, hl_memory_report *report, hl_error *) {
  report->weights_in_place = report->weights_packed = report->state = report->scratch = 0;
  return HL_OK;
}

int32_t weights_pack(hl_device *, const hl_graph *, const hl_weight *, int64_t count, hl_weights **packed, hl_error *error) {
  if (count) return fail(error, HL_UNSUPPORTED, "weights: got some, want none");
  return guarded(error, [&] { *packed = new hl_backend_weights; ++open_parts; return HL_OK; });
}

void weights_close(hl_weights *weights) { delete weights; --open_parts; }

int32_t state_new(hl_device *, const hl_group *, int64_t count, const hl_limits *, hl_state **state, hl_error *error) {
  if (count) return fail(error, HL_UNSUPPORTED, "state groups: got some, want none");
  return guarded(error, [&] { *state = new hl_backend_state; ++open_parts; return HL_OK; });
}

int32_t state_export(hl_state *, int32_t, int32_t, int32_t, float *, hl_error *error) {
  return fail(error, HL_INVALID, "block: got one, want none");
}

int32_t state_import(hl_state *, int32_t, int32_t, int32_t, const float *, hl_error *error) {
  return fail(error, HL_INVALID, "block: got one, want none");
}

void state_close(hl_state *state) { delete state; --open_parts; }

// The graph is read here and never again: its pointers are gone when this returns.
int32_t compile(hl_device *, const hl_graph *graph, hl_weights *, hl_state *, const hl_limits *limits,
                hl_executable **executable, hl_error *error) {
  return guarded(error, [&]() -> int32_t {
    auto made = std::make_unique<hl_backend_executable>();
    made->tokens = limits->tokens;
    for (int64_t i = 0; i < graph->n_values; ++i) {
      const hl_value &value = at(graph->values, i);
      made->width.push_back(value.n_dims == 2 ? value.dims[1] : 0);
      made->input.push_back(value.kind == HL_INPUT && !is(value.name, "ids") && !is(value.name, "rows"));
    }
    for (int64_t i = 0; i < graph->n_nodes; ++i) {
      const hl_node &node = at(graph->nodes, i);
      if (const char *reason = refusal(graph, node)) return fail(error, HL_UNSUPPORTED, reason);
      made->nodes.push_back({node.inputs[0], node.outputs[0], (float)at(node.attrs, 0).number});
    }
    *executable = made.release();
    ++open_parts;
    return HL_OK;
  });
}

void executable_close(hl_executable *executable) { delete executable; --open_parts; }

int32_t run(hl_executable *executable, const hl_run *run, hl_fence **fence, hl_error *error) {
  return guarded(error, [&]() -> int32_t {
    const int64_t tokens = run->step->n_tokens;
    if (tokens < 0 || tokens > executable->tokens) return fail(error, HL_INVALID, "tokens: got too many, want the limit");
    std::map<int32_t, std::vector<float>> values;
    for (int64_t i = 0; i < run->n_inputs; ++i) {
      const hl_tensor &given = at(run->inputs, i);
      const auto *data = static_cast<const float *>(given.data);
      if (given.n_bytes != tokens * executable->width.at(given.value) * 4)
        return fail(error, HL_INVALID, "input: got another size, want (T, width) of f32");
      values[given.value].assign(data, data + given.n_bytes / 4);
    }
    for (size_t i = 0; i < executable->input.size(); ++i)
      if (executable->input[i] && !values.count((int32_t)i)) return fail(error, HL_INVALID, "input: got none, want all");
    for (const Scale &node : executable->nodes) {
      std::vector<float> y = values[node.x];  // (T, width)
      for (float &value : y) value *= node.factor;
      values[node.y] = std::move(y);
    }
    for (int64_t i = 0; i < run->n_fetches; ++i) {
      const hl_tensor &wanted = at(run->fetches, i);
      const std::vector<float> &found = values[wanted.value];
      if (wanted.n_bytes != (int64_t)found.size() * 4) return fail(error, HL_INVALID, "fetch: got another size, want its own");
      std::memcpy(wanted.data, found.data(), found.size() * 4);
    }
    *fence = new hl_backend_fence;
    return HL_OK;
  });
}

int32_t fence_done(hl_fence *) { return 1; }
int32_t fence_wait(hl_fence *, int64_t, hl_error *) { return HL_OK; }
void fence_cancel(hl_fence *) {}
void fence_close(hl_fence *fence) { delete fence; }

const void *get_extension(hl_str) { return nullptr; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const hl_backend_api *halflap_backend(const hl_host *, hl_error *) {
  static const hl_backend_api api = {
      sizeof(hl_backend_api), HALFLAP_ABI_MAJOR, HALFLAP_ABI_MINOR, /*needs_minor=*/0, 0, str("example-native"),
      get_extension, device_count, device_open, device_close, device_info, supports, estimate, weights_pack,
      weights_close, state_new, state_export, state_import, state_close, compile, executable_close, run, fence_done,
      fence_wait, fence_cancel, fence_close};
  return &api;
}
