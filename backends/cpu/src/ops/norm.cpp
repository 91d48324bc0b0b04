// rms_norm, rounding its result on the way where quantised weights will meet it.
#include "ops.h"

namespace halflap::cpu {

namespace {

struct RmsNorm : Call {
  Norm norm;
  int y, rounded;
  int64_t wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(norm.x), wide, [&](int64_t t, int) {
      float *to = run.floats(y) + t * wide;
      norm.run(run, run.floats(norm.x) + t * wide, to, wide);
      if (rounded >= 0) run.k.quantize(to, wide, run.chunks(rounded) + t * chunks(wide));
    });
  }
};

struct Quantize : Call {
  int x, y;
  int64_t wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      run.k.quantize(run.floats(x) + t * wide, wide, run.chunks(y) + t * chunks(wide));
    });
  }
};

}  // namespace

void Norm::run(const Run &run, const float *from, float *to, int64_t wide) const {
  const float *scales = weight < 0 ? nullptr : run.floats(weight);
  const int64_t part = wide / groups;
  if (!weight_per_group) return run.k.rms_norm(from, scales, to, groups, part, eps);
  for (int64_t g = 0; g < groups; g++) run.k.rms_norm(from + g * part, scales + g * part, to + g * part, 1, part, eps);
}

Norm read_norm(const Graph &graph, const Node &node) {
  Reader in(graph, node, 1, 2, 1);
  const double eps = in.number("eps");
  const int64_t groups = in.integer("groups");
  in.no_more();
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  in.want_same_shape(in.input(0), in.output());
  const int64_t wide = width(in.value(in.input(0)));
  in.want(groups > 0 && wide % groups == 0, "groups", groups, wide);
  const bool per_group = in.input(1) >= 0 && in.value(in.input(1)).dims.size() == 2;
  if (per_group) in.want(in.value(in.input(1)).dims[0] == groups, "rows of the weight", in.value(in.input(1)).dims[0], groups);
  in.want_floats(in.input(1), per_group ? wide : wide / groups);
  return {in.input(0), in.input(1), groups, static_cast<float>(eps), per_group};
}

void bind_rms_norm(const Graph &graph, const Node &node, Plan *plan) {
  const Norm norm = read_norm(graph, node);
  if (!plan) return;
  auto call = std::make_unique<RmsNorm>();
  call->norm = norm;
  call->y = node.outputs[0];
  call->rounded = plan->rounded_by_producer(call->y);
  call->wide = width(plan->value(norm.x));
  const std::vector<int> writes{call->y, call->rounded};
  plan->add(std::move(call), {norm.x, norm.weight}, writes);
}

void add_quantize(Plan &plan, int value, int rounded) {
  auto call = std::make_unique<Quantize>();
  call->x = value;
  call->y = rounded;
  call->wide = width(plan.value(value));
  plan.add(std::move(call), {value}, {rounded});
}

}  // namespace halflap::cpu
