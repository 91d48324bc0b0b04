// add and mul (equal shapes, one row, one column, one number), scale, softcap, position_scale, clamp.
#include <algorithm>
#include <cmath>

#include "ops.h"

namespace halflap::cpu {

namespace {

enum class Shape { equal, row, column, number };

struct Binary : Call {
  int a, b, y;
  bool multiply;
  Shape shape;
  int64_t wide;

  void run(const Run &run) const override {
    const auto rows = multiply ? run.k.mul : run.k.add;
    const auto column = multiply ? run.k.scale : run.k.shift;
    run.for_rows(run.rows(a), wide, [&](int64_t t, int) {
      const float *x = run.floats(a) + t * wide, *other = run.floats(b);
      float *to = run.floats(y) + t * wide;
      if (shape == Shape::column || shape == Shape::number)
        column(x, other[shape == Shape::column ? t : 0], to, wide);
      else
        rows(x, shape == Shape::row ? other : other + t * wide, to, wide);
    });
  }
};

struct Unary : Call {
  enum Kind { scale, softcap, position } kind;
  int x, y;
  float factor;  // scale's factor, softcap's cap
  double beta;
  int64_t period, offset;
  int64_t wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      const float *from = run.floats(x) + t * wide;
      float *to = run.floats(y) + t * wide;
      if (kind == softcap)
        run.k.softcap(from, factor, to, wide);
      else if (kind == scale)
        run.k.scale(from, factor, to, wide);
      else
        run.k.scale(from, static_cast<float>(1 + beta * std::log1p((run.step.index[t] + offset) / period)), to, wide);
    });
  }
};

struct Clamp : Call {
  int x, low, high, y;
  int64_t wide;

  void run(const Run &run) const override {
    const float least = run.floats(low)[0], most = run.floats(high)[0];
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      const float *from = run.floats(x) + t * wide;
      float *to = run.floats(y) + t * wide;
      for (int64_t i = 0; i < wide; i++) to[i] = std::min(std::max(from[i], least), most);  // a NaN stays one
    });
  }
};

void bind_binary(const Graph &graph, const Node &node, Plan *plan, bool multiply) {
  Reader in(graph, node, 2, 2, 1);
  in.no_more();
  const int a = in.input(0), b = in.input(1), y = in.output();
  in.want_activation(a);
  in.want_activation(y);
  in.want_same_shape(a, y);
  const std::vector<int64_t> &big = in.value(a).dims, &small = in.value(b).dims;
  const int64_t wide = width(in.value(a));
  Shape shape = Shape::equal;
  if (small != big) {
    if (small.size() == 1 && big.size() == 2 && small[0] == big.back()) {
      shape = Shape::row;
      in.want_vector(b, wide);
    } else if (small.size() == 1 && small[0] == 1) {
      shape = Shape::number;
      in.want_vector(b, 1);
    } else {
      shape = Shape::column;
      in.want(big.size() == 2 && small.size() == 2 && small[0] == big[0] && small[1] == 1, "dimensions of b",
              static_cast<int64_t>(small.size()), static_cast<int64_t>(big.size()));
    }
  }
  if (shape == Shape::equal || shape == Shape::column) in.want_activation(b);
  if (!plan) return;
  auto call = std::make_unique<Binary>();
  call->a = a;
  call->b = b;
  call->y = y;
  call->multiply = multiply;
  call->shape = shape;
  call->wide = wide;
  plan->add(std::move(call), {a, b}, {y});
}

void bind_unary(Reader &in, Plan *plan, Unary::Kind kind, double factor, double beta, int64_t period, int64_t offset) {
  in.no_more();
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  in.want_same_shape(in.input(0), in.output());
  if (kind == Unary::position)
    in.want(in.value(in.input(0)).dims[0] == HL_DIM_T, "rows", in.value(in.input(0)).dims[0], HL_DIM_T);
  if (!plan) return;
  auto call = std::make_unique<Unary>();
  call->kind = kind;
  call->x = in.input(0);
  call->y = in.output();
  call->factor = static_cast<float>(factor);
  call->beta = beta;
  call->period = period;
  call->offset = offset;
  call->wide = width(in.value(in.input(0)));
  plan->add(std::move(call), {in.input(0)}, {in.output()});
}

}  // namespace

void bind_add(const Graph &graph, const Node &node, Plan *plan) { bind_binary(graph, node, plan, false); }
void bind_mul(const Graph &graph, const Node &node, Plan *plan) { bind_binary(graph, node, plan, true); }

void bind_scale(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  const double factor = in.number("factor");
  bind_unary(in, plan, Unary::scale, factor, 0, 1, 0);
}

void bind_clamp(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 3, 1);
  in.no_more();
  const int x = in.input(0), low = in.input(1), high = in.input(2), y = in.output();
  in.want_activation(x);
  in.want_activation(y);
  in.want_same_shape(x, y);
  in.want_vector(low, 1);
  in.want_vector(high, 1);
  if (!plan) return;
  auto call = std::make_unique<Clamp>();
  call->x = x;
  call->low = low;
  call->high = high;
  call->y = y;
  call->wide = width(in.value(x));
  plan->add(std::move(call), {x, low, high}, {y});
}

void bind_softcap(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  const double cap = in.number("cap");
  bind_unary(in, plan, Unary::softcap, cap, 0, 1, 0);
}

void bind_position_scale(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  const double beta = in.number("beta");
  const int64_t period = in.integer("period");
  const int64_t offset = in.integer("offset");
  in.want(period > 0, "period", period, 1);
  in.want(offset >= 0 && offset <= INT32_MAX, "offset", offset, 0);
  bind_unary(in, plan, Unary::position, 0, beta, period, offset);
}

}  // namespace halflap::cpu
