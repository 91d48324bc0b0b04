// route and moe: tokens are grouped by expert, so that each chosen expert's weights are read once a step.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "matmul.h"
#include "ops.h"

namespace halflap::cpu {

namespace {

enum class Gating { softmax, sigmoid, sqrt_softplus, softmax_chosen };

// In place; like the definition: exponentials of the distance to the highest, over their sum.
void softmax(float *x, int64_t n) {
  float top = -INFINITY, total = 0;
  for (int64_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; i++) total += x[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; i++) x[i] /= total;
}

struct Route : Call {
  int logits, bias, scales, token_ids, table, ids, weights;  // table: experts of each token id, or -1
  int64_t vocab = 0, experts, used, groups, groups_used, group_best;
  Gating gating;
  bool normalize;
  float scale;

  void run(const Run &run) const override {
    if (table >= 0) check_table(run);
    const float *shift = bias < 0 ? nullptr : run.floats(bias), *each = scales < 0 ? nullptr : run.floats(scales);
    run.for_rows(run.rows(logits), experts * 16, [&](int64_t t, int worker) {
      float *score = reinterpret_cast<float *>(run.scratch(worker)), *choice = score + experts;
      memcpy(score, run.floats(logits) + t * experts, static_cast<size_t>(experts) * 4);
      if (gating == Gating::softmax) softmax(score, experts);
      if (gating == Gating::sigmoid)
        for (int64_t e = 0; e < experts; e++) score[e] = 1.0f / (1.0f + std::exp(-score[e]));
      if (gating == Gating::sqrt_softplus)
        for (int64_t e = 0; e < experts; e++)
          score[e] = std::sqrt(std::max(score[e], 0.0f) + std::log1p(std::exp(-std::fabs(score[e]))));
      for (int64_t e = 0; e < experts; e++) choice[e] = shift ? score[e] + shift[e] : score[e];
      if (groups_used < groups) leave_groups_out(choice, choice + experts);
      int32_t *id = run.ints(ids) + t * used;
      float *weight = run.floats(weights) + t * used;
      for (int64_t u = 0; table >= 0 && u < used; u++) {
        id[u] = static_cast<int32_t>(named(run, t)[u]);
        weight[u] = score[id[u]];
      }
      for (int64_t u = 0; table < 0 && u < used; u++) {
        int64_t best = -1;  // NaN last, as numpy sorts
        for (int64_t e = 0; e < experts; e++) {
          if (std::find(id, id + u, static_cast<int32_t>(e)) != id + u) continue;
          if (best < 0 || choice[e] > choice[best] || (std::isnan(choice[best]) && !std::isnan(choice[e]))) best = e;
        }
        id[u] = static_cast<int32_t>(best);
        weight[u] = score[best];
      }
      if (gating == Gating::softmax_chosen) softmax(weight, used);
      float total = 0;
      for (int64_t u = 0; u < used; u++) total += weight[u];
      for (int64_t u = 0; u < used; u++) {
        if (normalize) weight[u] /= total;
        if (each) weight[u] *= each[id[u]];
        weight[u] *= scale;
      }
    });
  }

  // The experts that the table names for row t.
  const float *named(const Run &run, int64_t t) const { return run.floats(table) + run.ints(token_ids)[t] * used; }

  void check_table(const Run &run) const {
    for (int64_t t = 0; t < run.rows(logits); t++) {
      const int32_t token = run.ints(token_ids)[t];
      if (token < 0 || token >= vocab)
        fail(HL_INVALID, "token id of op route: got %d, want 0 to %lld", token, static_cast<long long>(vocab - 1));
      for (int64_t u = 0; u < used; u++)
        if (const float id = named(run, t)[u]; !(id >= 0 && id < static_cast<float>(experts)))
          fail(HL_INVALID, "expert of token %d: got %g, want 0 to %lld", token, static_cast<double>(id), static_cast<long long>(experts - 1));
    }
  }

  // Experts outside the best groups are chosen last of all. `best`: room for a number per group and one more group.
  void leave_groups_out(float *choice, float *best) const {
    const int64_t size = experts / groups;
    float *sorted = best + groups;
    for (int64_t g = 0; g < groups; g++) {
      std::copy_n(choice + g * size, size, sorted);
      std::partial_sort(sorted, sorted + group_best, sorted + size, std::greater<>());
      best[g] = 0;
      for (int64_t i = 0; i < group_best; i++) best[g] += sorted[i];
    }
    for (int64_t g = 0; g < groups; g++) {
      int64_t better = 0;  // groups; a NaN is worse than any number, ties go to the first
      for (int64_t other = 0; other < groups; other++)
        better += best[other] > best[g] || (std::isnan(best[g]) && !std::isnan(best[other])) ||
                  (other < g && !(best[other] < best[g]) && std::isnan(best[other]) == std::isnan(best[g]));
      if (better >= groups_used) std::fill_n(choice + g * size, size, -INFINITY);
    }
  }
};

struct Moe : Call {
  int x, ids, weights, gate, up, down, gate_bias, up_bias, down_bias, y;
  int rounded;         // Chunks of x, or -1
  int hidden, hidden_up, hidden_rounded, parts, source, packed;  // the plan's buffers
  Activation activation;
  float limit;
  bool weigh_input;
  int64_t experts, used, wide, inner;
  int64_t up_rows;  // twice `inner` where `up` holds the gate's rows first
  Type in_type, up_type, out_type;

  MatmulTask task(const Run &run, int weight, Type type, int64_t expert, int64_t rows, int64_t columns) const {
    MatmulTask t{};
    t.row_bytes = row_bytes(type, columns);
    t.weight = run.bytes(weight) + expert * rows * t.row_bytes;
    t.rows = rows;
    t.width = columns;
    t.y_stride = rows;
    return t;
  }

  void run(const Run &run) const override {
    const int64_t tokens = run.rows(x), pairs = tokens * used;
    if (pairs == 0) return;
    const int32_t *id = run.ints(ids);
    for (int64_t i = 0; i < pairs; i++)
      if (id[i] < 0 || id[i] >= experts)
        fail(HL_INVALID, "expert of op moe: got %d, want 0 to %lld", id[i], static_cast<long long>(experts - 1));

    // Slots: (token, place) pairs ordered by expert. token_of[slot], slot_of[pair].
    std::vector<int64_t> begin(static_cast<size_t>(experts) + 1);
    for (int64_t i = 0; i < pairs; i++) begin[static_cast<size_t>(id[i]) + 1]++;
    for (size_t e = 0; e < static_cast<size_t>(experts); e++) begin[e + 1] += begin[e];
    int32_t *token_of = run.ints(source), *slot_of = token_of + pairs;
    {
      std::vector<int64_t> next(begin.begin(), begin.end() - 1);
      for (int64_t i = 0; i < pairs; i++) {
        const int64_t slot = next[static_cast<size_t>(id[i])]++;
        token_of[slot] = static_cast<int32_t>(i / used);
        slot_of[i] = static_cast<int32_t>(slot);
      }
    }

    std::vector<MatmulJob> jobs;
    for (int64_t e = 0; e < experts; e++) {
      const int64_t from = begin[static_cast<size_t>(e)], count = begin[static_cast<size_t>(e) + 1] - from;
      if (count == 0) continue;
      for (bool is_up : {false, true}) {
        if (!is_up && gate < 0) continue;
        const Type type = is_up ? up_type : in_type;
        const int64_t rows = is_up ? up_rows : inner;
        MatmulTask t = task(run, is_up ? up : gate, type, e, rows, wide);
        t.x = is_quantised(type) ? static_cast<const void *>(run.chunks(rounded)) : run.floats(x);
        t.x_stride = is_quantised(type) ? chunks(wide) : wide;
        t.gather = token_of + from;
        t.tokens = count;
        t.y = run.floats(is_up ? hidden_up : hidden) + from * rows;
        jobs.push_back({type, t});
      }
    }
    if (packed >= 0) pack_activations(run, jobs, gate < 0 ? 1 : 2, run.bytes(packed));
    run_matmuls(run, jobs);

    run.for_rows(pairs, inner, [&](int64_t i, int) {
      const int64_t slot = slot_of[i];
      float *h = run.floats(hidden) + slot * inner, *u = run.floats(hidden_up) + slot * up_rows;
      finish_rows(run, gate, gate_bias, i, h, inner);
      finish_rows(run, up, up_bias, i, u, up_rows);
      if (gate >= 0)
        run.k.glu(activation, limit, h, u, h, inner);
      else if (up_rows == inner)
        run.k.activate(activation, u, h, inner);
      else
        run.k.glu(activation, limit, u, u + inner, h, inner);
      if (hidden_rounded >= 0) run.k.quantize(h, inner, run.chunks(hidden_rounded) + slot * chunks(inner));
    });

    jobs.clear();
    for (int64_t e = 0; e < experts; e++) {
      const int64_t from = begin[static_cast<size_t>(e)], count = begin[static_cast<size_t>(e) + 1] - from;
      if (count == 0) continue;
      MatmulTask t = task(run, down, out_type, e, wide, inner);
      t.x = is_quantised(out_type) ? static_cast<const void *>(run.chunks(hidden_rounded) + from * chunks(inner))
                                   : run.floats(hidden) + from * inner;
      t.x_stride = is_quantised(out_type) ? chunks(inner) : inner;
      t.tokens = count;
      t.y = run.floats(parts) + from * wide;
      jobs.push_back({out_type, t});
    }
    if (packed >= 0) pack_activations(run, jobs, 1, run.bytes(packed));
    run_matmuls(run, jobs);

    run.for_rows(tokens, wide * used, [&](int64_t t, int) {  // in router order
      float *to = run.floats(y) + t * wide;
      memset(to, 0, static_cast<size_t>(wide) * 4);
      for (int64_t u = t * used; u < (t + 1) * used; u++) {
        float *part = run.floats(parts) + slot_of[u] * wide;
        if (down_bias >= 0) run.k.add(part, run.floats(down_bias) + id[u] * wide, part, wide);
        run.k.accumulate(part, weigh_input ? 1.0f : run.floats(weights)[u], to, wide);
      }
    });
  }

  // Products of x become those of the weighed x, if that is wanted; then the expert's bias.
  void finish_rows(const Run &run, int weight, int bias, int64_t pair, float *row, int64_t rows) const {
    if (weight < 0) return;
    if (weigh_input) run.k.scale(row, run.floats(weights)[pair], row, rows);
    if (bias >= 0) run.k.add(row, run.floats(bias) + run.ints(ids)[pair] * rows, row, rows);
  }
};

}  // namespace

void bind_route(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 5, 2);
  auto call = std::make_unique<Route>();
  call->used = in.integer("used");
  const std::string &gating = in.text("gating");
  call->normalize = in.integer("normalize") != 0;
  call->scale = static_cast<float>(in.number("scale"));
  call->groups = in.integer("groups");
  call->groups_used = in.integer("groups_used");
  call->group_best = in.integer("group_best");
  in.no_more();
  call->logits = in.input(0);
  call->bias = in.input(1);
  call->scales = in.input(2);
  call->token_ids = in.input(3);
  call->table = in.input(4);
  call->ids = in.output(0);
  call->weights = in.output(1);
  in.want_activation(call->logits);
  call->experts = width(in.value(call->logits));
  in.want_vector(call->bias, call->experts);
  in.want_vector(call->scales, call->experts);
  in.want(call->groups > 0 && call->experts % call->groups == 0, "groups", call->groups, call->experts);
  const int64_t size = call->experts / call->groups;
  in.want(call->groups_used > 0 && call->groups_used <= call->groups, "groups used", call->groups_used, call->groups);
  in.want(call->group_best > 0 && call->group_best <= size, "experts that judge a group", call->group_best, size);
  const int64_t offered = call->groups_used * size;
  in.want(call->used > 0 && call->used <= offered, "experts used", call->used, offered);
  const Value &ids = in.value(call->ids), &weights = in.value(call->weights);
  in.want(ids.type == Type::I32 && width(ids) == call->used, "width of ids", width(ids), call->used);
  in.want(weights.type == Type::F32 && width(weights) == call->used, "width of weights", width(weights), call->used);
  in.want(ids.dims[0] == in.value(call->logits).dims[0] && weights.dims[0] == ids.dims[0], "rows", ids.dims[0],
          in.value(call->logits).dims[0]);
  in.want((call->token_ids < 0) == (call->table < 0), "ids and table given", call->token_ids >= 0, call->table >= 0);
  if (call->table >= 0) {
    const Value &token_ids = in.value(call->token_ids);
    in.want(token_ids.type == Type::I32 && token_ids.dims == std::vector<int64_t>{in.value(call->logits).dims[0]}, "token ids",
            static_cast<int64_t>(token_ids.dims.size()), 1);
    in.want_matrix(call->table, 2);
    call->vocab = in.value(call->table).dims[0];
    in.want_vectors(call->table, call->vocab, call->used);
  }
  if (gating == "softmax")
    call->gating = Gating::softmax;
  else if (gating == "sigmoid")
    call->gating = Gating::sigmoid;
  else if (gating == "sqrt_softplus")
    call->gating = Gating::sqrt_softplus;
  else if (gating == "softmax_chosen")
    call->gating = Gating::softmax_chosen;
  else
    fail(HL_UNSUPPORTED, "gating of op route: got '%.50s', want 'softmax', 'sigmoid', 'sqrt_softplus' or 'softmax_chosen'", gating.c_str());
  if (!plan) return;
  plan->need_worker((2 * call->experts + call->groups + size) * 4);
  const std::vector<int> reads{call->logits, call->bias, call->scales, call->token_ids}, writes{call->ids, call->weights};
  plan->add(std::move(call), reads, writes);
}

void bind_moe(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 9, 1);
  auto call = std::make_unique<Moe>();
  call->limit = static_cast<float>(in.number("limit"));
  call->weigh_input = in.integer("weigh_input") != 0;
  call->x = in.input(0);
  call->ids = in.input(1);
  call->weights = in.input(2);
  call->gate = in.input(3);
  call->up = in.input(4);
  call->down = in.input(5);
  call->gate_bias = in.input(6);
  call->up_bias = in.input(7);
  call->down_bias = in.input(8);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->weights);
  in.want_activation(call->y);
  in.want_same_shape(call->x, call->y);
  in.want(call->up >= 0 && call->down >= 0, "up and down given", call->up >= 0, call->down >= 0);
  for (int v : {call->gate, call->up, call->down})
    if (v >= 0) in.want_matrix(v, 3);
  const Value &x = in.value(call->x), &ids = in.value(call->ids), &up = in.value(call->up), &down = in.value(call->down);
  in.want(ids.type == Type::I32 && ids.dims[0] == x.dims[0], "rows of ids", ids.dims[0], x.dims[0]);
  if (call->gate >= 0) in.want_same_shape(call->gate, call->up);
  in.want(in.value(call->weights).dims == ids.dims, "width of weights", width(in.value(call->weights)), width(ids));
  call->experts = up.dims[0];
  call->up_rows = up.dims[1];
  call->wide = up.dims[2];
  call->inner = down.dims[2];
  call->used = width(ids);
  call->activation = read_activation(in, call->gate >= 0 || call->up_rows != call->inner);
  in.no_more();
  in.want(width(x) == call->wide, "width of x", width(x), call->wide);
  in.want(down.dims[0] == call->experts && down.dims[1] == call->wide, "rows of down", down.dims[1], call->wide);
  in.want(call->up_rows == call->inner || (call->gate < 0 && call->up_rows == 2 * call->inner), "rows of up", call->up_rows,
          call->inner);
  in.want_vectors(call->gate_bias, call->experts, call->up_rows);
  in.want_vectors(call->up_bias, call->experts, call->up_rows);
  in.want_vectors(call->down_bias, call->experts, call->wide);
  call->up_type = up.type;
  call->in_type = call->gate < 0 ? up.type : in.value(call->gate).type;
  call->out_type = down.type;
  if (!plan) return;
  const bool rounds = is_quantised(call->in_type) || is_quantised(call->up_type);
  call->rounded = rounds ? plan->rounded(call->x) : -1;
  const int64_t pairs = plan->most_rows(call->x) * call->used;
  call->hidden = plan->buffer(pairs * call->inner * 4);
  call->hidden_up = plan->buffer(pairs * call->up_rows * 4);
  call->hidden_rounded =
      is_quantised(call->out_type) ? plan->buffer(pairs * chunks(call->inner) * static_cast<int64_t>(sizeof(Chunk))) : -1;
  call->parts = plan->buffer(pairs * call->wide * 4);
  call->source = plan->buffer(pairs * 8);
  const int64_t widest = std::max(call->wide, call->inner);
  const int64_t bytes = packed_bytes(*plan, {call->in_type, call->up_type, call->out_type}, pairs, call->experts, widest);
  call->packed = bytes ? plan->buffer(bytes) : -1;
  plan->need_worker(kMatmulScratch);
  const std::vector<int> reads{call->x, call->ids, call->weights, call->rounded, call->gate_bias, call->up_bias,
                               call->down_bias}, writes{
      call->y, call->hidden, call->hidden_up, call->hidden_rounded, call->parts, call->source, call->packed};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
