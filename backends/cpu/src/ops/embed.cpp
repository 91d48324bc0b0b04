// embed, add_positions and take: rows chosen by number.
#include <cstring>

#include "ops.h"

namespace halflap::cpu {

namespace {

void check_ids(const char *what, const int32_t *ids, int64_t n, int64_t bound, int64_t least = 0) {
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < least || ids[i] >= bound)
      fail(HL_INVALID, "%s: got %d at place %lld, want %lld to %lld", what, ids[i], static_cast<long long>(i),
           static_cast<long long>(least), static_cast<long long>(bound - 1));
}

struct Embed : Call {
  int ids, table, embeds, y;  // table and embeds: -1 if absent
  Type type;
  float scale;
  int64_t vocabulary, wide, given_wide, column, blank;

  void run(const Run &run) const override {
    const int32_t *id = run.ints(ids);
    check_ids("token id", id, run.rows(ids), vocabulary, blank >= 0 ? INT32_MIN : embeds < 0 ? 0 : -run.rows(embeds));
    const int64_t bytes = table < 0 ? 0 : row_bytes(type, wide);
    run.for_rows(run.rows(ids), wide, [&](int64_t t, int) {
      float *to = run.floats(y) + t * wide;
      if (id[t] < 0 && embeds >= 0) {
        memcpy(to, run.floats(embeds) + (-1 - int64_t{id[t]}) * given_wide + column, static_cast<size_t>(wide) * 4);
      } else if (table < 0) {
        memset(to, 0, static_cast<size_t>(wide) * 4);
      } else {
        run.k.dequantize[static_cast<int>(type)](run.bytes(table) + (id[t] < 0 ? blank : id[t]) * bytes, wide, to);
        if (scale != 1) run.k.scale(to, scale, to, wide);
      }
    });
  }
};

struct AddPositions : Call {
  int x, table, y;
  Type type;
  int64_t positions, wide, fixed;  // the row of all tokens, or -1: each its own

  void run(const Run &run) const override {
    if (fixed < 0) check_ids("position", run.step.index, run.step.tokens, positions);
    const int64_t bytes = row_bytes(type, wide);
    run.for_rows(run.step.tokens, wide, [&](int64_t t, int worker) {
      float *row = reinterpret_cast<float *>(run.scratch(worker));
      run.k.dequantize[static_cast<int>(type)](run.bytes(table) + (fixed < 0 ? run.step.index[t] : fixed) * bytes, wide, row);
      run.k.add(run.floats(x) + t * wide, row, run.floats(y) + t * wide, wide);
    });
  }
};

struct Take : Call {
  int x, rows, y;
  int64_t wide;

  void run(const Run &run) const override {
    const int32_t *row = run.ints(rows);
    check_ids("row to take", row, run.rows(rows), run.rows(x));
    for (int64_t r = 0; r < run.rows(rows); r++)
      memcpy(run.bytes(y) + r * wide * 4, run.bytes(x) + row[r] * wide * 4, static_cast<size_t>(wide) * 4);
  }
};

}  // namespace

void bind_embed(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 3, 1);
  auto call = std::make_unique<Embed>();
  call->scale = static_cast<float>(in.number("scale"));
  call->column = in.integer("column");
  call->blank = in.integer("blank");
  const int64_t wide = in.integer("width");
  in.no_more();
  call->ids = in.input(0);
  call->table = in.input(1);
  call->embeds = in.input(2);
  call->y = in.output();
  const Value &ids = in.value(call->ids), &y = in.value(call->y);
  in.want(ids.type == Type::I32 && ids.dims.size() == 1, "dimensions of the ids", static_cast<int64_t>(ids.dims.size()), 1);
  in.want(call->table >= 0 || call->embeds >= 0, "tables and embeds", 0, 1);
  in.want_activation(call->y);
  in.want(y.dims[0] == ids.dims[0], "rows", y.dims[0], ids.dims[0]);
  call->wide = width(y);
  call->vocabulary = INT32_MAX;
  if (call->table >= 0) {
    in.want_matrix(call->table, 2);
    const Value &table = in.value(call->table);
    in.want(call->wide == table.dims[1], "width", call->wide, table.dims[1]);
    call->type = table.type;
    call->vocabulary = table.dims[0];
  } else {
    in.want(call->wide == wide, "width", call->wide, wide);
  }
  if (call->embeds >= 0) {
    in.want_activation(call->embeds);
    call->given_wide = width(in.value(call->embeds));
    in.want(call->column >= 0 && call->column <= call->given_wide - call->wide, "column", call->column,
            call->given_wide - call->wide);
  }
  in.want(call->blank < 0 || (call->table >= 0 && call->embeds < 0 && call->blank < call->vocabulary), "blank", call->blank,
          call->vocabulary);
  if (!plan) return;
  const std::vector<int> reads{call->ids, call->embeds}, writes{call->y};
  plan->add(std::move(call), reads, writes);
}

void bind_take(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 2, 1);
  in.no_more();
  const Value &x = in.value(in.input(0)), &rows = in.value(in.input(1)), &y = in.value(in.output());
  in.want((x.type == Type::F32 || x.type == Type::I32) && x.kind != HL_WEIGHT, "kind of x", x.kind, HL_RESULT);
  in.want(rows.type == Type::I32 && rows.dims.size() == 1, "dimensions of the rows", static_cast<int64_t>(rows.dims.size()), 1);
  in.want(y.dims[0] == rows.dims[0], "rows", y.dims[0], rows.dims[0]);
  in.want(width(y) == width(x) && y.type == x.type, "width", width(y), width(x));
  if (!plan) return;
  auto call = std::make_unique<Take>();
  call->x = in.input(0);
  call->rows = in.input(1);
  call->y = in.output();
  call->wide = width(x);
  plan->add(std::move(call), {in.input(0), in.input(1)}, {in.output()});
}

void bind_add_positions(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 2, 1);
  auto call = std::make_unique<AddPositions>();
  call->fixed = in.integer("row");
  in.no_more();
  call->x = in.input(0);
  call->table = in.input(1);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->y);
  in.want_same_shape(call->x, call->y);
  in.want_matrix(call->table, 2);
  const Value &x = in.value(call->x), &table = in.value(call->table);
  in.want(x.dims[0] == HL_DIM_T, "rows", x.dims[0], HL_DIM_T);
  in.want(width(x) == table.dims[1], "width of x", width(x), table.dims[1]);
  call->type = table.type;
  call->positions = table.dims[0];
  in.want(call->fixed >= -1 && call->fixed < call->positions, "row", call->fixed, call->positions - 1);
  call->wide = table.dims[1];
  if (!plan) return;
  plan->need_worker(call->wide * 4);
  const int from = call->x, to = call->y;
  plan->add(std::move(call), {from}, {to});
}

}  // namespace halflap::cpu
