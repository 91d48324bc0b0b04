// The pools behind state groups: per layer an array of KV blocks, or of slots.
#pragma once
#include <memory>
#include <vector>

#include "graph.h"
#include "kernels/kernels.h"
#include "memory.h"

namespace halflap::cpu {

KvType find_kv_type(const char *which, const std::string &name);

// Bytes of all pools, as the allocator will count them.
int64_t state_bytes(const std::vector<Group> &groups, const Limits &limits);

// One layer of a slots group: a row of f32 per slot.
struct SlotLayer {
  float *base;
  int64_t elements;

  float *row(int64_t slot) const { return base + slot * elements; }
};

struct State {
  State(Allocator &memory, std::vector<Group> groups, const Limits &limits);

  const KvLayer &layer(int group, int layer) const {
    return layers[static_cast<size_t>(group)][static_cast<size_t>(layer)];
  }
  const SlotLayer &slots(int group, int layer) const {
    return slot_layers[static_cast<size_t>(group)][static_cast<size_t>(layer)];
  }
  void copy(int group, int32_t source, int32_t target);

  std::vector<Group> groups;
  std::vector<std::vector<KvLayer>> layers;  // [group][layer], of blocks groups
  std::vector<std::vector<SlotLayer>> slot_layers;  // [group][layer], of slots groups
  std::vector<Buffer> pools;
};

}  // namespace halflap::cpu
