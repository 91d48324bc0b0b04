#include "plan.h"

#include <algorithm>

#include "ops/ops.h"

namespace halflap::cpu {

int64_t width(const Value &value) {
  int64_t product = 1;
  for (size_t i = 1; i < value.dims.size(); i++) product *= value.dims[i];
  return product;
}

Plan::Plan(Graph given, Limits given_limits, int thread_count, const Kernels &kernels)
    : graph(std::move(given)),
      limits(std::move(given_limits)),
      threads(thread_count),
      tiles(kernels.pack_tiles && limits.tokens >= kernels.tiles_from),
      halves(kernels.pack_halves != nullptr) {
  for (const Node &node : graph.nodes) check_node(graph, node);
  lives_.resize(graph.values.size());
  rounded_.assign(graph.values.size(), -1);
  find_wants_rounded();
  for (size_t v = 0; v < graph.values.size(); v++)
    if (graph.values[v].kind == HL_RESULT)
      lives_[v].bytes = 4 * limits.most(graph.values[v].dims[0]) * width(graph.values[v]);
  bind_nodes(*this);
  for (int v : graph.outputs) lives_[static_cast<size_t>(v)].last = static_cast<int>(calls.size());
  place();
}

void Plan::find_wants_rounded() {
  wants_rounded_.assign(graph.values.size(), false);
  for (const Node &node : graph.nodes)
    if (int x = rounded_input(graph, node); x >= 0) wants_rounded_[static_cast<size_t>(x)] = true;
}

int Plan::buffer(int64_t bytes) {
  lives_.push_back({bytes, -1, -1});
  return static_cast<int>(lives_.size()) - 1;
}

void Plan::add(std::unique_ptr<Call> call, const std::vector<int> &reads, const std::vector<int> &writes) {
  const int now = static_cast<int>(calls.size());
  for (const std::vector<int> *list : {&reads, &writes})
    for (int b : *list) {
      if (b < 0) continue;
      Life &life = lives_[static_cast<size_t>(b)];
      if (life.first < 0) life.first = now;
      life.last = now;
    }
  calls.push_back(std::move(call));
}

int Plan::rounded_by_producer(int v) {
  if (!wants_rounded_[static_cast<size_t>(v)]) return -1;
  const int64_t bytes = most_rows(v) * chunks(width(value(v))) * static_cast<int64_t>(sizeof(Chunk));
  return rounded_[static_cast<size_t>(v)] = buffer(bytes);
}

int Plan::rounded(int v) {
  wants_rounded_[static_cast<size_t>(v)] = true;
  if (rounded_[static_cast<size_t>(v)] < 0) add_quantize(*this, v, rounded_by_producer(v));
  return rounded_[static_cast<size_t>(v)];
}

int Plan::rotary(const std::vector<double> &frequencies, int factors, double magnitude, const std::vector<double> &which,
                 int64_t every) {
  for (const Rotary &r : rotaries_)
    if (r.frequencies == frequencies && r.factors == factors && r.magnitude == magnitude && r.axes == which && r.every == every)
      return r.buffer;
  const int made = buffer(limits.tokens * static_cast<int64_t>(frequencies.size()) * 8);
  add_rotary(*this, frequencies, factors, magnitude, which, every, made);
  rotaries_.push_back({frequencies, which, factors, magnitude, every, made});
  for (double axis : which) axes = std::max(axes, static_cast<int>(axis) + 1);
  return made;
}

// First fit over the intervals in which buffers live, largest first among those that begin together.
void Plan::place() {
  offsets.assign(lives_.size(), -1);
  std::vector<size_t> order;
  for (size_t b = 0; b < lives_.size(); b++)
    if (lives_[b].bytes && lives_[b].first >= 0) order.push_back(b);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return lives_[a].first != lives_[b].first ? lives_[a].first < lives_[b].first : lives_[a].bytes > lives_[b].bytes;
  });
  struct Placed {
    int64_t begin, end;
    int last;
  };
  std::vector<Placed> live;  // by begin
  for (size_t b : order) {
    const Life &life = lives_[b];
    live.erase(std::remove_if(live.begin(), live.end(), [&](const Placed &p) { return p.last < life.first; }), live.end());
    const int64_t bytes = round_up(life.bytes, 64);
    int64_t at = 0;
    size_t i = 0;
    for (; i < live.size() && live[i].begin - at < bytes; i++) at = std::max(at, live[i].end);
    live.insert(live.begin() + static_cast<std::ptrdiff_t>(i), {at, at + bytes, life.last});
    offsets[b] = at;
    scratch = std::max(scratch, at + bytes);
  }
  worker_offset = scratch;
  scratch += worker_bytes * threads;
}

}  // namespace halflap::cpu
