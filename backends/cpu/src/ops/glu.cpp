// glu and activate.
#include "ops.h"

namespace halflap::cpu {

namespace {

struct Glu : Call {
  int gate, up, y, rounded;  // up: -1 for a plain activation, or where a row of `gate` holds both
  bool gated;
  Activation activation;
  float limit;
  int64_t wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(gate), wide, [&](int64_t t, int) {
      const float *g = run.floats(gate) + t * (gated && up < 0 ? 2 * wide : wide);
      float *to = run.floats(y) + t * wide;
      if (gated)
        run.k.glu(activation, limit, g, up < 0 ? g + wide : run.floats(up) + t * wide, to, wide);
      else
        run.k.activate(activation, g, to, wide);
      if (rounded >= 0) run.k.quantize(to, wide, run.chunks(rounded) + t * chunks(wide));
    });
  }
};

void bind(const Graph &graph, const Node &node, Plan *plan, bool gated) {
  Reader in(graph, node, 1, gated ? 2 : 1, 1);
  const Activation activation = read_activation(in, gated);
  const double limit = gated ? in.number("limit") : 0;
  in.no_more();
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  const Value &x = in.value(in.input(0)), &y = in.value(in.output());
  if (gated && in.input(1) < 0) {
    in.want(x.dims.size() == 2 && y.dims.size() == 2 && x.dims[0] == y.dims[0], "rows", y.dims[0], x.dims[0]);
    in.want(width(x) == 2 * width(y), "width of gate and up", width(x), 2 * width(y));
  } else {
    in.want_same_shape(in.input(0), in.output());
  }
  if (in.input(1) >= 0) {
    in.want_activation(in.input(1));
    in.want_same_shape(in.input(0), in.input(1));
  }
  if (!plan) return;
  auto call = std::make_unique<Glu>();
  call->gate = in.input(0);
  call->up = in.input(1);
  call->gated = gated;
  call->limit = static_cast<float>(limit);
  call->y = in.output();
  call->rounded = plan->rounded_by_producer(in.output());
  call->activation = activation;
  call->wide = width(y);
  const int rounded = call->rounded;
  plan->add(std::move(call), {in.input(0), in.input(1)}, {in.output(), rounded});
}

}  // namespace

void bind_glu(const Graph &graph, const Node &node, Plan *plan) { bind(graph, node, plan, true); }
void bind_activate(const Graph &graph, const Node &node, Plan *plan) { bind(graph, node, plan, false); }

}  // namespace halflap::cpu
