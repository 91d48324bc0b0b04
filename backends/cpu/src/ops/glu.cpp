// glu and activate.
#include "ops.h"

namespace halflap::cpu {

namespace {

struct Glu : Call {
  int gate, up, y, rounded;  // up: -1 for a plain activation
  Activation activation;
  int64_t wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(gate), wide, [&](int64_t t, int) {
      const float *g = run.floats(gate) + t * wide;
      float *to = run.floats(y) + t * wide;
      if (up < 0)
        run.k.activate(activation, g, to, wide);
      else
        run.k.glu(activation, g, run.floats(up) + t * wide, to, wide);
      if (rounded >= 0) run.k.quantize(to, wide, run.chunks(rounded) + t * chunks(wide));
    });
  }
};

void bind(const Graph &graph, const Node &node, Plan *plan, bool gated) {
  Reader in(graph, node, gated ? 2 : 1, gated ? 2 : 1, 1);
  const Activation activation = read_activation(in);
  in.no_more();
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  in.want_same_shape(in.input(0), in.output());
  if (gated) {
    in.want_activation(in.input(1));
    in.want_same_shape(in.input(0), in.input(1));
  }
  if (!plan) return;
  auto call = std::make_unique<Glu>();
  call->gate = in.input(0);
  call->up = gated ? in.input(1) : -1;
  call->y = in.output();
  call->rounded = plan->rounded_by_producer(in.output());
  call->activation = activation;
  call->wide = width(in.value(in.input(0)));
  const int rounded = call->rounded;
  plan->add(std::move(call), {in.input(0), in.input(1)}, {in.output(), rounded});
}

}  // namespace

void bind_glu(const Graph &graph, const Node &node, Plan *plan) { bind(graph, node, plan, true); }
void bind_activate(const Graph &graph, const Node &node, Plan *plan) { bind(graph, node, plan, false); }

}  // namespace halflap::cpu
