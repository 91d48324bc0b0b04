// linear: one call for all that read the same value, so that a step has few barriers.
#include "matmul.h"
#include "ops.h"

namespace halflap::cpu {

namespace {

struct Part {
  int weight, bias, y;
  Type type;
  int64_t rows;
};

struct Linear : Call {
  int x;
  int rounded;  // buffer of Chunks, or -1 if no part is quantised
  int packed;   // buffer for pack_activations, or -1
  int64_t wide;
  std::vector<Part> parts;

  void run(const Run &run) const override {
    const int64_t tokens = run.rows(x);
    if (tokens == 0) return;
    std::vector<MatmulJob> jobs;
    for (const Part &part : parts) {
      MatmulTask task{};
      task.weight = run.bytes(part.weight);
      task.row_bytes = row_bytes(part.type, wide);
      task.rows = part.rows;
      task.width = wide;
      task.x = is_quantised(part.type) ? static_cast<const void *>(run.chunks(rounded)) : run.floats(x);
      task.x_stride = is_quantised(part.type) ? chunks(wide) : wide;
      task.tokens = tokens;
      task.bias = part.bias < 0 ? nullptr : run.floats(part.bias);
      task.y = run.floats(part.y);
      task.y_stride = part.rows;
      jobs.push_back({part.type, task});
    }
    if (packed >= 0) pack_activations(run, jobs, jobs.size(), run.bytes(packed));
    run_matmuls(run, jobs);
  }
};

}  // namespace

void bind_linear(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 3, 1);
  in.no_more();
  const Value &x = in.value(in.input(0)), &y = in.value(in.output());
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  in.want_matrix(in.input(1), 2);
  const Value &weight = in.value(in.input(1));
  in.want(width(x) == weight.dims[1], "width of x", width(x), weight.dims[1]);
  in.want(width(y) == weight.dims[0], "width of the result", width(y), weight.dims[0]);
  in.want(x.dims[0] == y.dims[0], "rows", y.dims[0], x.dims[0]);
  in.want_vector(in.input(2), weight.dims[0]);
  if (plan) bind_linears(*plan, {&node});
}

void bind_linears(Plan &plan, const std::vector<const Node *> &nodes) {
  auto call = std::make_unique<Linear>();
  call->x = nodes[0]->inputs[0];
  call->wide = width(plan.value(call->x));
  call->rounded = -1;
  std::vector<int> reads{call->x}, writes;
  for (const Node *node : nodes) {
    const Value &weight = plan.value(node->inputs[1]);
    call->parts.push_back({node->inputs[1], node->inputs.size() > 2 ? node->inputs[2] : -1, node->outputs[0], weight.type,
                           weight.dims[0]});
    if (is_quantised(weight.type)) call->rounded = plan.rounded(call->x);
    reads.push_back(call->parts.back().bias);
    writes.push_back(node->outputs[0]);
  }
  reads.push_back(call->rounded);
  std::vector<Type> types;
  for (const Part &part : call->parts) types.push_back(part.type);
  const int64_t bytes = packed_bytes(plan, types, plan.most_rows(call->x), 1, call->wide);
  call->packed = bytes ? plan.buffer(bytes) : -1;
  writes.push_back(call->packed);
  plan.need_worker(kMatmulScratch);
  plan.add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
