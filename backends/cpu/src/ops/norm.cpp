// rms_norm and layer_norm, rounding their result on the way where quantised weights will meet it.
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

struct LayerNorm : Call {
  int x, weight, bias, y, rounded;
  int64_t groups, wide;
  bool weight_each, bias_each;  // one row for each group
  float eps;

  void run(const Run &run) const override {
    const int64_t each = wide / groups;
    const float *w = weight < 0 ? nullptr : run.floats(weight), *b = bias < 0 ? nullptr : run.floats(bias);
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      float *to = run.floats(y) + t * wide;
      run.k.layer_norm(run.floats(x) + t * wide, w, weight_each ? each : 0, b, bias_each ? each : 0, to, groups, each, eps);
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

void bind_layer_norm(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 3, 1);
  auto call = std::make_unique<LayerNorm>();
  call->eps = static_cast<float>(in.number("eps"));
  call->groups = in.integer("groups");
  in.no_more();
  call->x = in.input(0);
  call->weight = in.input(1);
  call->bias = in.input(2);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->y);
  in.want_same_shape(call->x, call->y);
  call->wide = width(in.value(call->x));
  in.want(call->groups > 0 && call->wide % call->groups == 0, "groups", call->groups, call->wide);
  const auto each = [&](int v) {
    const bool one_each = v >= 0 && in.value(v).dims.size() == 2;
    if (one_each)
      in.want_vectors(v, call->groups, call->wide / call->groups);
    else
      in.want_vector(v, call->wide / call->groups);
    return one_each;
  };
  call->weight_each = each(call->weight);
  call->bias_each = each(call->bias);
  if (!plan) return;
  call->rounded = plan->rounded_by_producer(call->y);
  const std::vector<int> reads{call->x, call->weight, call->bias}, writes{call->y, call->rounded};
  plan->add(std::move(call), reads, writes);
}

void add_quantize(Plan &plan, int value, int rounded) {
  auto call = std::make_unique<Quantize>();
  call->x = value;
  call->y = rounded;
  call->wide = width(plan.value(value));
  plan.add(std::move(call), {value}, {rounded});
}

}  // namespace halflap::cpu
