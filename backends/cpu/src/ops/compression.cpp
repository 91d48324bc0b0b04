// compress, select_rows, compressed_attention: rows that stand for several tokens.
#include <algorithm>
#include <cstring>

#include "slots.h"

namespace halflap::cpu {

namespace {

// -- compress: (sequence, some elements) is a task -------------------------------------------------------------------------

struct Compress : Call {
  int kv, gate, bias, y, group, layer;
  int64_t wide, rate;  // elements of a token's row, tokens of a window
  bool overlap;

  void run(const Run &run) const override {
    const GroupStep &slots = run.step.groups[static_cast<size_t>(group)];
    const SlotLayer &rows = run.state.slots(group, layer);
    const int64_t width = overlap ? wide / 2 : wide, parts = (width + kCompressElements - 1) / kCompressElements;
    run.pool.run(run.step.sequences * parts, run.threads, [&](int64_t i, int worker) {
      const int64_t from = i % parts * kCompressElements;
      for_slot_runs(run.step, slots, rows, i / parts, [&](int64_t begin, int64_t end, const float *source, float *target) {
        CompressTask task{};
        task.kv = run.floats(kv) + begin * wide + from;
        task.gate = run.floats(gate) + begin * wide + from;
        task.bias = run.floats(bias) + from;
        task.y = run.floats(y) + begin * width + from;
        task.index = run.step.index + begin;
        task.stride = wide;
        task.width = width;
        task.rate = rate;
        task.tokens = end - begin;
        task.elements = std::min(kCompressElements, width - from);
        task.overlap = overlap;
        task.source = source ? source + from : nullptr;
        task.target = target + from;
        task.scratch = reinterpret_cast<float *>(run.scratch(worker));
        run.k.compress(task);
      });
    });
  }
};

// -- rows of a blocks group ------------------------------------------------------------------------------------------------

// One layer of a group that keeps K and V rows of any rate.
struct KeptRows {
  int group = -1, layer = 0;
  int64_t rate = 1;

  // Rows of sequence s that a token at this place may see: [first, last).
  std::pair<int64_t, int64_t> seen(const Run &run, int64_t s, int64_t index) const {
    return {run.step.groups[static_cast<size_t>(group)].first_token[s] / rate, (index + 1) / rate};
  }

  RowPlace place(const Run &run, int64_t s, int64_t row) const {
    const Group &g = run.state.groups[static_cast<size_t>(group)];
    const GroupStep &table = run.step.groups[static_cast<size_t>(group)];
    const int64_t local = row - table.first_token[s] / rate;
    return g.row_place(table.blocks[table.table_start[s] + local / g.block_rows()], local % g.block_rows());
  }

  // Stores the rows of tokens that end a window: k and v, of widths that the layer has, by token; either may be null.
  void store(const Run &run, const float *k, const float *v) const {
    const KvLayer &l = run.state.layer(group, layer);
    for (int64_t s = 0; s < run.step.sequences; s++)
      for (int64_t t = run.step.seq_start[s]; t < run.step.seq_start[s + 1]; t++) {
        const int64_t index = run.step.index[t];
        if ((index + 1) % rate) continue;
        const RowPlace at = place(run, s, index / rate);
        run.k.store_kv(l, at.block, at.place, 1, k ? k + t * l.k_width : nullptr, v ? v + t * l.v_width : nullptr);
      }
  }
};

KeptRows read_kept(const Graph &graph, const Node &node, const Reader &in, const std::string &name, int64_t layer, int64_t rate,
                   int64_t k_width, int64_t v_width) {
  KeptRows rows;
  rows.group = graph.group(name);
  if (rows.group < 0 || graph.groups[static_cast<size_t>(rows.group)].kind != HL_BLOCKS)
    fail(HL_INVALID, "group of op %s: got '%.100s', want one of the graph's of blocks", node.op.c_str(), name.c_str());
  const Group &group = graph.groups[static_cast<size_t>(rows.group)];
  in.want(layer >= 0 && layer < static_cast<int64_t>(group.layers.size()), "layer", layer,
          static_cast<int64_t>(group.layers.size()) - 1);
  in.want(group.rate == rate, "rate", rate, group.rate);
  const Layer &widths = group.layers[static_cast<size_t>(layer)];
  in.want(widths.k_width == k_width, "width of K rows", widths.k_width, k_width);
  in.want(widths.v_width == v_width, "width of V rows", widths.v_width, v_width);
  rows.layer = static_cast<int>(layer);
  rows.rate = rate;
  return rows;
}

// Most rows that a sequence keeps in a group, as far as the limits tell.
int64_t most_rows(const Graph &graph, const Limits &limits, const KeptRows &rows) {
  const Group &group = graph.groups[static_cast<size_t>(rows.group)];
  const int64_t pool = group.blocks * group.block_rows();
  return limits.context ? std::min(pool, limits.context / rows.rate + 1) : pool;
}

// -- select_rows: a few tokens of a sequence are a task --------------------------------------------------------------------

constexpr int64_t kSelectTokens = 8;

struct SelectRows : Call {
  int q, weights, key, ids;
  KeptRows rows;
  int64_t heads, dim, count, most;  // most: rows of a sequence

  struct Tile {
    int64_t sequence, begin, end;
  };

  int64_t scratch_bytes() const {  // keys of 32 rows, one row, scores of each token, orders
    return round_up(4 * (dim * (kBlockTokens + 1) + kSelectTokens * round_up(most, kBlockTokens)), 64) + 8 * most;
  }

  void run(const Run &run) const override {
    rows.store(run, run.floats(key), nullptr);
    std::vector<Tile> tiles;
    for (int64_t s = 0; s < run.step.sequences; s++)
      for (int64_t t = run.step.seq_start[s], end = run.step.seq_start[s + 1]; t < end; t += kSelectTokens) {
        const int64_t until = std::min(t + kSelectTokens, end);
        const auto [first, last] = rows.seen(run, s, run.step.index[until - 1]);
        if (last - first > most) fail(HL_INVALID, "rows of a sequence: got %lld, want at most %lld", static_cast<long long>(last - first), static_cast<long long>(most));
        tiles.push_back({s, t, until});
      }
    run.pool.run(static_cast<int64_t>(tiles.size()), run.threads, [&](int64_t i, int worker) { select(run, tiles[static_cast<size_t>(i)], worker); });
  }

  void select(const Run &run, const Tile &tile, int worker) const {
    float *keys = reinterpret_cast<float *>(run.scratch(worker)), *row = keys + dim * kBlockTokens, *scores = row + dim;
    const int64_t line = round_up(most, kBlockTokens), floats = dim * (kBlockTokens + 1) + kSelectTokens * line;
    uint64_t *order = reinterpret_cast<uint64_t *>(run.scratch(worker) + round_up(4 * floats, 64));
    const KvLayer &l = run.state.layer(rows.group, rows.layer);
    const auto [first, last] = rows.seen(run, tile.sequence, run.step.index[tile.end - 1]);
    for (int64_t r = first; r < last && last - first > count; r += kBlockTokens) {
      for (int64_t j = 0; j < kBlockTokens; j++) {
        if (r + j < last) {
          const RowPlace at = rows.place(run, tile.sequence, r + j);
          run.k.load_kv(l, at.block, at.place, row, nullptr);
        } else {
          memset(row, 0, static_cast<size_t>(dim) * 4);
        }
        for (int64_t d = 0; d < dim; d++) keys[d * kBlockTokens + j] = row[d];
      }
      for (int64_t t = tile.begin; t < tile.end; t++)
        run.k.index_scores(run.floats(q) + t * heads * dim, run.floats(weights) + t * heads, heads, dim, keys,
                           scores + (t - tile.begin) * line + r - first);
    }
    for (int64_t t = tile.begin; t < tile.end; t++) {
      const int64_t seen = std::max<int64_t>(0, rows.seen(run, tile.sequence, run.step.index[t]).second - first);
      choose(scores + (t - tile.begin) * line, seen, first, order, run.ints(ids) + t * count);
    }
  }

  // The `count` highest of `seen` scores, their numbers ascending; of equal ones the first.
  void choose(const float *score, int64_t seen, int64_t first, uint64_t *order, int32_t *to) const {
    int64_t taken = seen;
    if (seen > count) {
      // Ascending integers: the highest score first, NaN last, then the number.
      for (int64_t r = 0; r < seen; r++) {
        uint32_t bits;
        memcpy(&bits, score + r, 4);
        const bool nan = (bits & 0x7fffffff) > 0x7f800000, zero = (bits & 0x7fffffff) == 0;
        const uint32_t falling = nan ? UINT32_MAX : zero ? 0x7fffffff : bits >> 31 ? bits : 0x7fffffff - bits;
        order[r] = uint64_t{falling} << 32 | static_cast<uint32_t>(r);
      }
      std::nth_element(order, order + count, order + seen);
      taken = count;
      for (int64_t r = 0; r < taken; r++) to[r] = static_cast<int32_t>(order[r] & UINT32_MAX);
      std::sort(to, to + taken);
    } else {
      for (int64_t r = 0; r < taken; r++) to[r] = static_cast<int32_t>(r);
    }
    for (int64_t r = 0; r < taken; r++) to[r] += static_cast<int32_t>(first);
    for (int64_t r = taken; r < count; r++) to[r] = -1;
  }
};

// -- compressed_attention: (token, some heads) is a task -------------------------------------------------------------------

// A token's rows are gathered into blocks of f32, so that the kernel is that of attention, where V rows are keys too.
struct Gathered {
  int q, sinks = -1, y;
  int64_t heads, width, extra = 0;  // of a V row, and of the K row that follows it as a key
  int64_t most;                     // rows of one token
  float scale;

  KvLayer layer(uint8_t *base) const {
    KvLayer l{};
    l.base = base;
    l.k_width = extra;
    l.v_width = width;
    l.v_offset = kv_codes(KvType::f32, kBlockTokens * extra);
    l.block_bytes = kv_codes(KvType::f32, kBlockTokens * (extra + width));
    l.k_type = l.v_type = KvType::f32;
    return l;
  }
  int64_t blocks() const { return (most + kBlockTokens - 1) / kBlockTokens; }
  int64_t rows_bytes() const {
    return round_up((blocks() * kBlockTokens + 1) * (extra + width) * 4 + blocks() * 4, 64);
  }
  int64_t scratch_bytes() const { return rows_bytes() + 4 * attention_scratch(heads, extra + width, width); }

  // Each token's heads [from, to) by tasks: gather(t, take) calls take(rows, sequence, number) for the rows that it sees.
  template <class F>
  void run(const Run &run, F gather) const {
    const int64_t parts = run.step.tokens < run.threads ? std::min<int64_t>(run.threads, heads) : 1;
    run.pool.run(run.step.tokens * parts, run.threads, [&](int64_t i, int worker) {
      attend(run, i / parts, heads * (i % parts) / parts, heads * (i % parts + 1) / parts, worker, gather);
    });
  }

  template <class F>
  void attend(const Run &run, int64_t t, int64_t from, int64_t to, int worker, F gather) const {
    uint8_t *base = run.scratch(worker);
    const KvLayer l = layer(base);
    float *one = reinterpret_cast<float *>(base + blocks() * l.block_bytes);
    int32_t *ids = reinterpret_cast<int32_t *>(one + extra + width);
    int32_t rows = 0;
    gather(t, [&](const KeptRows &kept, int64_t s, int64_t number) {
      const RowPlace at = kept.place(run, s, number);
      run.k.load_kv(run.state.layer(kept.group, kept.layer), at.block, at.place, one, one + extra);
      run.k.store_kv(l, rows / kBlockTokens, rows % kBlockTokens, 1, one, one + extra);
      rows++;
    });
    for (int32_t b = 0; b * kBlockTokens < rows; b++) ids[b] = b;
    const int32_t newest = rows - 1;
    const int64_t head_dim = extra + width;
    AttentionTask task{};
    task.q_stride = heads * head_dim;
    task.y_stride = heads * width;
    task.q = run.floats(q) + t * task.q_stride + from * head_dim;
    task.y = run.floats(y) + t * task.y_stride + from * width;
    task.tokens = 1;
    task.heads = to - from;
    task.head_dim = head_dim;
    task.v_head_dim = task.latent = width;
    task.index = &newest;
    task.blocks = ids;
    task.layer = l;
    task.scale = scale;
    task.sinks = sinks < 0 ? nullptr : run.floats(sinks) + from;
    task.last_span = newest / kSpan + 1;
    task.scratch = reinterpret_cast<float *>(base + rows_bytes());
    run.k.attend(task);
  }
};

// Which sequence each token is of.
std::vector<int64_t> sequences_of(const Step &step) {
  std::vector<int64_t> sequence;
  for (int64_t s = 0; s < step.sequences; s++) sequence.resize(static_cast<size_t>(step.seq_start[s + 1]), s);
  return sequence;
}

// How many rows `ids` name (-1: none); throws unless all are in [first, last).
int64_t check_chosen(const int32_t *ids, int64_t count, int64_t first, int64_t last) {
  int64_t rows = 0;
  for (int64_t c = 0; c < count; c++) {
    if (ids[c] == -1) continue;
    rows++;
    if (ids[c] < first || ids[c] >= last)
      fail(HL_INVALID, "chosen row: got %d, want %lld to %lld", ids[c], static_cast<long long>(first), static_cast<long long>(last - 1));
  }
  return rows;
}

void check_most(int64_t rows, int64_t most) {
  if (rows < 1 || rows > most)
    fail(HL_INVALID, "rows of a token: got %lld, want 1 to %lld", static_cast<long long>(rows), static_cast<long long>(most));
}

int64_t chosen_width(Reader &in, int v) {
  const Value &chosen = in.value(v);
  in.want(chosen.type == Type::I32 && chosen.kind != HL_WEIGHT && chosen.dims.size() == 2 && chosen.dims[0] == HL_DIM_T,
          "rows of those chosen", chosen.dims[0], HL_DIM_T);
  return width(chosen);
}

struct CompressedAttention : Call, Gathered {
  int row, far, chosen;  // -1: absent
  KeptRows near_rows, far_rows;
  int64_t window, count = 0;  // count: of chosen

  void run(const Run &run) const override {
    near_rows.store(run, nullptr, run.floats(row));
    if (far >= 0) far_rows.store(run, nullptr, run.floats(far));
    const std::vector<int64_t> sequence = sequences_of(run.step);
    for (int64_t t = 0; t < run.step.tokens; t++) check(run, sequence[static_cast<size_t>(t)], t);
    Gathered::run(run, [&](int64_t t, auto take) {
      const int64_t s = sequence[static_cast<size_t>(t)], index = run.step.index[t];
      for (int64_t r = oldest(run, s, t); r <= index; r++) take(near_rows, s, r);
      if (chosen >= 0) {
        for (int64_t c = 0; c < count; c++)
          if (const int32_t id = run.ints(chosen)[t * count + c]; id >= 0) take(far_rows, s, id);
      } else if (far >= 0) {
        const auto [first, last] = far_rows.seen(run, s, index);
        for (int64_t r = first; r < last; r++) take(far_rows, s, r);
      }
    });
  }

  int64_t oldest(const Run &run, int64_t s, int64_t t) const {
    const auto [first, last] = near_rows.seen(run, s, run.step.index[t]);
    return window ? std::max(first, last - window) : first;
  }

  // Throws unless the rows of token t fit into what was planned, and those chosen are there.
  void check(const Run &run, int64_t s, int64_t t) const {
    int64_t rows = run.step.index[t] + 1 - oldest(run, s, t);
    if (far >= 0) {
      const auto [first, last] = far_rows.seen(run, s, run.step.index[t]);
      rows += chosen < 0 ? std::max<int64_t>(0, last - first) : check_chosen(run.ints(chosen) + t * count, count, first, last);
    }
    check_most(rows, most);
  }
};

// latent_attention over the rows that a token chose.
struct ChosenAttention : Call, Gathered {
  CacheWrite write;
  int chosen;
  KeptRows rows;
  int64_t count;

  void run(const Run &run) const override {
    if (write.k >= 0) write.run(run, [](int64_t, int64_t) {});
    const std::vector<int64_t> sequence = sequences_of(run.step);
    for (int64_t t = 0; t < run.step.tokens; t++) {
      const auto [first, last] = rows.seen(run, sequence[static_cast<size_t>(t)], run.step.index[t]);
      check_most(check_chosen(run.ints(chosen) + t * count, count, first, last), most);
    }
    Gathered::run(run, [&](int64_t t, auto take) {
      for (int64_t c = 0; c < count; c++)
        if (const int32_t id = run.ints(chosen)[t * count + c]; id >= 0) take(rows, sequence[static_cast<size_t>(t)], id);
    });
  }
};

}  // namespace

int64_t read_chosen(Reader &in, int input) { return in.input(static_cast<size_t>(input)) < 0 ? 0 : chosen_width(in, in.input(static_cast<size_t>(input))); }

void add_chosen_attention(const AttentionSpec &spec, int chosen, int64_t count, Plan *plan) {
  auto call = std::make_unique<ChosenAttention>();
  call->q = spec.q;
  call->y = spec.y;
  call->heads = spec.heads;
  call->width = spec.latent;
  call->extra = spec.head_dim - spec.latent;
  call->scale = spec.scale;
  call->write = {spec.k, spec.v, spec.group, spec.layer};
  call->chosen = chosen;
  call->count = count;
  call->rows.group = spec.group;
  call->rows.layer = spec.layer;
  call->most = count;
  plan->need_worker(call->scratch_bytes());
  const std::vector<int> reads{call->q, spec.k, spec.v, chosen}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

void bind_compress(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 3, 1);
  auto call = std::make_unique<Compress>();
  call->kv = in.input(0);
  call->gate = in.input(1);
  call->bias = in.input(2);
  call->y = in.output();
  call->rate = in.integer("rate");
  call->overlap = in.integer("overlap") != 0;
  for (int v : {call->kv, call->gate, call->y}) {
    in.want_activation(v);
    in.want(in.value(v).dims.size() == 2 && in.value(v).dims[0] == HL_DIM_T, "rows", in.value(v).dims[0], HL_DIM_T);
  }
  in.want_same_shape(call->kv, call->gate);
  call->wide = width(in.value(call->kv));
  const int64_t sets = call->overlap ? 2 : 1;
  in.want(call->rate >= 1 && call->rate <= INT32_MAX, "rate", call->rate, 1);
  in.want(call->wide % sets == 0, "width", call->wide, sets);
  in.want(width(in.value(call->y)) == call->wide / sets, "width of the result", width(in.value(call->y)), call->wide / sets);
  in.want_vectors(call->bias, call->rate, call->wide);
  in.want_slots(3 * call->wide, call->group, call->layer);
  in.no_more();
  if (!plan) return;
  plan->need_worker(4 * 6 * kCompressElements);
  const std::vector<int> reads{call->kv, call->gate, call->bias}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

void bind_select_rows(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 3, 1);
  auto call = std::make_unique<SelectRows>();
  call->q = in.input(0);
  call->weights = in.input(1);
  call->key = in.input(2);
  call->ids = in.output();
  call->heads = in.integer("heads");
  call->count = in.integer("count");
  const int64_t rate = in.integer("rate"), layer = in.integer("layer");
  const std::string &group = in.text("group");
  in.no_more();
  in.want(call->heads > 0 && call->heads <= 65536, "heads", call->heads, 65536);
  in.want(call->count > 0 && call->count <= INT32_MAX, "count", call->count, 1);
  call->dim = width(in.value(call->key));
  const Value &ids = in.value(call->ids);
  for (const auto &[v, wide] : {std::pair{call->q, call->heads * call->dim}, std::pair{call->weights, call->heads}, std::pair{call->key, call->dim}}) {
    in.want_activation(v);
    in.want(in.value(v).dims.size() == 2 && in.value(v).dims[0] == HL_DIM_T, "rows", in.value(v).dims[0], HL_DIM_T);
    in.want(width(in.value(v)) == wide, "width", width(in.value(v)), wide);
  }
  in.want(ids.type == Type::I32 && ids.dims[0] == HL_DIM_T && width(ids) == call->count, "width of the result", width(ids), call->count);
  call->rows = read_kept(graph, node, in, group, layer, rate, call->dim, 0);
  if (!plan) return;
  call->most = most_rows(graph, plan->limits, call->rows);
  plan->need_worker(call->scratch_bytes());
  const std::vector<int> reads{call->q, call->weights, call->key}, writes{call->ids};
  plan->add(std::move(call), reads, writes);
}

void bind_compressed_attention(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 5, 1);
  auto call = std::make_unique<CompressedAttention>();
  call->q = in.input(0);
  call->row = in.input(1);
  call->far = in.input(2);
  call->chosen = in.input(3);
  call->sinks = in.input(4);
  call->y = in.output();
  call->heads = in.integer("heads");
  call->scale = static_cast<float>(in.number("scale"));
  call->window = in.integer("window");
  const int64_t rate = in.integer("rate"), layer = in.integer("layer"), far_layer = in.integer("far_layer");
  const std::string &group = in.text("group"), &far_group = in.text("far_group");
  in.no_more();
  in.want(call->heads > 0 && call->heads <= 65536, "heads", call->heads, 65536);
  in.want(call->window >= 0, "window", call->window, 0);
  in.want(rate >= 1, "rate", rate, 1);
  call->width = width(in.value(call->row));
  const auto want_rows = [&](int v, int64_t wide) {
    if (v < 0) return;
    in.want_activation(v);
    in.want(in.value(v).dims.size() == 2 && in.value(v).dims[0] == HL_DIM_T, "rows", in.value(v).dims[0], HL_DIM_T);
    in.want(width(in.value(v)) == wide, "width", width(in.value(v)), wide);
  };
  in.want(call->width <= 65536, "width of a row", call->width, 65536);
  want_rows(call->q, call->heads * call->width);
  want_rows(call->y, call->heads * call->width);
  want_rows(call->row, call->width);
  want_rows(call->far, call->width);
  in.want_vector(call->sinks, call->heads);
  in.want((call->far < 0) == far_group.empty(), "far rows given", call->far >= 0, !far_group.empty());
  in.want(call->chosen < 0 || call->far >= 0, "far rows given", call->far >= 0, 1);
  if (call->chosen >= 0) call->count = chosen_width(in, call->chosen);
  call->near_rows = read_kept(graph, node, in, group, layer, 1, 0, call->width);
  if (call->far >= 0) call->far_rows = read_kept(graph, node, in, far_group, far_layer, rate, 0, call->width);
  if (!plan) return;
  call->most = most_rows(graph, plan->limits, call->near_rows);
  if (call->window) call->most = std::min(call->most, call->window);
  if (call->far >= 0) {
    const int64_t far = most_rows(graph, plan->limits, call->far_rows);
    call->most += call->chosen >= 0 ? std::min(far, call->count) : far;
  }
  plan->need_worker(call->scratch_bytes());
  const std::vector<int> reads{call->q, call->row, call->far, call->chosen, call->sinks}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
