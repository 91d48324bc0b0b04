// ssm_scan: (sequence, head, some columns of its state) is a task.
#include "slots.h"

namespace halflap::cpu {

namespace {

struct SsmScan : Call {
  int x, dt, b, c, a, d, dt_bias, y, group, layer;
  int64_t heads, groups, size, states;
  bool dt_each, a_each, d_each;  // one per column instead of one per head

  void run(const Run &run) const override {
    const GroupStep &slots = run.step.groups[static_cast<size_t>(group)];
    const SlotLayer &rows = run.state.slots(group, layer);
    const int64_t parts = (size + kStateColumns - 1) / kStateColumns, wide = heads * size;
    run.pool.run(run.step.sequences * heads * parts, run.threads, [&](int64_t i, int worker) {
      const int64_t from = i % parts * kStateColumns, head = i / parts % heads, sequence = i / parts / heads;
      const int64_t column = head * size + from, state = head * states * size + from;
      const int64_t group_of_head = head / (heads / groups);
      const auto rate = [&](int value, bool each) { return value < 0 ? nullptr : run.floats(value) + (each ? column : head); };
      for_slot_runs(run.step, slots, rows, sequence, [&](int64_t begin, int64_t end, const float *source, float *target) {
        ScanTask task{};
        task.stride = wide;
        task.dt_stride = dt_each ? wide : heads;
        task.bc_stride = groups * states;
        task.x = run.floats(x) + begin * wide + column;
        task.y = run.floats(y) + begin * wide + column;
        task.dt = rate(dt, dt_each) + begin * task.dt_stride;
        task.b = run.floats(b) + begin * task.bc_stride + group_of_head * states;
        task.c = run.floats(c) + begin * task.bc_stride + group_of_head * states;
        task.a = run.floats(a) + (a_each ? column * states : head);
        task.d = rate(d, d_each);
        task.dt_bias = rate(dt_bias, dt_each);
        task.dt_each = dt_each;
        task.a_each = a_each;
        task.d_each = d_each;
        task.tokens = end - begin;
        task.states = states;
        task.columns = std::min<int64_t>(kStateColumns, size - from);
        task.row_stride = size;
        task.source = source ? source + state : nullptr;
        task.target = target + state;
        task.scratch = reinterpret_cast<float *>(run.scratch(worker));
        run.k.ssm_scan(task);
      });
    });
  }
};

int64_t elements(const Value &value) { return value.dims[0] * width(value); }

}  // namespace

void bind_ssm_scan(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 5, 7, 1);
  auto call = std::make_unique<SsmScan>();
  call->x = in.input(0);
  call->dt = in.input(1);
  call->b = in.input(2);
  call->c = in.input(3);
  call->a = in.input(4);
  call->d = in.input(5);
  call->dt_bias = in.input(6);
  call->y = in.output();
  call->heads = in.integer("heads");
  call->groups = in.integer("groups");
  for (int value : {call->x, call->dt, call->b, call->c, call->y}) {
    in.want_activation(value);
    in.want(in.value(value).dims[0] == HL_DIM_T, "rows", in.value(value).dims[0], HL_DIM_T);
  }
  in.want_same_shape(call->x, call->y);
  in.want_same_shape(call->b, call->c);
  const int64_t wide = width(in.value(call->x)), gates = width(in.value(call->b)), steps = width(in.value(call->dt));
  in.want(call->heads > 0 && wide % call->heads == 0, "heads", call->heads, wide);
  in.want(call->groups > 0 && call->heads % call->groups == 0 && gates % call->groups == 0, "groups", call->groups, call->heads);
  call->size = wide / call->heads;
  call->states = gates / call->groups;
  in.want(call->states <= 65536, "size of the state", call->states, 65536);
  call->dt_each = steps != call->heads;
  in.want(!call->dt_each || steps == wide, "width of dt", steps, wide);
  call->a_each = elements(in.value(call->a)) != call->heads;
  in.want_floats(call->a, call->a_each ? wide * call->states : call->heads);
  call->d_each = call->d >= 0 && elements(in.value(call->d)) != call->heads;
  in.want_floats(call->d, call->d_each ? wide : call->heads);
  in.want_floats(call->dt_bias, steps);
  in.want_slots(call->states * wide, call->group, call->layer);
  in.no_more();
  if (!plan) return;
  plan->need_worker(4 * 2 * call->states * kStateColumns);
  const std::vector<int> reads{call->x, call->dt, call->b, call->c, call->a, call->d, call->dt_bias}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
