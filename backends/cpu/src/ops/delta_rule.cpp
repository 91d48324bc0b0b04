// delta_rule: (sequence, head, some columns of its state) is a task.
#include "slots.h"

namespace halflap::cpu {

namespace {

struct DeltaRule : Call {
  int q, k, v, decay, beta, y, group, layer;
  int64_t heads, k_heads, k_size, v_size;
  bool tiled;
  float scale;

  void run(const Run &run) const override {
    const GroupStep &slots = run.step.groups[static_cast<size_t>(group)];
    const SlotLayer &rows = run.state.slots(group, layer);
    const int64_t parts = (v_size + kStateColumns - 1) / kStateColumns;
    run.pool.run(run.step.sequences * heads * parts, run.threads, [&](int64_t i, int worker) {
      const int64_t from = i % parts * kStateColumns, head = i / parts % heads, sequence = i / parts / heads;
      const int64_t shared = tiled ? head % k_heads : head / (heads / k_heads);
      const int64_t state = head * k_size * v_size + from;
      for_slot_runs(run.step, slots, rows, sequence, [&](int64_t begin, int64_t end, const float *source, float *target) {
        DeltaTask task{};
        task.qk_stride = k_heads * k_size;
        task.v_stride = heads * v_size;
        task.rate_stride = heads;
        task.q = run.floats(q) + begin * task.qk_stride + shared * k_size;
        task.k = run.floats(k) + begin * task.qk_stride + shared * k_size;
        task.v = run.floats(v) + begin * task.v_stride + head * v_size + from;
        task.y = run.floats(y) + begin * task.v_stride + head * v_size + from;
        task.decay = run.floats(decay) + begin * heads + head;
        task.beta = run.floats(beta) + begin * heads + head;
        task.tokens = end - begin;
        task.size = k_size;
        task.columns = std::min<int64_t>(kStateColumns, v_size - from);
        task.row_stride = v_size;
        task.scale = scale;
        task.source = source ? source + state : nullptr;
        task.target = target + state;
        task.scratch = reinterpret_cast<float *>(run.scratch(worker));
        run.k.delta_rule(task);
      });
    });
  }
};

}  // namespace

void bind_delta_rule(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 5, 5, 1);
  auto call = std::make_unique<DeltaRule>();
  call->q = in.input(0);
  call->k = in.input(1);
  call->v = in.input(2);
  call->decay = in.input(3);
  call->beta = in.input(4);
  call->y = in.output();
  call->heads = in.integer("heads");
  call->k_heads = in.integer("k_heads");
  call->scale = static_cast<float>(in.number("scale"));
  const std::string &sharing = in.text("sharing");
  if (sharing != "grouped" && sharing != "tiled")
    fail(HL_UNSUPPORTED, "sharing of delta_rule: got '%.50s', want 'grouped' or 'tiled'", sharing.c_str());
  call->tiled = sharing == "tiled";
  for (int value : {call->q, call->k, call->v, call->decay, call->beta, call->y}) {
    in.want_activation(value);
    in.want(in.value(value).dims[0] == HL_DIM_T, "rows", in.value(value).dims[0], HL_DIM_T);
  }
  in.want_same_shape(call->q, call->k);
  in.want_same_shape(call->v, call->y);
  const int64_t keys = width(in.value(call->k)), values = width(in.value(call->v));
  in.want(call->heads > 0 && values % call->heads == 0, "heads", call->heads, values);
  in.want(call->k_heads > 0 && call->heads % call->k_heads == 0 && keys % call->k_heads == 0, "heads of k", call->k_heads,
          call->heads);
  in.want(width(in.value(call->decay)) == call->heads, "width of decay", width(in.value(call->decay)), call->heads);
  in.want(width(in.value(call->beta)) == call->heads, "width of beta", width(in.value(call->beta)), call->heads);
  call->k_size = keys / call->k_heads;
  call->v_size = values / call->heads;
  in.want(call->k_size <= 65536, "size of k's heads", call->k_size, 65536);
  in.want_slots(call->k_size * values, call->group, call->layer);
  in.no_more();
  if (!plan) return;
  plan->need_worker(4 * call->k_size * kStateColumns);
  const std::vector<int> reads{call->q, call->k, call->v, call->decay, call->beta}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
