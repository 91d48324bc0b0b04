// latent_attention: each head's K matrix is applied to its queries, attention runs over the latent rows themselves, and
// each head's V matrix is applied to what it mixed. The same for every number of tokens, so that rows do not depend on it.
#include <cstring>

#include "matmul.h"
#include "ops.h"

namespace halflap::cpu {

namespace {

// y[t][h] = matrix[h] times the leading elements of x[t][h]; what follows them is copied behind the products.
struct PerHead : Call {
  int x, weight, y;    // (T, heads, width + tail), (heads, rows, width), (T, heads, rows + tail)
  int rounded, packed;  // the plan's buffers, or -1
  Type type;
  int64_t heads, rows, width, tail;

  void run(const Run &run) const override {
    const int64_t tokens = run.step.tokens, from = width + tail, to = rows + tail, each = chunks(width);
    if (tokens == 0) return;
    run.for_rows(tokens * heads, from, [&](int64_t i, int) {
      const float *row = run.floats(x) + i * from;
      if (rounded >= 0) run.k.quantize(row, width, run.chunks(rounded) + i * each);
      if (tail) memcpy(run.floats(y) + i * to + rows, row + width, static_cast<size_t>(tail) * 4);
    });
    std::vector<MatmulJob> jobs;
    for (int64_t h = 0; h < heads; h++) {
      MatmulTask task{};
      task.row_bytes = row_bytes(type, width);
      task.weight = run.bytes(weight) + h * rows * task.row_bytes;
      task.rows = rows;
      task.width = width;
      task.x = rounded >= 0 ? static_cast<const void *>(run.chunks(rounded) + h * each) : run.floats(x) + h * from;
      task.x_stride = heads * (rounded >= 0 ? each : from);
      task.tokens = tokens;
      task.y = run.floats(y) + h * to;
      task.y_stride = heads * to;
      jobs.push_back({type, task});
    }
    if (packed >= 0) pack_activations(run, jobs, 1, run.bytes(packed));
    run_matmuls(run, jobs);
  }
};

void add_per_head(Plan *plan, int x, int weight, int y, int64_t tail) {
  auto call = std::make_unique<PerHead>();
  const Value &matrix = plan->value(weight);
  call->x = x;
  call->weight = weight;
  call->y = y;
  call->type = matrix.type;
  call->heads = matrix.dims[0];
  call->rows = matrix.dims[1];
  call->width = matrix.dims[2];
  call->tail = tail;
  const int64_t most = plan->limits.tokens * call->heads;
  const bool rounds = is_quantised(call->type);
  call->rounded = rounds ? plan->buffer(most * chunks(call->width) * static_cast<int64_t>(sizeof(Chunk))) : -1;
  const int64_t bytes = packed_bytes(*plan, {call->type}, most, call->heads, call->width);
  call->packed = bytes ? plan->buffer(bytes) : -1;
  plan->need_worker(kMatmulScratch);
  const std::vector<int> writes{y, call->rounded, call->packed};
  plan->add(std::move(call), {x}, writes);
}

}  // namespace

void bind_latent_attention(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 5, 1);
  AttentionSpec spec;
  spec.heads = in.integer("heads");
  spec.kv_heads = 1;
  const int64_t plain = in.integer("plain_dim"), rotated = in.integer("rotated_dim"), rank = in.integer("rank");
  const int64_t v_head_dim = in.integer("v_head_dim");
  spec.scale = static_cast<float>(in.number("scale"));
  const std::string &group = in.text("group");
  const int64_t layer = in.integer("layer");
  in.no_more();

  const int q = in.input(0), k_up = in.input(3), v_up = in.input(4), y = in.output();
  for (const auto &[what, n] : {std::pair{"heads", spec.heads}, std::pair{"plain_dim", plain}, std::pair{"rotated_dim", rotated},
                                std::pair{"rank", rank}, std::pair{"v_head_dim", v_head_dim}})
    in.want(n > 0 && n <= 65536, what, n, 65536);
  in.want(k_up >= 0 && v_up >= 0, "matrices given", (k_up >= 0) + (v_up >= 0), 2);
  const auto want_rows = [&](int v, int64_t wide) {
    in.want_activation(v);
    in.want(in.value(v).dims[0] == HL_DIM_T, "rows", in.value(v).dims[0], HL_DIM_T);
    in.want(width(in.value(v)) == wide, "width", width(in.value(v)), wide);
  };
  const auto want_matrices = [&](int v, int64_t rows, int64_t wide) {
    in.want_matrix(v, 3);
    const std::vector<int64_t> &dims = in.value(v).dims;
    in.want(dims[0] == spec.heads, "matrices", dims[0], spec.heads);
    in.want(dims[1] == rows, "rows of a matrix", dims[1], rows);
    in.want(dims[2] == wide, "width of a matrix", dims[2], wide);
  };
  want_rows(q, spec.heads * (plain + rotated));
  want_rows(y, spec.heads * v_head_dim);
  want_matrices(k_up, rank, plain);
  want_matrices(v_up, v_head_dim, rank);
  spec.k = in.input(1);
  spec.v = in.input(2);
  in.want((spec.k < 0) == (spec.v < 0), "key and latent given", spec.k >= 0, spec.v >= 0);
  if (spec.k >= 0) want_rows(spec.k, rotated);
  if (spec.v >= 0) want_rows(spec.v, rank);
  spec.group = graph.group(group);
  if (spec.group < 0)
    fail(HL_INVALID, "group of op latent_attention: got '%.100s', want one of the graph's", group.c_str());
  const std::vector<Layer> &layers = graph.groups[static_cast<size_t>(spec.group)].layers;
  in.want(layer >= 0 && layer < static_cast<int64_t>(layers.size()), "layer", layer, static_cast<int64_t>(layers.size()) - 1);
  spec.layer = static_cast<int>(layer);
  const Layer &rows = layers[static_cast<size_t>(layer)];
  in.want(rows.k_width == rotated, "width of K rows", rows.k_width, rotated);
  in.want(rows.v_width == rank, "width of V rows", rows.v_width, rank);
  if (!plan) return;

  spec.latent = spec.v_head_dim = rank;
  spec.head_dim = rank + rotated;
  spec.q = plan->buffer(plan->limits.tokens * spec.heads * spec.head_dim * 4);
  spec.y = plan->buffer(plan->limits.tokens * spec.heads * rank * 4);
  add_per_head(plan, q, k_up, spec.q, rotated);
  add_attention(graph, spec, plan);
  add_per_head(plan, spec.y, v_up, y, 0);
}

}  // namespace halflap::cpu
