// What encoders have and decoders do not: self_attention, mean_rows, join_rows.
#include <cstring>

#include "ops.h"

namespace halflap::cpu {

namespace {

// K and V of the step lie in blocks of f32 as a cache would keep them, so the kernel is that of attention.
struct SelfAttention : Call {
  int q, k, v, y;
  int cache;  // the plan's buffer: K and V
  DistanceBias bias;
  int64_t heads, kv_heads, head_dim, v_head_dim, window;
  float scale;

  static int64_t blocks(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

  KvLayer layer(uint8_t *base) const {
    KvLayer l{};
    l.base = base;
    l.k_width = kv_heads * head_dim;
    l.v_width = kv_heads * v_head_dim;
    l.v_offset = kv_codes(KvType::f32, kBlockTokens * l.k_width);
    l.block_bytes = l.v_offset + kv_codes(KvType::f32, kBlockTokens * l.v_width);
    l.k_type = l.v_type = KvType::f32;
    return l;
  }

  void run(const Run &run) const override {
    const Step &step = run.step;
    bias.run(run, heads);
    const KvLayer l = layer(run.bytes(cache));
    struct Part {  // some tokens of a sequence
      int64_t sequence, from, count;
    };
    std::vector<Part> stores, queries;
    std::vector<int64_t> first_block;
    std::vector<int32_t> index(static_cast<size_t>(step.tokens)), ends(index.size());
    const int64_t at_once = attention_tokens(heads / kv_heads);
    int64_t used = 0;
    for (int64_t s = 0; s < step.sequences; s++) {
      const int64_t begin = step.seq_start[s], count = step.seq_start[s + 1] - begin;
      first_block.push_back(used);
      used += blocks(count);
      for (int64_t t = 0; t < count; t++) {
        index[static_cast<size_t>(begin + t)] = static_cast<int32_t>(t);
        ends[static_cast<size_t>(begin + t)] = static_cast<int32_t>(window && t + window < count ? t + window : count);
      }
      for (int64_t t = 0; t < count; t += kBlockTokens) stores.push_back({s, t, std::min<int64_t>(kBlockTokens, count - t)});
      for (int64_t t = 0; t < count; t += at_once) queries.push_back({s, t, std::min(at_once, count - t)});
    }
    std::vector<int32_t> ids;
    for (int64_t b = 0; b < used; b++) ids.push_back(static_cast<int32_t>(b));

    run.pool.run(static_cast<int64_t>(stores.size()), run.threads, [&](int64_t i, int) {
      const Part &part = stores[static_cast<size_t>(i)];
      const int64_t row = step.seq_start[part.sequence] + part.from;
      run.k.store_kv(l, first_block[static_cast<size_t>(part.sequence)] + part.from / kBlockTokens, 0, part.count,
                     run.floats(k) + row * l.k_width, run.floats(v) + row * l.v_width);
    });
    const int64_t shared = heads / kv_heads;
    run.pool.run(static_cast<int64_t>(queries.size()) * kv_heads, run.threads, [&](int64_t i, int worker) {
      const Part &part = queries[static_cast<size_t>(i / kv_heads)];
      const int64_t row = step.seq_start[part.sequence] + part.from, head = i % kv_heads;
      AttentionTask task{};
      task.q_stride = heads * head_dim;
      task.q = run.floats(q) + row * task.q_stride + head * shared * head_dim;
      task.y_stride = heads * v_head_dim;
      task.y = run.floats(y) + row * task.y_stride + head * shared * v_head_dim;
      task.tokens = part.count;
      task.heads = shared;
      task.head_dim = head_dim;
      task.v_head_dim = v_head_dim;
      task.index = &index[static_cast<size_t>(row)];
      task.ends = &ends[static_cast<size_t>(row)];
      task.blocks = ids.data() + first_block[static_cast<size_t>(part.sequence)];
      task.layer = l;
      task.k_row = head * head_dim;
      task.v_column = head * v_head_dim;
      task.scale = scale;
      task.window = window;
      bias.give(run, head * shared, task);
      task.first_span = oldest_seen(task.index[0], window, false) / kSpan;
      task.last_span = (task.ends[part.count - 1] - 1) / kSpan + 1;
      task.scratch = reinterpret_cast<float *>(run.scratch(worker));
      run.k.attend(task);
    });
  }
};

struct KeepRows : Call {
  int x, y;
  int64_t wide;
  CacheWrite write;

  void run(const Run &run) const override {
    write.run(run, [](int64_t, int64_t) {});
    memcpy(run.floats(y), run.floats(x), static_cast<size_t>(run.rows(x) * wide) * 4);
  }
};

struct FewerRows : Call {
  int x, y;
  int64_t count, wide;
  bool mean, interleaved;

  void run(const Run &run) const override {
    const int64_t rows = run.rows(y);
    if (rows * count != run.rows(x))
      fail(HL_INVALID, "rows of mean_rows or join_rows: got %lld of %lld, want %lld times as many",
           static_cast<long long>(rows), static_cast<long long>(run.rows(x)), static_cast<long long>(count));
    run.for_rows(rows, wide * count, [&](int64_t r, int) {
      const float *from = run.floats(x) + r * count * wide;
      float *to = run.floats(y) + r * (mean ? wide : count * wide);
      if (mean) {
        memcpy(to, from, static_cast<size_t>(wide) * 4);
        for (int64_t i = 1; i < count; i++) run.k.add(to, from + i * wide, to, wide);
        run.k.scale(to, 1.0f / static_cast<float>(count), to, wide);
      } else if (interleaved) {
        for (int64_t i = 0; i < count; i++)
          for (int64_t c = 0; c < wide; c++) to[c * count + i] = from[i * wide + c];
      } else {
        memcpy(to, from, static_cast<size_t>(count * wide) * 4);
      }
    });
  }
};

void bind_fewer_rows(const Graph &graph, const Node &node, bool mean, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  auto call = std::make_unique<FewerRows>();
  call->count = in.integer("count");
  call->interleaved = !mean && in.integer("interleaved") != 0;
  call->mean = mean;
  in.no_more();
  call->x = in.input(0);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->y);
  const Value &x = in.value(call->x), &y = in.value(call->y);
  call->wide = width(x);
  in.want(call->count > 0 && call->count <= 65536, "count", call->count, 65536);
  in.want(x.dims[0] == HL_DIM_T && y.dims[0] == HL_DIM_R, "rows", y.dims[0], HL_DIM_R);
  in.want(width(y) == (mean ? 1 : call->count) * call->wide, "width of the result", width(y), call->wide);
  if (!plan) return;
  const std::vector<int> reads{call->x}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

}  // namespace

void bind_self_attention(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 4, 1);
  auto call = std::make_unique<SelfAttention>();
  call->heads = in.integer("heads");
  call->kv_heads = in.integer("kv_heads");
  call->head_dim = in.integer("head_dim");
  call->v_head_dim = in.integer("v_head_dim");
  call->window = in.integer("window");
  call->scale = static_cast<float>(in.number("scale"));
  in.want(call->heads > 0 && call->heads <= 65536, "heads", call->heads, 65536);
  call->bias.read(in, 3, call->heads);
  in.no_more();
  call->q = in.input(0);
  call->k = in.input(1);
  call->v = in.input(2);
  call->y = in.output();
  for (const auto &[what, n] : {std::pair{"kv_heads", call->kv_heads},
                                std::pair{"head_dim", call->head_dim}, std::pair{"v_head_dim", call->v_head_dim}})
    in.want(n > 0 && n <= 65536, what, n, 65536);
  in.want(call->heads % call->kv_heads == 0, "heads per KV head", call->heads, call->kv_heads);
  in.want(call->window >= 0, "window", call->window, 0);
  for (const auto &[value, wide] : {std::pair{call->q, call->heads * call->head_dim}, std::pair{call->k, call->kv_heads * call->head_dim},
                                    std::pair{call->v, call->kv_heads * call->v_head_dim}, std::pair{call->y, call->heads * call->v_head_dim}}) {
    in.want_activation(value);
    in.want(in.value(value).dims[0] == HL_DIM_T, "rows", in.value(value).dims[0], HL_DIM_T);
    in.want(width(in.value(value)) == wide, "width", width(in.value(value)), wide);
  }
  if (!plan) return;
  plan->need_worker(4 * attention_scratch(call->heads / call->kv_heads, call->head_dim, call->v_head_dim));
  call->bias.plan(plan, call->heads);
  const int64_t most = SelfAttention::blocks(plan->limits.tokens) + plan->limits.sequences;
  call->cache = plan->buffer(most * call->layer(nullptr).block_bytes);
  const std::vector<int> reads{call->q, call->k, call->v};
  const std::vector<int> writes{call->y, call->cache, call->bias.spread};
  plan->add(std::move(call), reads, writes);
}

void DistanceBias::read(Reader &in, int input, int64_t heads) {
  weight = in.input(static_cast<size_t>(input));
  const std::vector<double> &numbers = in.numbers("buckets");
  in.want((weight >= 0) == !numbers.empty(), "buckets", static_cast<int64_t>(numbers.size()), 0);
  if (weight < 0) return;
  in.want_matrix(weight, 2);
  const Value &bias = in.value(weight);
  in.want(bias.dims[1] == heads, "width of the bias", bias.dims[1], heads);
  in.want(numbers.size() % 2 == 1, "buckets", static_cast<int64_t>(numbers.size()), 1);
  for (const double bucket : numbers) {
    in.want(bucket >= 0 && bucket < static_cast<double>(bias.dims[0]), "bucket", static_cast<int64_t>(bucket), bias.dims[0]);
    buckets.push_back(static_cast<int64_t>(bucket));
  }
  type = bias.type;
}

void DistanceBias::plan(Plan *plan, int64_t heads) {
  if (weight < 0) return;
  spread = plan->buffer(static_cast<int64_t>(buckets.size()) * heads * 4);
  plan->need_worker(4 * heads);
}

void DistanceBias::run(const Run &run, int64_t heads) const {
  if (weight < 0) return;
  const int64_t wide = static_cast<int64_t>(buckets.size()), bytes = row_bytes(type, heads);
  float *to = run.floats(spread), *row = reinterpret_cast<float *>(run.scratch(0));
  for (int64_t i = 0; i < wide; i++) {
    run.k.dequantize[static_cast<int>(type)](run.bytes(weight) + buckets[static_cast<size_t>(i)] * bytes, heads, row);
    for (int64_t h = 0; h < heads; h++) to[h * wide + i] = row[h];
  }
}

void DistanceBias::give(const Run &run, int64_t head, AttentionTask &task) const {
  if (weight < 0) return;
  task.bias = run.floats(spread) + head * static_cast<int64_t>(buckets.size());
  task.reach = static_cast<int64_t>(buckets.size()) / 2;
}

void bind_keep_rows(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 3, 1);
  auto call = std::make_unique<KeepRows>();
  const int64_t dims[2] = {in.integer("head_dim"), in.integer("v_head_dim")}, layer = in.integer("layer");
  const std::string &name = in.text("group");
  in.no_more();
  call->x = in.input(0);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->y);
  in.want_same_shape(call->x, call->y);
  call->wide = width(in.value(call->x));
  call->write = {in.input(1), in.input(2), graph.group(name), static_cast<int>(layer)};
  if (call->write.group < 0 || graph.groups[static_cast<size_t>(call->write.group)].kind != HL_BLOCKS)
    fail(HL_INVALID, "group of op keep_rows: got '%.100s', want one of the graph's of blocks", name.c_str());
  const Group &group = graph.groups[static_cast<size_t>(call->write.group)];
  in.want(group.rate == 1, "rate", group.rate, 1);
  in.want(layer >= 0 && layer < static_cast<int64_t>(group.layers.size()), "layer", layer, static_cast<int64_t>(group.layers.size()) - 1);
  const Layer &rows = group.layers[static_cast<size_t>(layer)];
  const int64_t widths[2] = {rows.k_width, rows.v_width};
  for (const int i : {0, 1}) {
    const int v = in.input(static_cast<size_t>(i) + 1);
    in.want_activation(v);
    in.want(in.value(v).dims.size() == 2 && in.value(v).dims[0] == HL_DIM_T, "rows", in.value(v).dims[0], HL_DIM_T);
    in.want(width(in.value(v)) == widths[i], "width", width(in.value(v)), widths[i]);
    in.want(dims[i] > 0 && widths[i] % dims[i] == 0, "size of a head", dims[i], widths[i]);
  }
  if (!plan) return;
  const std::vector<int> reads{call->x, call->write.k, call->write.v}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

void bind_mean_rows(const Graph &graph, const Node &node, Plan *plan) { bind_fewer_rows(graph, node, true, plan); }

void bind_join_rows(const Graph &graph, const Node &node, Plan *plan) { bind_fewer_rows(graph, node, false, plan); }

}  // namespace halflap::cpu
