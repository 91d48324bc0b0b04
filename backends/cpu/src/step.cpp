#include "step.h"

#include <algorithm>

namespace halflap::cpu {

static long long ll(int64_t v) { return v; }

static void check_range(const char *what, int64_t got, int64_t low, int64_t high) {  // high excluded
  if (got < low || got >= high) fail(HL_INVALID, "%s: got %lld, want %lld to %lld", what, ll(got), ll(low), ll(high - 1));
}

static GroupStep read_group(const hl_group_step &from, const Step &step, const Group &group, const Limits &limits,
                            bool addressed) {
  check_struct("hl_group_step", from.struct_size, sizeof from);
  const int64_t S = step.sequences;
  check_range("blocks listed", from.n_blocks, 0, INT32_MAX);
  if (!from.table_start || (S && (!from.first_token || !from.length)) || (from.n_blocks && !from.blocks))
    fail(HL_INVALID, "group %.100s: got a NULL array, want table_start, blocks, first_token and length", group.name.c_str());
  for (int64_t i = 0; i < from.n_blocks; i++) check_range("block id", from.blocks[i], 0, group.blocks);
  check_range("table_start[0]", from.table_start[0], 0, from.n_blocks + 1);
  for (int64_t s = 0; s < S; s++) {
    const int64_t begin = from.table_start[s], end = from.table_start[s + 1];
    check_range("table_start", end, begin, from.n_blocks + 1);
    const int64_t first = from.first_token[s], length = from.length[s];
    if (first < 0 || first % group.block_tokens())
      fail(HL_INVALID, "first_token: got %lld, want a multiple of %lld", ll(first), ll(group.block_tokens()));
    if (length < first || length - first > (end - begin) * group.block_tokens())
      fail(HL_INVALID, "length: got %lld, want %lld to %lld, what the table holds", ll(length), ll(first),
           ll(first + (end - begin) * group.block_tokens()));
    if (limits.context && length > limits.context)
      fail(HL_INVALID, "length: got %lld, want at most limits.context %lld", ll(length), ll(limits.context));
    for (int64_t t = step.seq_start[s]; addressed && t < step.seq_start[s + 1]; t++) {
      check_range("index", step.index[t], first, length);
      if (t > step.seq_start[s] && step.index[t] <= step.index[t - 1])
        fail(HL_INVALID, "index: got %d after %d, want ascending within a sequence", step.index[t], step.index[t - 1]);
    }
  }
  return {from.table_start, from.blocks, from.first_token, from.length, nullptr, nullptr, nullptr, {}};
}

static GroupStep read_slots(const hl_group_step &from, const Step &step, const Group &group) {
  check_struct("hl_group_step", from.struct_size, sizeof from);
  check_range("slots to emit to", from.n_emit, 0, INT32_MAX);
  if ((step.sequences && (!from.slot_in || !from.slot_out)) || (from.n_emit && !from.emit))
    fail(HL_INVALID, "group %.100s: got a NULL array, want slot_in, slot_out and emit", group.name.c_str());
  GroupStep read{nullptr, nullptr, nullptr, nullptr, from.slot_in, from.slot_out, from.emit, {0}};
  std::vector<std::pair<int32_t, int64_t>> writers;  // slot, sequence
  int64_t e = 0;
  for (int64_t s = 0; s < step.sequences; s++) {
    check_range("slot_in", from.slot_in[s], -1, group.slots);
    check_range("slot_out", from.slot_out[s], 0, group.slots);
    writers.push_back({from.slot_out[s], s});
    for (; e < from.n_emit && from.emit[2 * e] < step.seq_start[s + 1]; e++) {
      check_range("token to emit after, ascending", from.emit[2 * e], e ? from.emit[2 * e - 2] : 0, step.tokens);
      check_range("slot to emit to", from.emit[2 * e + 1], 0, group.slots);
      writers.push_back({from.emit[2 * e + 1], s});
    }
    read.emit_start.push_back(e);
  }
  if (e < from.n_emit) check_range("token to emit after", from.emit[2 * e], 0, step.tokens);
  if (e < from.n_emit) fail(HL_INVALID, "tokens to emit after: got %lld more, want them ascending", ll(from.n_emit - e));
  std::sort(writers.begin(), writers.end());
  for (size_t i = 1; i < writers.size(); i++)
    if (writers[i].first == writers[i - 1].first)
      fail(HL_INVALID, "slot %d: got two writers, want one in a step", writers[i].first);
  for (int64_t s = 0; s < step.sequences; s++) {
    const auto writer = std::lower_bound(writers.begin(), writers.end(), std::pair{from.slot_in[s], int64_t{0}});
    if (writer != writers.end() && writer->first == from.slot_in[s] && writer->second != s)
      fail(HL_INVALID, "slot_in: got %d, which another sequence writes, want one of its own", from.slot_in[s]);
  }
  return read;
}

// No span ends behind its sequence's last token of the step, or before one that began earlier.
static void check_spans(const Step &step) {
  for (int64_t s = 0; s < step.sequences; s++) {
    int64_t before = 0;
    for (int64_t t = step.seq_start[s]; t < step.seq_start[s + 1]; t++) {
      const int64_t end = seen_end(step, t);
      check_range("span_end", end, before, int64_t{step.index[step.seq_start[s + 1] - 1]} + 2);
      before = end;
    }
  }
}

Step read_step(const hl_step *from, const Limits &limits, const State &state, const std::vector<bool> &addressed) {
  if (!from) fail(HL_INVALID, "step: got NULL, want a step");
  check_struct("hl_step", from->struct_size, sizeof *from);
  Step step{from->n_tokens, from->n_sequences, from->n_rows,    from->ids, from->index, from->position,
            from->seq_start, from->rows,     from->span_end, {},        {},              from->n_positions};
  check_range("tokens", step.tokens, 0, limits.tokens + 1);
  check_range("sequences", step.sequences, 0, limits.sequences + 1);
  check_range("rows", step.rows, 0, limits.rows + 1);
  check_range("positions", from->n_positions, 1, 5);
  if ((step.tokens && (!step.ids || !step.index || !step.position)) || !step.seq_start || (step.rows && !step.wanted))
    fail(HL_INVALID, "step: got a NULL array, want ids, index, position, seq_start and rows");
  if (step.seq_start[0] != 0 || step.seq_start[step.sequences] != step.tokens)
    fail(HL_INVALID, "seq_start: got %d to %d, want 0 to %lld", step.seq_start[0], step.seq_start[step.sequences],
         ll(step.tokens));
  for (int64_t s = 0; s < step.sequences; s++)
    check_range("seq_start", step.seq_start[s + 1], step.seq_start[s], step.tokens + 1);
  for (int64_t t = 0; t < step.tokens; t++) check_range("index", step.index[t], 0, INT32_MAX);
  for (int64_t r = 0; r < step.rows; r++) check_range("rows", step.wanted[r], 0, step.tokens);
  if (step.span_end) check_spans(step);

  const int64_t groups = static_cast<int64_t>(state.groups.size());
  if (from->n_groups != groups || (groups && !from->groups))
    fail(HL_INVALID, "groups of the step: got %lld, want %lld, those of the state", ll(from->n_groups), ll(groups));
  for (int64_t g = 0; g < groups; g++)
    step.groups.push_back(state.groups[static_cast<size_t>(g)].kind == HL_SLOTS
                              ? read_slots(at(from->groups, g), step, state.groups[static_cast<size_t>(g)])
                              : read_group(at(from->groups, g), step, state.groups[static_cast<size_t>(g)], limits,
                                           addressed[static_cast<size_t>(g)]));

  check_range("copies", from->n_copies, 0, INT32_MAX);
  if (from->n_copies && !from->copies) fail(HL_INVALID, "copies: got NULL, want %lld", ll(from->n_copies));
  for (int64_t i = 0; i < from->n_copies; i++) {
    const hl_copy &copy = at(from->copies, i);
    check_struct("hl_copy", copy.struct_size, sizeof copy);
    check_range("group of a copy", copy.group, 0, groups);
    if (state.groups[static_cast<size_t>(copy.group)].kind == HL_SLOTS)
      fail(HL_INVALID, "group of a copy: got one of slots, want one of blocks");
    const int64_t blocks = state.groups[static_cast<size_t>(copy.group)].blocks;
    check_range("source of a copy", copy.source, 0, blocks);
    check_range("target of a copy", copy.target, 0, blocks);
    step.copies.push_back(copy);
  }
  return step;
}

}  // namespace halflap::cpu
