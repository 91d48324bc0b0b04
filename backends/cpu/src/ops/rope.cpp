// rope: cosines and sines are worked out once a step for every layer that shares the frequencies.
#include <cmath>

#include "ops.h"

namespace halflap::cpu {

namespace {

struct Rotary : Call {
  std::vector<double> frequencies, axes;  // axes: of the positions, per pair; none: the first
  int factors, table;  // table: (T, 2, pairs)
  double magnitude;
  int64_t every;  // positions are rounded down to a multiple of this

  void run(const Run &run) const override {
    const int64_t pairs = static_cast<int64_t>(frequencies.size());
    const float *divide = factors < 0 ? nullptr : run.floats(factors);
    run.for_rows(run.step.tokens, 64 * pairs, [&](int64_t t, int) {
      float *cos = run.floats(table) + t * 2 * pairs, *sin = cos + pairs;
      for (int64_t i = 0; i < pairs; i++) {
        const int64_t axis = axes.empty() || run.step.axes == 1 ? 0 : static_cast<int64_t>(axes[static_cast<size_t>(i)]);
        const double frequency = frequencies[static_cast<size_t>(i)];
        const int64_t position = run.step.position[axis * run.step.tokens + t];
        const int64_t past = (position % every + every) % every;
        const double angle = static_cast<double>(position - past) * (divide ? frequency / static_cast<double>(divide[i]) : frequency);
        cos[i] = static_cast<float>(std::cos(angle) * magnitude);
        sin[i] = static_cast<float>(std::sin(angle) * magnitude);
      }
    });
  }
};

struct Rope : Call {
  int x, y, table;
  int64_t wide, head_dim, pairs, offset;
  bool neighbours;
  Norm norm;         // done first, in the same pass
  CacheWrite write;  // done last

  void turn(const Run &run, int64_t t) const {
    const float *cos = run.floats(table) + t * 2 * pairs, *from = run.floats(x) + t * wide;
    float *to = run.floats(y) + t * wide;
    if (norm.groups) {
      norm.run(run, from, to, wide);
      from = to;
    }
    run.k.rope(from, to, wide / head_dim, head_dim, pairs, offset, neighbours, cos, cos + pairs);
  }

  void run(const Run &run) const override {
    if (write.k < 0) return run.for_rows(run.step.tokens, wide, [&](int64_t t, int) { turn(run, t); });
    write.run(run, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; t++) turn(run, t);
    });
  }
};

}  // namespace

void add_rotary(Plan &plan, const std::vector<double> &frequencies, int factors, double magnitude,
                const std::vector<double> &axes, int64_t every, int buffer) {
  auto call = std::make_unique<Rotary>();
  call->frequencies = frequencies;
  call->axes = axes;
  call->factors = factors;
  call->magnitude = magnitude;
  call->every = every;
  call->table = buffer;
  plan.add(std::move(call), {factors}, {buffer});
}

void bind_rope(const Graph &graph, const Node &node, Plan *plan) { bind_rope_of(graph, node, {}, {}, plan); }

void bind_rope_of(const Graph &graph, const Node &node, const Norm &norm, const CacheWrite &write, Plan *plan) {
  Reader in(graph, node, 1, 3, 1);
  const int64_t head_dim = in.integer("head_dim");
  const std::vector<double> &frequencies = in.numbers("frequencies");
  const std::string &layout = in.text("layout");
  const double magnitude = in.number("magnitude");
  const int64_t offset = in.integer("offset"), long_from = in.integer("long_from"), every = in.integer("every");
  const std::vector<double> &axes = in.numbers("axes");
  in.no_more();
  in.want_activation(in.input(0));
  in.want_activation(in.output());
  in.want_same_shape(in.input(0), in.output());
  const Value &x = in.value(in.input(0));
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  in.want(x.dims[0] == HL_DIM_T, "rows", x.dims[0], HL_DIM_T);
  in.want(head_dim > 0 && width(x) % head_dim == 0, "head_dim", head_dim, width(x));
  in.want(offset >= 0 && offset < head_dim, "offset", offset, head_dim - 2);
  in.want(every >= 1 && every <= INT32_MAX, "every", every, 1);
  in.want(pairs > 0 && 2 * pairs <= head_dim - offset, "pairs", pairs, (head_dim - offset) / 2);
  if (layout != "interleaved" && layout != "half")
    fail(HL_UNSUPPORTED, "layout of op rope: got '%.50s', want 'interleaved' or 'half'", layout.c_str());
  in.want_vector(in.input(1), pairs);
  in.want_vector(in.input(2), pairs);
  in.want(axes.empty() || static_cast<int64_t>(axes.size()) == pairs, "axes", static_cast<int64_t>(axes.size()), pairs);
  for (double axis : axes) in.want(axis >= 0 && axis <= 3 && axis == std::floor(axis), "axis", static_cast<int64_t>(axis), 3);
  if (!plan) return;
  const bool is_long = in.input(2) >= 0 && (!plan->limits.context || plan->limits.context > long_from);
  const int table = plan->rotary(frequencies, in.input(is_long ? 2 : 1), magnitude, axes, every);
  auto call = std::make_unique<Rope>();
  call->x = norm.groups ? norm.x : in.input(0);
  call->y = in.output();
  call->norm = norm;
  call->write = write;
  call->table = table;
  call->wide = width(x);
  call->head_dim = head_dim;
  call->pairs = pairs;
  call->offset = offset;
  call->neighbours = layout == "interleaved";
  const int from = call->x;
  plan->add(std::move(call), {from, norm.weight, table, write.v}, {in.output()});
}

}  // namespace halflap::cpu
