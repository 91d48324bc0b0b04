// hl_step, checked against the limits and the state before any kernel sees it.
#pragma once
#include "state.h"

namespace halflap::cpu {

struct GroupStep {
  const int32_t *table_start;  // (S+1)
  const int32_t *blocks;
  const int32_t *first_token;  // (S)
  const int32_t *length;       // (S)

  const int32_t *slot_in, *slot_out;  // (S) of a slots group; slot_in -1: zero
  const int32_t *emit;                // (n, 2) tokens ascending, and slots
  std::vector<int64_t> emit_start;    // (S+1) which of them are in each sequence
};

struct Step {
  int64_t tokens, sequences, rows;
  const int32_t *ids;        // (T)
  const int32_t *index;      // (T)
  const int32_t *position;   // (axes, T)
  const int32_t *seq_start;  // (S+1)
  const int32_t *wanted;     // (R)
  const int32_t *span_end;   // (T), or null
  std::vector<GroupStep> groups;
  std::vector<hl_copy> copies;
  int64_t axes;
};

// The first place that a token does not see where attention heeds spans.
inline int64_t seen_end(const Step &step, int64_t t) {
  const int64_t after = int64_t{step.index[t]} + 1;
  return step.span_end && step.span_end[t] > after ? step.span_end[t] : after;
}

// Throws HL_INVALID where an index could lead a kernel out of bounds.
// addressed: by group, whether the step's tokens find rows of their own there.
Step read_step(const hl_step *step, const Limits &limits, const State &state, const std::vector<bool> &addressed);

}  // namespace halflap::cpu
