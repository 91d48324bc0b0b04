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

// A token's rows are gathered into blocks of f32, so that the kernel is that of attention, with rows that are K and V.
struct CompressedAttention : Call {
  int q, row, far, chosen, sinks, y;  // -1: absent
  KeptRows near_rows, far_rows;
  int64_t heads, width, window, count = 0, most;  // count: of chosen; most: rows of one token
  float scale;

  KvLayer gathered(uint8_t *base) const {
    KvLayer l{};
    l.base = base;
    l.v_width = width;
    l.block_bytes = kv_codes(KvType::f32, kBlockTokens * width);
    l.k_type = l.v_type = KvType::f32;
    return l;
  }
  int64_t blocks() const { return (most + kBlockTokens - 1) / kBlockTokens; }
  int64_t gathered_bytes() const { return round_up(blocks() * kBlockTokens * width * 4 + width * 4 + blocks() * 4, 64); }

  void run(const Run &run) const override {
    near_rows.store(run, nullptr, run.floats(row));
    if (far >= 0) far_rows.store(run, nullptr, run.floats(far));
    std::vector<int64_t> sequence;
    for (int64_t s = 0; s < run.step.sequences; s++)
      for (int64_t t = run.step.seq_start[s]; t < run.step.seq_start[s + 1]; t++) {
        check(run, s, t);
        sequence.push_back(s);
      }
    const int64_t parts = run.step.tokens < run.threads ? std::min<int64_t>(run.threads, heads) : 1;
    run.pool.run(run.step.tokens * parts, run.threads, [&](int64_t i, int worker) {
      const int64_t t = i / parts, part = i % parts;
      attend(run, sequence[static_cast<size_t>(t)], t, heads * part / parts, heads * (part + 1) / parts, worker);
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
      if (chosen < 0) rows += std::max<int64_t>(0, last - first);
      for (int64_t c = 0; chosen >= 0 && c < count; c++) {
        const int32_t id = run.ints(chosen)[t * count + c];
        if (id == -1) continue;
        rows++;
        if (id < first || id >= last)
          fail(HL_INVALID, "chosen row: got %d, want %lld to %lld", id, static_cast<long long>(first), static_cast<long long>(last - 1));
      }
    }
    if (rows > most)
      fail(HL_INVALID, "rows of a token: got %lld, want at most %lld", static_cast<long long>(rows), static_cast<long long>(most));
  }

  void attend(const Run &run, int64_t s, int64_t t, int64_t from, int64_t to, int worker) const {
    uint8_t *base = run.scratch(worker);
    const KvLayer l = gathered(base);
    float *one = reinterpret_cast<float *>(base + blocks() * l.block_bytes);
    int32_t *ids = reinterpret_cast<int32_t *>(one + width);
    int32_t rows = 0;
    const auto gather = [&](const KeptRows &kept, int64_t number) {
      const RowPlace at = kept.place(run, s, number);
      run.k.load_kv(run.state.layer(kept.group, kept.layer), at.block, at.place, nullptr, one);
      run.k.store_kv(l, rows / kBlockTokens, rows % kBlockTokens, 1, nullptr, one);
      rows++;
    };
    const int64_t index = run.step.index[t];
    for (int64_t r = oldest(run, s, t); r <= index; r++) gather(near_rows, r);
    if (chosen >= 0) {
      for (int64_t c = 0; c < count; c++)
        if (const int32_t id = run.ints(chosen)[t * count + c]; id >= 0) gather(far_rows, id);
    } else if (far >= 0) {
      const auto [first, last] = far_rows.seen(run, s, index);
      for (int64_t r = first; r < last; r++) gather(far_rows, r);
    }
    for (int32_t b = 0; b * kBlockTokens < rows; b++) ids[b] = b;
    const int32_t newest = rows - 1;
    AttentionTask task{};
    task.q_stride = task.y_stride = heads * width;
    task.q = run.floats(q) + t * task.q_stride + from * width;
    task.y = run.floats(y) + t * task.y_stride + from * width;
    task.tokens = 1;
    task.heads = to - from;
    task.head_dim = task.v_head_dim = task.latent = width;
    task.index = &newest;
    task.blocks = ids;
    task.layer = l;
    task.scale = scale;
    task.sinks = sinks < 0 ? nullptr : run.floats(sinks) + from;
    task.last_span = newest / kSpan + 1;
    task.scratch = reinterpret_cast<float *>(base + gathered_bytes());
    run.k.attend(task);
  }
};

}  // namespace

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
  if (call->chosen >= 0) {
    const Value &chosen = in.value(call->chosen);
    in.want(chosen.type == Type::I32 && chosen.kind != HL_WEIGHT && chosen.dims.size() == 2 && chosen.dims[0] == HL_DIM_T, "rows of those chosen", chosen.dims[0],
            HL_DIM_T);
    call->count = width(chosen);
  }
  call->near_rows = read_kept(graph, node, in, group, layer, 1, 0, call->width);
  if (call->far >= 0) call->far_rows = read_kept(graph, node, in, far_group, far_layer, rate, 0, call->width);
  if (!plan) return;
  call->most = most_rows(graph, plan->limits, call->near_rows);
  if (call->window) call->most = std::min(call->most, call->window);
  if (call->far >= 0) {
    const int64_t far = most_rows(graph, plan->limits, call->far_rows);
    call->most += call->chosen >= 0 ? std::min(far, call->count) : far;
  }
  plan->need_worker(call->gathered_bytes() + 4 * attention_scratch(call->heads, call->width, call->width));
  const std::vector<int> reads{call->q, call->row, call->far, call->chosen, call->sinks}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
