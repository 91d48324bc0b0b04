// hadamard: rotates each block of a row.
#include "ops.h"

namespace halflap::cpu {

namespace {

struct Hadamard : Call {
  int x, y;
  int64_t wide, block;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      run.k.hadamard(run.floats(x) + t * wide, run.floats(y) + t * wide, wide, block);
    });
  }
};

}  // namespace

void bind_hadamard(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  const int64_t block = in.integer("block");
  in.no_more();
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  in.want_same_shape(in.input(0), in.output());
  const int64_t wide = width(in.value(in.input(0)));
  in.want(block > 0 && (block & (block - 1)) == 0 && wide % block == 0, "block", block, wide & -wide);
  if (!plan) return;
  auto call = std::make_unique<Hadamard>();
  call->x = in.input(0);
  call->y = in.output();
  call->wide = wide;
  call->block = block;
  plan->add(std::move(call), {in.input(0)}, {in.output()});
}

}  // namespace halflap::cpu
