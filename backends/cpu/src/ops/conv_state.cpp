// conv_state: (sequence, some channels) is a task.
#include "slots.h"

namespace halflap::cpu {

namespace {

struct ConvState : Call {
  int x, weight, bias, y, group, layer;
  int64_t channels, taps;
  bool silu;

  void run(const Run &run) const override {
    const GroupStep &slots = run.step.groups[static_cast<size_t>(group)];
    const SlotLayer &rows = run.state.slots(group, layer);
    const int64_t parts = (channels + kConvChannels - 1) / kConvChannels;
    run.pool.run(run.step.sequences * parts, run.threads, [&](int64_t i, int worker) {
      const int64_t from = i % parts * kConvChannels;
      for_slot_runs(run.step, slots, rows, i / parts, [&](int64_t begin, int64_t end, const float *source, float *target) {
        ConvTask task{};
        task.x = run.floats(x) + begin * channels + from;
        task.y = run.floats(y) + begin * channels + from;
        task.stride = channels;
        task.tokens = end - begin;
        task.channels = std::min<int64_t>(kConvChannels, channels - from);
        task.taps = taps;
        task.weight = run.floats(weight) + from * taps;
        task.bias = bias < 0 ? nullptr : run.floats(bias) + from;
        task.silu = silu;
        task.source = source ? source + from : nullptr;
        task.target = target + from;
        task.scratch = reinterpret_cast<float *>(run.scratch(worker));
        run.k.conv_state(task);
      });
    });
  }
};

}  // namespace

void bind_conv_state(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 3, 1);
  auto call = std::make_unique<ConvState>();
  call->x = in.input(0);
  call->weight = in.input(1);
  call->bias = in.input(2);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->y);
  in.want_same_shape(call->x, call->y);
  in.want(in.value(call->x).dims[0] == HL_DIM_T, "rows", in.value(call->x).dims[0], HL_DIM_T);
  const std::vector<int64_t> &weight = in.value(call->weight).dims;
  call->channels = width(in.value(call->x));
  in.want(weight.size() == 2 && weight[0] == call->channels, "rows of the weight", weight[0], call->channels);
  call->taps = weight[1];
  in.want(call->taps >= 2 && call->taps <= kMostTaps, "taps", call->taps, kMostTaps);
  in.want_floats(call->weight, call->channels * call->taps);
  in.want_floats(call->bias, call->channels);
  const std::string &activation = in.text("activation");
  if (activation != "none" && activation != "silu")
    fail(HL_UNSUPPORTED, "activation of conv_state: got '%.50s', want 'none' or 'silu'", activation.c_str());
  call->silu = activation == "silu";
  in.want_slots(call->channels * (call->taps - 1), call->group, call->layer);
  in.no_more();
  if (!plan) return;
  plan->need_worker(4 * conv_scratch(call->taps));
  const std::vector<int> reads{call->x, call->weight, call->bias}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
