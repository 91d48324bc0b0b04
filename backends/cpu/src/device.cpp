#include "device.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <algorithm>

namespace halflap::cpu {

static int read_threads(std::string_view text) {
  const std::string copy(text);
  char *end = nullptr;
  errno = 0;
  const long n = strtol(copy.c_str(), &end, 10);
  if (errno || end == copy.c_str() || *end || n < 1 || n > 1024)
    fail(HL_INVALID, "threads: got '%.100s', want a number from 1 to 1024", copy.c_str());
  return static_cast<int>(n);
}

Device::Device(const hl_option *options, int64_t n_options) : kernels(choose_kernels()), threads(physical_cores()) {
  if (n_options < 0 || (n_options && !options)) fail(HL_INVALID, "options: got NULL, want an array");
  for (int64_t i = 0; i < n_options; i++) {
    const hl_option &option = at(options, i);
    check_struct("hl_option", option.struct_size, sizeof option);
    if (view(option.key) != "threads")
      fail(HL_INVALID, "option of device 'cpu': got '%.100s', want 'threads'", std::string(view(option.key)).c_str());
    threads = read_threads(view(option.value));
  }
  about = std::string(processor_name()) + ", " + kernels.name + ", " + std::to_string(threads) +
          (threads == 1 ? " thread" : " threads");
  Pool::instance().enter(threads);
}

Device::~Device() { Pool::instance().leave(threads); }

static hl_str text(const char *s) { return {s, static_cast<int64_t>(std::char_traits<char>::length(s))}; }

void Device::describe(hl_device_info &info) const {
  static const std::vector<hl_rounding> roundings = [] {
    std::vector<hl_rounding> made;
    for (const TypeInfo &type : kTypeInfo) made.push_back({sizeof(hl_rounding), text(type.name), text(type.rounding)});
    return made;
  }();
  const MemoryProbe probe = probe_memory();
  const int64_t size = info.struct_size;
  info = {};
  info.struct_size = size;
  info.id = text("cpu");
  info.about = {about.data(), static_cast<int64_t>(about.size())};
  info.features = text("row_invariant");
  info.roundings = roundings.data();
  info.n_roundings = static_cast<int64_t>(roundings.size());
  info.memory_free = probe.free;
  info.memory_total = probe.total;
  info.largest_allocation = probe.free;
  info.allocated = memory.held();
  info.threads = Pool::instance().workers();
}

Executable::Executable(std::shared_ptr<Device> device, Graph graph, std::shared_ptr<Weights> weights,
                       std::shared_ptr<State> state, Limits limits)
    : device_(std::move(device)),
      weights_(std::move(weights)),
      state_(std::move(state)),
      plan_(std::move(graph), std::move(limits), device_->threads, device_->kernels) {
  // The plan numbers groups as the graph does; steps and state number them as the state does.
  const std::vector<Group> &groups = plan_.graph.groups;
  for (size_t g = 0; g < groups.size(); g++) {
    const std::vector<Group> &have = state_->groups;
    bool same = g < have.size() && have[g].name == groups[g].name && have[g].layers.size() == groups[g].layers.size() &&
                have[g].kind == groups[g].kind && have[g].rate == groups[g].rate;
    for (size_t l = 0; same && l < groups[g].layers.size(); l++)
      same = have[g].layers[l].k_width == groups[g].layers[l].k_width && have[g].layers[l].v_width == groups[g].layers[l].v_width;
    if (!same) fail(HL_INVALID, "state: got other groups, want '%.100s' in place %zu", groups[g].name.c_str(), g);
  }
  addressed_.assign(state_->groups.size(), false);
  for (const Node &node : plan_.graph.nodes) {
    const bool cross = std::any_of(node.attributes.begin(), node.attributes.end(),
                                   [](const Attribute &a) { return a.name == "cross" && a.integer != 0; });
    for (const Attribute &a : node.attributes)
      if ((a.name == "group" || a.name == "far_group") && !cross && plan_.graph.group(a.string) >= 0)
        addressed_[static_cast<size_t>(plan_.graph.group(a.string))] = true;
  }
  buffers_.assign(plan_.offsets.size(), nullptr);
  for (size_t v = 0; v < plan_.graph.values.size(); v++) {
    const Value &value = plan_.graph.values[v];
    if (value.kind == HL_WEIGHT) buffers_[v] = const_cast<uint8_t *>(weights_->find(value));
    if (value.kind != HL_INPUT) continue;
    if (value.name == "ids" && value.type == Type::I32 && value.dims == std::vector<int64_t>{HL_DIM_T}) ids_ = static_cast<int>(v);
    if (value.name == "rows" && value.type == Type::I32 && value.dims == std::vector<int64_t>{HL_DIM_R}) rows_ = static_cast<int>(v);
  }
  scratch_ = Buffer(device_->memory, plan_.scratch, "scratch");
  for (size_t b = 0; b < buffers_.size(); b++)
    if (plan_.offsets[b] >= 0) buffers_[b] = scratch_.data() + plan_.offsets[b];
}

int64_t Executable::bytes(const Value &value, const Step &step) const {
  const int64_t rows = value.dims[0] == HL_DIM_T   ? step.tokens
                       : value.dims[0] == HL_DIM_S ? step.sequences
                       : value.dims[0] == HL_DIM_R ? step.rows
                                                   : value.dims[0];
  return rows * width(value) * 4;
}

void Executable::check_tensors(const char *what, const hl_tensor *tensors, int64_t n, const Step &step, bool fetch) const {
  if (n < 0 || (n && !tensors)) fail(HL_INVALID, "%s: got NULL, want an array", what);
  for (int64_t i = 0; i < n; i++) {
    const hl_tensor &t = at(tensors, i);
    check_struct("hl_tensor", t.struct_size, sizeof t);
    const std::vector<int> &outputs = plan_.graph.outputs;
    const bool known = t.value >= 0 && t.value < static_cast<int>(plan_.graph.values.size());
    const bool fits = known && (fetch ? std::find(outputs.begin(), outputs.end(), t.value) != outputs.end()
                                      : plan_.graph.values[static_cast<size_t>(t.value)].kind == HL_INPUT);
    if (!fits) fail(HL_INVALID, "%s: got value %d, want %s of the graph", what, t.value, fetch ? "an output" : "an input");
    const Value &value = plan_.graph.values[static_cast<size_t>(t.value)];
    if (t.n_bytes != bytes(value, step) || (t.n_bytes && !t.data))
      fail(HL_INVALID, "bytes of %.200s: got %lld, want %lld", value.name.c_str(), static_cast<long long>(t.n_bytes),
           static_cast<long long>(bytes(value, step)));
  }
}

void Executable::run(const hl_run &run) {
  const Step step = read_step(run.step, plan_.limits, *state_, addressed_);
  if (step.axes > 1 && step.axes < plan_.axes)
    fail(HL_INVALID, "axes of the positions: got %lld, want 1 or at least %d", static_cast<long long>(step.axes), plan_.axes);
  check_tensors("inputs", run.inputs, run.n_inputs, step, false);
  check_tensors("fetches", run.fetches, run.n_fetches, step, true);
  Run context{device_->kernels, Pool::instance(), device_->threads, plan_.graph, step, *state_, buffers_,
              scratch_.data() + plan_.worker_offset, plan_.worker_bytes};
  if (ids_ >= 0) context.buffers[static_cast<size_t>(ids_)] = reinterpret_cast<uint8_t *>(const_cast<int32_t *>(step.ids));
  if (rows_ >= 0) context.buffers[static_cast<size_t>(rows_)] = reinterpret_cast<uint8_t *>(const_cast<int32_t *>(step.wanted));
  for (int64_t i = 0; i < run.n_inputs; i++) {
    const hl_tensor &t = at(run.inputs, i);
    context.buffers[static_cast<size_t>(t.value)] = static_cast<uint8_t *>(t.data);
  }
  for (size_t v = 0; v < plan_.graph.values.size(); v++) {
    const Value &value = plan_.graph.values[v];
    if (value.kind == HL_INPUT && !context.buffers[v] && bytes(value, step))
      fail(HL_INVALID, "input %.200s: got none, want its values", value.name.c_str());
  }
  for (const hl_copy &copy : step.copies) state_->copy(copy.group, copy.source, copy.target);
  for (const std::unique_ptr<Call> &call : plan_.calls) call->run(context);
  for (int64_t i = 0; i < run.n_fetches; i++) {
    const hl_tensor &t = at(run.fetches, i);
    if (t.n_bytes) memcpy(t.data, context.bytes(t.value), static_cast<size_t>(t.n_bytes));
  }
}

}  // namespace halflap::cpu
