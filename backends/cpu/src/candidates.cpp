#include "candidates.h"

#include <algorithm>
#include <limits>

namespace halflap::cpu {

namespace {

constexpr int64_t kSharedLogits = 1 << 16;  // fewer are read before a helper is awake

bool before(const Candidate &a, const Candidate &b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

void select(Candidate *found, int64_t size, int64_t count) {
  std::nth_element(found, found + count - 1, found + size, before);
}

void check_range(const char *what, int64_t got, int64_t least, int64_t most) {
  if (got < least || got > most)
    fail(HL_INVALID, "%s: got %lld, want %lld to %lld", what, static_cast<long long>(got), static_cast<long long>(least),
         static_cast<long long>(most));
}

template <class T>
void need_array(const char *what, const T *array) {
  if (!array) fail(HL_INVALID, "%s: got NULL, want an array", what);
}

std::vector<Edit> read_edits(const hl_candidates &asks) {
  const int64_t n = asks.edit_start[asks.n_asks];
  if (n == 0) return {};
  need_array("edit_id", asks.edit_id);
  need_array("edit_bias", asks.edit_bias);
  need_array("edit_repeat", asks.edit_repeat);
  need_array("edit_offset", asks.edit_offset);
  std::vector<Edit> edits(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i++) {
    check_range("edit_id", asks.edit_id[i], 0, asks.vocab - 1);
    edits[static_cast<size_t>(i)] = {asks.edit_id[i], asks.edit_bias[i], asks.edit_repeat[i], asks.edit_offset[i]};
  }
  for (int64_t i = 0; i < asks.n_asks; i++)
    std::stable_sort(edits.begin() + asks.edit_start[i], edits.begin() + asks.edit_start[i + 1],
                     [](const Edit &a, const Edit &b) { return a.id < b.id; });
  return edits;
}

void check(const hl_candidates &asks) {
  check_struct("hl_candidates", asks.struct_size, sizeof asks);
  check_range("vocab", asks.vocab, 1, std::numeric_limits<int32_t>::max());
  check_range("n_rows", asks.n_rows, 0, std::numeric_limits<int32_t>::max());
  check_range("n_asks", asks.n_asks, 0, std::numeric_limits<int32_t>::max());
  if (asks.n_asks == 0) return;
  need_array("logits", asks.logits);
  need_array("row", asks.row);
  need_array("count", asks.count);
  need_array("temperature", asks.temperature);
  need_array("edit_start", asks.edit_start);
  need_array("ids", asks.ids);
  need_array("values", asks.values);
  need_array("found", asks.found);
  need_array("log_sums", asks.log_sums);
  need_array("nans", asks.nans);
  check_range("edit_start", asks.edit_start[0], 0, 0);
  for (int64_t i = 0; i < asks.n_asks; i++) {
    check_range("row", asks.row[i], 0, asks.n_rows - 1);
    check_range("count", asks.count[i], 1, std::min(asks.width, asks.vocab));
    check_range("edit_start", asks.edit_start[i + 1], asks.edit_start[i], std::numeric_limits<int32_t>::max());
    if (!(asks.temperature[i] >= 0)) fail(HL_INVALID, "temperature: got %g, want at least 0", static_cast<double>(asks.temperature[i]));
  }
}

}  // namespace

void find_candidates(const Device &device, const hl_candidates &asks) {
  check(asks);
  const int64_t n = asks.n_asks;
  if (n == 0) return;
  const std::vector<Edit> edits = read_edits(asks);
  std::vector<CandidatesTask> tasks(static_cast<size_t>(n));
  std::vector<int64_t> starts(static_cast<size_t>(n) + 1);
  for (int64_t i = 0; i < n; i++) {
    CandidatesTask &task = tasks[static_cast<size_t>(i)];
    task.row = asks.logits + asks.row[i] * asks.vocab;
    task.vocab = asks.vocab;
    task.edits = edits.data() + asks.edit_start[i];
    task.n_edits = asks.edit_start[i + 1] - asks.edit_start[i];
    task.mask = asks.masks ? asks.masks[i] : nullptr;
    task.count = asks.count[i];
    task.temperature = asks.temperature[i];
    task.select = select;
    starts[static_cast<size_t>(i) + 1] = starts[static_cast<size_t>(i)] + candidates_space(task.count);
  }
  std::vector<Candidate> space(static_cast<size_t>(starts.back()));
  for (size_t i = 0; i < tasks.size(); i++) tasks[i].found = space.data() + starts[i];
  const int threads = n * asks.vocab >= kSharedLogits ? device.threads : 1;
  Pool::instance().run(n, threads, [&](int64_t i, int) {
    CandidatesTask &task = tasks[static_cast<size_t>(i)];
    device.kernels.candidates(task);
    const int64_t count = std::min(task.n_found, task.count);
    if (task.n_found > count) select(task.found, task.n_found, count);
    std::sort(task.found, task.found + count, before);
    for (int64_t j = 0; j < count; j++) {
      asks.ids[i * asks.width + j] = task.found[j].id;
      asks.values[i * asks.width + j] = task.found[j].logit;
    }
    asks.found[i] = static_cast<int32_t>(count);
    asks.log_sums[2 * i] = task.log_sum;
    asks.log_sums[2 * i + 1] = task.log_sum_at;
    asks.nans[i] = task.nans;
  });
}

}  // namespace halflap::cpu
