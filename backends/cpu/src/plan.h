// A graph as a list of calls with planned scratch: what `compile` stores and `estimate` measures, made by one function.
#pragma once
#include <algorithm>
#include <map>
#include <memory>
#include <string_view>

#include "graph.h"
#include "kernels/kernels.h"
#include "pool.h"
#include "step.h"

namespace halflap::cpu {

// Where a run finds everything. Buffers 0 to n_values-1 are the graph's values; later ones belong to the plan.
struct Run {
  const Kernels &k;
  Pool &pool;
  int threads;
  const Graph &graph;
  const Step &step;
  State &state;
  std::vector<uint8_t *> buffers;
  uint8_t *worker_scratch;
  int64_t worker_bytes;

  float *floats(int buffer) const { return reinterpret_cast<float *>(bytes(buffer)); }
  int32_t *ints(int buffer) const { return reinterpret_cast<int32_t *>(bytes(buffer)); }
  Chunk *chunks(int buffer) const { return reinterpret_cast<Chunk *>(bytes(buffer)); }
  uint8_t *bytes(int buffer) const { return buffers[static_cast<size_t>(buffer)]; }
  uint8_t *scratch(int worker) const { return worker_scratch + worker * worker_bytes; }
  int64_t size(int64_t dim) const {
    return dim == HL_DIM_T ? step.tokens : dim == HL_DIM_S ? step.sequences : dim == HL_DIM_R ? step.rows : dim;
  }
  int64_t rows(int value) const { return size(graph.values[static_cast<size_t>(value)].dims[0]); }

  // f(row, worker) over rows of `width` elements; small work stays on the caller.
  template <class F>
  void for_rows(int64_t rows, int64_t width, F f) const {
    const int64_t at_once = width >= kRowWork ? 1 : kRowWork / (width ? width : 1);
    pool.run((rows + at_once - 1) / at_once, threads, [&](int64_t chunk, int worker) {
      const int64_t end = chunk * at_once + at_once < rows ? chunk * at_once + at_once : rows;
      for (int64_t row = chunk * at_once; row < end; row++) f(row, worker);
    });
  }
  static constexpr int64_t kRowWork = 16384;  // elements: a few µs
};

// One op (or several, fused) bound to its buffers.
class Call {
 public:
  virtual ~Call() = default;
  virtual void run(const Run &run) const = 0;
};

// Elements of a row: the product of all dimensions but the first.
int64_t width(const Value &value);

class Plan {
 public:
  // Throws HL_UNSUPPORTED for what no kernel does.
  Plan(Graph graph, Limits limits, int threads, const Kernels &kernels);

  Graph graph;
  Limits limits;
  int threads;
  bool tiles;   // the kernels take integers as tiles
  bool halves;  // the kernels take floats as tiles of bf16
  std::vector<std::unique_ptr<Call>> calls;
  std::vector<int64_t> offsets;  // by buffer, into scratch; -1: not in scratch (inputs, weights)
  int64_t scratch = 0;           // bytes, with every worker's share
  int64_t worker_bytes = 0;
  int64_t worker_offset = 0;
  int axes = 1;  // most position axes that an op reads

  // -- for the ops, while planning ----------------------------------------------------------------------------------------
  const Value &value(int v) const { return graph.values[static_cast<size_t>(v)]; }
  int64_t most_rows(int v) const { return limits.most(value(v).dims[0]); }
  int buffer(int64_t bytes);
  void need_worker(int64_t bytes) { worker_bytes = std::max(worker_bytes, round_up(bytes, 64)); }
  void add(std::unique_ptr<Call> call, const std::vector<int> &reads, const std::vector<int> &writes);
  // The rounded form of a value. `made_by_op`: the op that makes the value will fill it, else a call is added that does.
  int rounded(int v);
  int rounded_by_producer(int v);  // -1 if nobody wants it
  int rotary(const std::vector<double> &frequencies, int factors, double magnitude, const std::vector<double> &axes,
             int64_t every);

 private:
  struct Life {
    int64_t bytes = 0;
    int first = -1;
    int last = -1;
  };
  struct Rotary {
    std::vector<double> frequencies, axes;
    int factors;
    double magnitude;
    int64_t every;
    int buffer;
  };

  void find_wants_rounded();
  void place();

  std::vector<Life> lives_;       // by buffer
  std::vector<int> rounded_;      // by value: buffer or -1
  std::vector<bool> wants_rounded_;
  std::vector<Rotary> rotaries_;
};

}  // namespace halflap::cpu
