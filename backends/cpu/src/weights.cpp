#include "weights.h"

#include <algorithm>
#include <cstring>

#include "dispatch.h"

namespace halflap::cpu {

static int64_t elements(const Value &value) {
  int64_t n = 1;
  for (int64_t dim : value.dims) n *= dim;
  return n;
}

static int64_t stored_bytes(const Value &value) {
  if (value.type == Type::none || value.type == Type::I32)
    fail(HL_UNSUPPORTED, "type of weight %.200s: got '%.20s', want one that device 'cpu' reads", value.name.c_str(),
         value.dtype.c_str());
  const TypeInfo &type = info(value.type);
  if (value.dims.back() % type.block)
    fail(HL_INVALID, "width of weight %.200s: got %lld, want a multiple of %d", value.name.c_str(),
         static_cast<long long>(value.dims.back()), type.block);
  return elements(value) / type.block * type.bytes;
}

// Vectors (norm weights, biases, factors) become f32: they are small, and kernels then know one form.
static bool is_converted(const Value &value) { return value.dims.size() == 1 && value.type != Type::F32; }

WeightBytes weight_bytes(const Graph &graph) {
  WeightBytes bytes{0, 0};
  for (const Value &value : graph.values) {
    if (value.kind != HL_WEIGHT) continue;
    if (is_converted(value))
      bytes.packed += Allocator::counted(elements(value) * 4);
    else
      bytes.in_place += stored_bytes(value);
  }
  return bytes;
}

Weights::Weights(Allocator &memory, const Graph &graph, const hl_weight *weights, int64_t n_weights) {
  if (n_weights < 0 || (n_weights && !weights)) fail(HL_INVALID, "weights: got NULL, want an array");
  std::map<std::string_view, const hl_weight *> given;
  for (int64_t i = 0; i < n_weights; i++) {
    const hl_weight &weight = at(weights, i);
    check_struct("hl_weight", weight.struct_size, sizeof weight);
    given[view(weight.name)] = &weight;
  }
  for (const Value &value : graph.values) {
    if (value.kind != HL_WEIGHT) continue;
    const auto found = given.find(value.name);
    if (found == given.end()) fail(HL_INVALID, "weight: got none, want '%.200s'", value.name.c_str());
    const hl_weight &weight = *found->second;
    if (view(weight.dtype) != value.dtype || weight.n_dims != static_cast<int32_t>(value.dims.size()) ||
        !std::equal(value.dims.begin(), value.dims.end(), weight.dims))
      fail(HL_INVALID, "weight %.200s: got another type or shape, want the graph's", value.name.c_str());
    const int64_t bytes = stored_bytes(value);
    if (weight.n_bytes != bytes || !weight.data)
      fail(HL_INVALID, "bytes of weight %.200s: got %lld, want %lld", value.name.c_str(),
           static_cast<long long>(weight.data ? weight.n_bytes : 0), static_cast<long long>(bytes));
    const uint8_t *data = static_cast<const uint8_t *>(weight.data);
    if (is_converted(value)) {
      packed_.emplace_back(memory, elements(value) * 4, "packed weights");
      choose_kernels().dequantize[static_cast<int>(value.type)](data, elements(value),
                                                                reinterpret_cast<float *>(packed_.back().data()));
      data = packed_.back().data();
    }
    tensors_[value.name] = {value.type, value.dims, data};
  }
}

const uint8_t *Weights::find(const Value &value) const {
  const auto found = tensors_.find(value.name);
  if (found == tensors_.end() || found->second.type != value.type || found->second.dims != value.dims)
    fail(HL_INVALID, "weights: got none like '%.200s', want what the graph names", value.name.c_str());
  return found->second.data;
}

}  // namespace halflap::cpu
