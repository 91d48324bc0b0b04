// attention: stores this step's K and V unless K's rope did, then every (tile of tokens, KV head) is a task.
#include "ops.h"

namespace halflap::cpu {

namespace {

// Steps of fewer tokens leave threads idle if a KV head of a token is one task.
int64_t split_tokens(int64_t kv_heads, int threads) { return threads == 1 ? 0 : (4 * threads + kv_heads - 1) / kv_heads; }

struct Attention : Call, AttentionSpec {
  int records;         // the plan's buffer for split spans: (most_spans, heads, record)
  int64_t most_spans;  // of all tokens of a step that is split

  // Tokens of one sequence that are worked on together, and the spans of keys that they see.
  struct Tile {
    int64_t sequence, begin, end, first_span, last_span;
    const int32_t *ends;  // of the keys that each token sees, or null
    int64_t spans() const { return last_span - first_span; }
  };

  AttentionTask task(const Run &run, const Tile &tile, int64_t head, int worker) const {
    const GroupStep &g = run.step.groups[static_cast<size_t>(group)];
    const int64_t shared = heads / kv_heads;
    AttentionTask task{};
    task.q_stride = heads * head_dim;
    task.q = run.floats(q) + tile.begin * task.q_stride + head * shared * head_dim;
    task.y_stride = heads * v_head_dim;
    task.y = run.floats(y) + tile.begin * task.y_stride + head * shared * v_head_dim;
    task.tokens = tile.end - tile.begin;
    task.heads = shared;
    task.head_dim = head_dim;
    task.v_head_dim = v_head_dim;
    task.latent = latent;
    task.index = run.step.index + tile.begin;
    task.ends = tile.ends;
    task.blocks = g.blocks + g.table_start[tile.sequence];
    task.first_token = g.first_token[tile.sequence];
    task.layer = run.state.layer(group, layer);
    task.k_row = head * head_dim;
    task.v_column = head * v_head_dim;
    task.scale = scale;
    task.softcap = softcap;
    task.window = window;
    task.chunked = chunked;
    task.sinks = sinks < 0 ? nullptr : run.floats(sinks) + head * shared;
    bias.give(run, head * shared, task);
    if (!slopes.empty()) task.slopes = &slopes[static_cast<size_t>(head * shared)];
    task.first_span = tile.first_span;
    task.last_span = tile.last_span;
    task.scratch = reinterpret_cast<float *>(run.scratch(worker));
    return task;
  }

  void run(const Run &run) const override {
    if (k >= 0 && !stored) CacheWrite{k, v, group, layer}.run(run, [](int64_t, int64_t) {});
    const int64_t at_once = attention_tokens(heads / kv_heads);
    std::vector<Tile> tiles;
    std::vector<int32_t> ends;
    bias.run(run, heads);
    for (int64_t t = 0; spans && run.step.span_end && t < run.step.tokens; t++)
      ends.push_back(static_cast<int32_t>(seen_end(run.step, t)));
    for (int64_t s = 0; cross && s < run.step.sequences; s++) {
      const GroupStep &g = run.step.groups[static_cast<size_t>(group)];
      if (run.step.seq_start[s] == run.step.seq_start[s + 1]) continue;
      if (g.first_token[s] || !g.length[s])
        fail(HL_INVALID, "rows of a source text: got %d from %d on, want some from 0 on", g.length[s] - g.first_token[s], g.first_token[s]);
      ends.resize(static_cast<size_t>(run.step.seq_start[s + 1]), g.length[s]);
    }
    for (int64_t s = 0; s < run.step.sequences; s++)
      for (int64_t t = run.step.seq_start[s], end = run.step.seq_start[s + 1]; t < end; t += at_once) {
        const int64_t until = t + at_once < end ? t + at_once : end;
        const int64_t first = run.step.groups[static_cast<size_t>(group)].first_token[s];
        const int64_t from = std::max(first, oldest_seen(run.step.index[t], window, chunked)) / kSpan;
        const int64_t newest = ends.empty() ? run.step.index[until - 1] : ends[static_cast<size_t>(until - 1)] - 1;
        tiles.push_back({s, t, until, from, newest / kSpan + 1, ends.empty() ? nullptr : &ends[static_cast<size_t>(t)]});
      }
    const int64_t count = static_cast<int64_t>(tiles.size());
    int64_t met = 0;  // spans; a table that lists a block twice can be longer than the pool
    for (const Tile &tile : tiles) met += tile.spans() * (tile.end - tile.begin);
    if (run.step.tokens < split_tokens(kv_heads, run.threads) && met <= most_spans) return run_split(run, tiles);
    run.pool.run(count * kv_heads, run.threads, [&](int64_t i, int worker) {  // the longest rows first
      run.k.attend(task(run, tiles[static_cast<size_t>(count - 1 - i / kv_heads)], i % kv_heads, worker));
    });
  }

  // Few tokens: threads share each query's spans.
  void run_split(const Run &run, const std::vector<Tile> &tiles) const {
    struct Part {
      size_t tile;
      int64_t head, first_span, last_span;
      float *records;  // of first_span
    };
    const int64_t record = attention_record(v_head_dim), shared = heads / kv_heads;
    int64_t met = 0;
    for (const Tile &tile : tiles) met += tile.spans() * kv_heads;
    const int64_t at_once = std::max<int64_t>(1, met / (8 * run.threads));
    std::vector<Part> parts, wholes;
    float *to = run.floats(records);
    for (size_t i = 0; i < tiles.size(); i++)
      for (int64_t head = 0; head < kv_heads; head++) {
        wholes.push_back({i, head, tiles[i].first_span, tiles[i].last_span, to});
        const int64_t each = (tiles[i].end - tiles[i].begin) * shared * record;
        for (int64_t s = tiles[i].first_span; s < tiles[i].last_span; s += at_once) {
          const int64_t end = std::min(s + at_once, tiles[i].last_span);
          parts.push_back({i, head, s, end, to});
          to += (end - s) * each;
        }
      }
    run.pool.run(static_cast<int64_t>(parts.size()), run.threads, [&](int64_t i, int worker) {
      const Part &part = parts[static_cast<size_t>(i)];
      AttentionTask t = task(run, tiles[part.tile], part.head, worker);
      t.first_span = part.first_span;
      t.last_span = part.last_span;
      run.k.attend_spans(t, part.records);
    });
    run.pool.run(static_cast<int64_t>(wholes.size()), run.threads, [&](int64_t i, int worker) {
      const Part &whole = wholes[static_cast<size_t>(i)];
      run.k.merge_spans(task(run, tiles[whole.tile], whole.head, worker), whole.records);
    });
  }
};

}  // namespace

CacheWrite read_cache_write(const Graph &graph, const Node &node) {
  Reader in(graph, node, 1, 5, 1);
  return {in.input(1), in.input(2), graph.group(in.text("group")), static_cast<int>(in.integer("layer"))};
}

void add_attention(const Graph &graph, const AttentionSpec &spec, Plan *plan) {
  auto call = std::make_unique<Attention>();
  static_cast<AttentionSpec &>(*call) = spec;
  plan->need_worker(4 * attention_scratch(call->heads / call->kv_heads, call->head_dim, call->v_head_dim));
  int64_t most = graph.groups[static_cast<size_t>(call->group)].blocks * kBlockTokens;
  if (plan->limits.context) most = std::min(most, plan->limits.context);
  call->most_spans = std::max<int64_t>(0, split_tokens(call->kv_heads, plan->threads) - 1) * (most / kSpan + 1);
  call->records = plan->buffer(call->most_spans * call->heads * attention_record(call->v_head_dim) * 4);
  const int key = spec.stored ? -1 : spec.k, value = spec.stored ? -1 : spec.v;
  call->bias.plan(plan, call->heads);
  const std::vector<int> reads{call->q, key, value, call->sinks}, writes{call->y, call->records, call->bias.spread};
  plan->add(std::move(call), reads, writes);
}

void bind_attention(const Graph &graph, const Node &node, Plan *plan) { bind_attention_of(graph, node, false, plan); }

void bind_attention_of(const Graph &graph, const Node &node, bool stored, Plan *plan) {
  Reader in(graph, node, 1, 5, 1);
  AttentionSpec spec;
  spec.stored = stored;
  spec.heads = in.integer("heads");
  spec.kv_heads = in.integer("kv_heads");
  spec.head_dim = in.integer("head_dim");
  spec.v_head_dim = in.integer("v_head_dim");
  spec.window = in.integer("window");
  spec.scale = static_cast<float>(in.number("scale"));
  spec.softcap = static_cast<float>(in.number("softcap"));
  spec.spans = in.integer("spans") != 0;
  spec.cross = in.integer("cross") != 0;
  in.want(spec.heads > 0 && spec.heads <= 65536, "heads", spec.heads, 65536);
  spec.bias.read(in, 4, spec.heads);
  for (const double slope : in.numbers("slopes")) spec.slopes.push_back(static_cast<float>(slope));
  const int64_t slopes = static_cast<int64_t>(spec.slopes.size());
  in.want(slopes == 0 || slopes == spec.heads, "slopes", slopes, spec.heads);
  const std::string &group = in.text("group");
  const int64_t layer = in.integer("layer");
  const std::string &kind = in.text("window_kind");
  in.no_more();
  if (kind != "sliding" && kind != "chunked")
    fail(HL_UNSUPPORTED, "window_kind of op attention: got '%.50s', want 'sliding' or 'chunked'", kind.c_str());
  spec.chunked = kind == "chunked";

  spec.q = in.input(0);
  spec.k = in.input(1);
  spec.v = in.input(2);
  spec.sinks = in.input(3);
  spec.y = in.output();
  in.want_activation(spec.q);
  in.want_activation(spec.y);
  const auto positive = [&](const char *what, int64_t n) { in.want(n > 0 && n <= 65536, what, n, 65536); };
  positive("kv_heads", spec.kv_heads);
  positive("head_dim", spec.head_dim);
  positive("v_head_dim", spec.v_head_dim);
  in.want(spec.heads % spec.kv_heads == 0, "heads per KV head", spec.heads, spec.kv_heads);
  in.want(spec.window >= 0, "window", spec.window, 0);
  const Value &q = in.value(spec.q), &y = in.value(spec.y);
  in.want(q.dims[0] == HL_DIM_T && y.dims[0] == HL_DIM_T, "rows", q.dims[0], HL_DIM_T);
  in.want(width(q) == spec.heads * spec.head_dim, "width of q", width(q), spec.heads * spec.head_dim);
  in.want(width(y) == spec.heads * spec.v_head_dim, "width of the result", width(y), spec.heads * spec.v_head_dim);
  in.want((spec.k < 0) == (spec.v < 0), "k and v given", spec.k >= 0, spec.v >= 0);
  in.want(!spec.cross || (spec.k < 0 && !spec.window && !spec.spans && spec.bias.weight < 0 && !slopes), "k, window, spans, bias or slopes of cross", 1, 0);
  spec.group = graph.group(group);
  if (spec.group < 0 || graph.groups[static_cast<size_t>(spec.group)].kind != HL_BLOCKS)
    fail(HL_INVALID, "group of op attention: got '%.100s', want one of the graph's of blocks", group.c_str());
  in.want(graph.groups[static_cast<size_t>(spec.group)].rate == 1, "rate", graph.groups[static_cast<size_t>(spec.group)].rate, 1);
  const std::vector<Layer> &layers = graph.groups[static_cast<size_t>(spec.group)].layers;
  in.want(layer >= 0 && layer < static_cast<int64_t>(layers.size()), "layer", layer, static_cast<int64_t>(layers.size()) - 1);
  spec.layer = static_cast<int>(layer);
  const Layer &rows = layers[static_cast<size_t>(layer)];
  in.want(rows.k_width == spec.kv_heads * spec.head_dim, "width of K rows", rows.k_width, spec.kv_heads * spec.head_dim);
  in.want(rows.v_width == spec.kv_heads * spec.v_head_dim, "width of V rows", rows.v_width,
          spec.kv_heads * spec.v_head_dim);
  for (const auto &[v, wide] : {std::pair{spec.k, rows.k_width}, std::pair{spec.v, rows.v_width}}) {
    if (v < 0) continue;
    in.want_activation(v);
    in.want(in.value(v).dims[0] == HL_DIM_T, "rows of k and v", in.value(v).dims[0], HL_DIM_T);
    in.want(width(in.value(v)) == wide, "width of k and v", width(in.value(v)), wide);
  }
  in.want_vector(spec.sinks, spec.heads);
  if (!plan) return;
  for (const auto &[type, dim] : {std::pair{plan->limits.k_type, spec.head_dim}, std::pair{plan->limits.v_type, spec.v_head_dim}})
    if (is_quantised(find_kv_type("KV", type)) && dim % kKvBlock)
      fail(HL_UNSUPPORTED, "head size for KV type %s: got %lld, want a multiple of %d; f16 takes any", type.c_str(),
           static_cast<long long>(dim), kKvBlock);
  add_attention(graph, spec, plan);
}

}  // namespace halflap::cpu
