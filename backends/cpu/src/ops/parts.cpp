// Rows cut into parts, each times a matrix of its own: latent attention's heads, and grouped_linear.
#include <cstring>

#include "matmul.h"
#include "ops.h"

namespace halflap::cpu {

namespace {

struct Parts : Call, PartsSpec {
  int rounded, packed;  // the plan's buffers, or -1
  Type type;

  void run(const Run &run) const override {
    const int64_t tokens = run.size(count), from = width + tail, to = rows + tail, each = chunks(width);
    if (tokens == 0) return;
    run.for_rows(tokens * parts, from, [&](int64_t i, int) {
      const float *row = run.floats(x) + i * from;
      if (rounded >= 0) run.k.quantize(row, width, run.chunks(rounded) + i * each);
      if (tail) memcpy(run.floats(y) + i * to + rows, row + width, static_cast<size_t>(tail) * 4);
    });
    std::vector<MatmulJob> jobs;
    for (int64_t p = 0; p < parts; p++) {
      MatmulTask task{};
      task.row_bytes = row_bytes(type, width);
      task.weight = run.bytes(weight) + p * rows * task.row_bytes;
      task.rows = rows;
      task.width = width;
      task.x = rounded >= 0 ? static_cast<const void *>(run.chunks(rounded) + p * each) : run.floats(x) + p * from;
      task.x_stride = parts * (rounded >= 0 ? each : from);
      task.tokens = tokens;
      task.y = run.floats(y) + p * to;
      task.y_stride = parts * to;
      jobs.push_back({type, task});
    }
    if (packed >= 0) pack_activations(run, jobs, 1, run.bytes(packed));
    run_matmuls(run, jobs);
  }
};

}  // namespace

void add_parts(Plan *plan, const PartsSpec &spec) {
  auto call = std::make_unique<Parts>();
  static_cast<PartsSpec &>(*call) = spec;
  call->type = plan->value(spec.weight).type;
  const int64_t most = plan->limits.most(spec.count) * spec.parts;
  const bool rounds = is_quantised(call->type);
  call->rounded = rounds ? plan->buffer(most * chunks(spec.width) * static_cast<int64_t>(sizeof(Chunk))) : -1;
  const int64_t bytes = packed_bytes(*plan, {call->type}, most, spec.parts, spec.width);
  call->packed = bytes ? plan->buffer(bytes) : -1;
  plan->need_worker(kMatmulScratch);
  const std::vector<int> writes{spec.y, call->rounded, call->packed};
  plan->add(std::move(call), {spec.x}, writes);
}

void bind_grouped_linear(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 2, 1);
  const int64_t groups = in.integer("groups");
  in.no_more();
  const int x = in.input(0), weight = in.input(1), y = in.output();
  in.want_activation(x);
  in.want_activation(y);
  in.want_matrix(weight, 2);
  const int64_t rows = in.value(weight).dims[0], wide = in.value(weight).dims[1], count = in.value(x).dims[0];
  in.want(groups > 0 && rows % groups == 0, "groups", groups, rows);
  in.want(width(in.value(x)) % groups == 0 && width(in.value(x)) / groups == wide, "width of x", width(in.value(x)), wide);
  in.want(width(in.value(y)) == rows, "width of the result", width(in.value(y)), rows);
  in.want(count == in.value(y).dims[0], "rows", in.value(y).dims[0], count);
  if (plan) add_parts(plan, {x, weight, y, count, groups, rows / groups, wide, 0});
}

}  // namespace halflap::cpu
