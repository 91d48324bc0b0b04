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
  return place(layer, limits).block_bytes * ((group.blocks * group.block_rows() + kBlockTokens - 1) / kBlockTokens);
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

// The bytes of a row as they are stored: lines of K hold the same element of 32 rows, those of V 32 elements of each.
static void copy_row(const KvLayer &l, RowPlace from, RowPlace to) {
  const auto lines = [&](uint8_t *source, uint8_t *target, int64_t count, int64_t bytes) {
    for (int64_t i = 0; i < count; i++)
      memmove(target + (i * kBlockTokens + to.place) * bytes, source + (i * kBlockTokens + from.place) * bytes,
              static_cast<size_t>(bytes));
  };
  const bool packed = l.k_type == KvType::q4_0;  // elements i and i + 16 share a byte
  lines(l.k(from.block), l.k(to.block), packed ? l.k_width / 2 : l.k_width, packed ? 1 : kv_codes(l.k_type, 1));
  if (is_quantised(l.k_type)) lines(l.k_scales(from.block), l.k_scales(to.block), l.k_width / kKvBlock, 2);
  for (int64_t i = 0; i < l.v_width; i += kKvBlock)
    memmove(l.v_codes(to.block, to.place, i), l.v_codes(from.block, from.place, i),
            static_cast<size_t>(kv_codes(l.v_type, l.v_run(i))));
  if (is_quantised(l.v_type)) lines(l.v_scales(from.block), l.v_scales(to.block), l.v_width / kKvBlock, 2);
}

void State::copy(int group, int32_t source, int32_t target) {
  const Group &g = groups[static_cast<size_t>(group)];
  for (const KvLayer &l : layers[static_cast<size_t>(group)]) {
    if (g.block_rows() == kBlockTokens) {
      memmove(l.base + target * l.block_bytes, l.base + source * l.block_bytes, static_cast<size_t>(l.block_bytes));
      continue;
    }
    for (int64_t row = 0; row < g.block_rows(); row++) copy_row(l, g.row_place(source, row), g.row_place(target, row));
  }
}

}  // namespace halflap::cpu
