#include "state.h"

#include <cstring>
#include <tuple>

namespace halflap::cpu {

KvType find_kv_type(const char *which, const std::string &name) {
  if (name == "f32") return KvType::f32;
  if (name == "f16") return KvType::f16;
  if (name == "bf16") return KvType::bf16;
  if (name == "q8_0") return KvType::q8_0;
  if (name == "q4_0") return KvType::q4_0;
  fail(HL_UNSUPPORTED, "%s type: got '%.50s', want 'f32', 'f16', 'bf16', 'q8_0' or 'q4_0'", which, name.c_str());
}

static KvLayer place(const Layer &layer, const Limits &limits) {
  KvLayer l{};
  l.k_width = layer.k_width;
  l.v_width = layer.v_width;
  l.k_type = find_kv_type("K", limits.k_type);
  l.v_type = find_kv_type("V", limits.v_type);
  for (const auto &[which, type, width] : {std::tuple{"K", l.k_type, l.k_width}, std::tuple{"V", l.v_type, l.v_width}})
    if (is_quantised(type) && width % kKvBlock)
      fail(HL_UNSUPPORTED, "width of %s rows: got %lld, want a multiple of %d for a quantised KV type", which,
           static_cast<long long>(width), kKvBlock);
  const auto block = [](KvType type, int64_t width) {
    return kv_codes(type, kBlockTokens * width) + kv_scales(type, kBlockTokens * width);
  };
  l.v_offset = block(l.k_type, l.k_width);
  l.block_bytes = l.v_offset + block(l.v_type, l.v_width);
  return l;
}

static int64_t layer_bytes(const Group &group, const Layer &layer, const Limits &limits) {
  if (group.kind == HL_SLOTS) return 4 * layer.k_width * group.slots;
  return place(layer, limits).block_bytes * group.blocks;
}

int64_t state_bytes(const std::vector<Group> &groups, const Limits &limits) {
  int64_t total = 0;
  for (const Group &group : groups)
    for (const Layer &layer : group.layers) {
      total += Allocator::counted(layer_bytes(group, layer, limits));
      if (total > (int64_t{1} << 60)) fail_memory("state", total, probe_memory().free);
    }
  return total;
}

State::State(Allocator &memory, std::vector<Group> given, const Limits &limits) : groups(std::move(given)) {
  const int64_t total = state_bytes(groups, limits), free = probe_memory().free;
  if (total > free) fail_memory("state", total, free);
  for (const Group &group : groups) {
    layers.emplace_back();
    slot_layers.emplace_back();
    for (const Layer &layer : group.layers) {
      pools.emplace_back(memory, layer_bytes(group, layer, limits), "state");
      if (group.kind == HL_SLOTS) {
        slot_layers.back().push_back({reinterpret_cast<float *>(pools.back().data()), layer.k_width});
        continue;
      }
      KvLayer l = place(layer, limits);
      l.base = pools.back().data();
      layers.back().push_back(l);
    }
  }
}

void State::copy(int group, int32_t source, int32_t target) {
  for (const KvLayer &l : layers[static_cast<size_t>(group)])
    memmove(l.base + target * l.block_bytes, l.base + source * l.block_bytes, static_cast<size_t>(l.block_bytes));
}

}  // namespace halflap::cpu
