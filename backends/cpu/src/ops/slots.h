// Walking the sequences of a step with their slots.
#pragma once
#include "ops.h"

namespace halflap::cpu {

// f(first token, one past the last, source, target) for each run of a sequence's tokens, cut where its state is stored
// on the way: a run's source is the target of the run before. A null source is zero.
template <class F>
void for_slot_runs(const Step &step, const GroupStep &slots, const SlotLayer &layer, int64_t sequence, F f) {
  const size_t s = static_cast<size_t>(sequence);
  const float *source = slots.slot_in[s] < 0 ? nullptr : layer.row(slots.slot_in[s]);
  int64_t begin = step.seq_start[s];
  for (int64_t e = slots.emit_start[s]; e < slots.emit_start[s + 1]; e++) {
    float *target = layer.row(slots.emit[2 * e + 1]);
    f(begin, slots.emit[2 * e] + 1, source, target);
    begin = slots.emit[2 * e] + 1;
    source = target;
  }
  f(begin, step.seq_start[s + 1], source, layer.row(slots.slot_out[s]));
}

}  // namespace halflap::cpu
