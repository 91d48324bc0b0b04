// latent_attention: each head's K matrix is applied to its queries, attention runs over the latent rows themselves, and
// each head's V matrix is applied to what it mixed. The same for every number of tokens, so that rows do not depend on it.
#include "ops.h"

namespace halflap::cpu {

void bind_latent_attention(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 6, 1);
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
  const int64_t chosen = read_chosen(in, 5);
  spec.k = in.input(1);
  spec.v = in.input(2);
  in.want((spec.k < 0) == (spec.v < 0), "key and latent given", spec.k >= 0, spec.v >= 0);
  if (spec.k >= 0) want_rows(spec.k, rotated);
  if (spec.v >= 0) want_rows(spec.v, rank);
  spec.group = graph.group(group);
  if (spec.group < 0 || graph.groups[static_cast<size_t>(spec.group)].kind != HL_BLOCKS)
    fail(HL_INVALID, "group of op latent_attention: got '%.100s', want one of the graph's of blocks", group.c_str());
  in.want(graph.groups[static_cast<size_t>(spec.group)].rate == 1, "rate", graph.groups[static_cast<size_t>(spec.group)].rate, 1);
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
  add_parts(plan, {q, k_up, spec.q, HL_DIM_T, spec.heads, rank, plain, rotated});
  if (chosen)
    add_chosen_attention(spec, in.input(5), chosen, plan);
  else
    add_attention(graph, spec, plan);
  add_parts(plan, {spec.y, v_up, y, HL_DIM_T, spec.heads, v_head_dim, rank, 0});
}

}  // namespace halflap::cpu
