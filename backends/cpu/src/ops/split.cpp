// split: parts of each row, copied; l2_norm.
#include <cstring>

#include "ops.h"

namespace halflap::cpu {

namespace {

struct Split : Call {
  int x;
  std::vector<int> parts;
  std::vector<int64_t> sizes;
  int64_t groups, wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      const float *from = run.floats(x) + t * wide;
      for (int64_t g = 0; g < groups; g++)
        for (size_t p = 0; p < parts.size(); p++) {
          memcpy(run.floats(parts[p]) + (t * groups + g) * sizes[p], from, static_cast<size_t>(sizes[p]) * 4);
          from += sizes[p];
        }
    });
  }
};

struct L2Norm : Call {
  int x, y;
  int64_t groups, wide;
  float eps;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      run.k.l2_norm(run.floats(x) + t * wide, run.floats(y) + t * wide, groups, wide / groups, eps);
    });
  }
};

}  // namespace

void bind_split(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, node.outputs.size());
  auto call = std::make_unique<Split>();
  call->x = in.input(0);
  call->groups = in.integer("groups");
  call->wide = width(in.value(call->x));
  const std::vector<double> &sizes = in.numbers("sizes");
  in.no_more();
  in.want_activation(call->x);
  in.want(call->groups > 0 && call->wide % call->groups == 0, "groups", call->groups, call->wide);
  in.want(!sizes.empty() && sizes.size() == node.outputs.size(), "results", static_cast<int64_t>(node.outputs.size()),
          static_cast<int64_t>(sizes.size()));
  int64_t total = 0;
  for (size_t p = 0; p < sizes.size(); p++) {
    in.want(sizes[p] >= 1 && sizes[p] <= static_cast<double>(call->wide), "size", static_cast<int64_t>(p), call->wide);
    const int64_t size = static_cast<int64_t>(sizes[p]);
    const Value &part = in.value(node.outputs[p]);
    in.want_activation(node.outputs[p]);
    in.want(part.dims.size() == in.value(call->x).dims.size() && part.dims[0] == in.value(call->x).dims[0], "rows of a part",
            part.dims[0], in.value(call->x).dims[0]);
    in.want(width(part) == call->groups * size, "width of a part", width(part), call->groups * size);
    call->parts.push_back(node.outputs[p]);
    call->sizes.push_back(size);
    total += size;
  }
  in.want(total * call->groups == call->wide, "sizes together", total * call->groups, call->wide);
  if (!plan) return;
  const int x = call->x;
  plan->add(std::move(call), {x}, node.outputs);
}

void bind_l2_norm(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  auto call = std::make_unique<L2Norm>();
  call->x = in.input(0);
  call->y = in.output();
  call->eps = static_cast<float>(in.number("eps"));
  call->groups = in.integer("groups");
  in.no_more();
  in.want_activation(call->x);
  in.want_activation(call->y);
  in.want_same_shape(call->x, call->y);
  call->wide = width(in.value(call->x));
  in.want(call->groups > 0 && call->wide % call->groups == 0, "groups", call->groups, call->wide);
  if (!plan) return;
  const int x = call->x, y = call->y;
  plan->add(std::move(call), {x}, {y});
}

}  // namespace halflap::cpu
