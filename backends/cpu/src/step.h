// hl_step, checked against the limits and the state before any kernel sees it.
#pragma once
#include "state.h"

namespace halflap::cpu {

struct GroupStep {
  const int32_t *table_start;  // (S+1)
  const int32_t *blocks;
  const int32_t *first_token;  // (S)
  const int32_t *length;       // (S)
};

struct Step {
  int64_t tokens, sequences, rows;
  const int32_t *ids;        // (T)
  const int32_t *index;      // (T)
  const int32_t *position;   // (T) of the first axis
  const int32_t *seq_start;  // (S+1)
  const int32_t *wanted;     // (R)
  std::vector<GroupStep> groups;
  std::vector<hl_copy> copies;
};

// Throws HL_INVALID where an index could lead a kernel out of bounds.
Step read_step(const hl_step *step, const Limits &limits, const State &state);

}  // namespace halflap::cpu
