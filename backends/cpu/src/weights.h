// Weights as the kernels read them: matrices where the file is mapped, vectors as f32.
#pragma once
#include <map>

#include "graph.h"
#include "memory.h"

namespace halflap::cpu {

struct WeightBytes {
  int64_t in_place;
  int64_t packed;  // as the allocator counts them
};
WeightBytes weight_bytes(const Graph &graph);

struct Weights {
  Weights(Allocator &memory, const Graph &graph, const hl_weight *weights, int64_t n_weights);

  // The bytes of one; throws HL_INVALID if it was not packed, or in another form.
  const uint8_t *find(const Value &value) const;

 private:
  struct Tensor {
    Type type;
    std::vector<int64_t> dims;
    const uint8_t *data;
  };
  std::map<std::string, Tensor> tensors_;
  std::vector<Buffer> packed_;
};

}  // namespace halflap::cpu
