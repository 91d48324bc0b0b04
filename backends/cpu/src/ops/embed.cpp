// embed and take: rows chosen by id; columns: neighbouring ones of each row.
#include <cstring>

#include "ops.h"

namespace halflap::cpu {

namespace {

void check_ids(const char *what, const int32_t *ids, int64_t n, int64_t bound) {
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= bound)
      fail(HL_INVALID, "%s: got %d at place %lld, want 0 to %lld", what, ids[i], static_cast<long long>(i),
           static_cast<long long>(bound - 1));
}

struct Embed : Call {
  int ids, table, y;
  Type type;
  int64_t vocabulary, wide;

  void run(const Run &run) const override {
    const int32_t *id = run.ints(ids);
    check_ids("token id", id, run.rows(ids), vocabulary);
    const int64_t bytes = row_bytes(type, wide);
    run.for_rows(run.rows(ids), wide, [&](int64_t t, int) {
      run.k.dequantize[static_cast<int>(type)](run.bytes(table) + id[t] * bytes, wide, run.floats(y) + t * wide);
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

struct Columns : Call {
  int x, y;
  int64_t start, from_wide, wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), wide, [&](int64_t t, int) {
      memcpy(run.floats(y) + t * wide, run.floats(x) + t * from_wide + start, static_cast<size_t>(wide) * 4);
    });
  }
};

}  // namespace

void bind_embed(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 2, 1);
  in.no_more();
  const Value &ids = in.value(in.input(0)), &table = in.value(in.input(1)), &y = in.value(in.output());
  in.want(ids.type == Type::I32 && ids.dims.size() == 1, "dimensions of the ids", static_cast<int64_t>(ids.dims.size()), 1);
  in.want_matrix(in.input(1), 2);
  in.want_activation(in.output());
  in.want(y.dims[0] == ids.dims[0], "rows", y.dims[0], ids.dims[0]);
  in.want(width(y) == table.dims[1], "width", width(y), table.dims[1]);
  if (!plan) return;
  auto call = std::make_unique<Embed>();
  call->ids = in.input(0);
  call->table = in.input(1);
  call->y = in.output();
  call->type = table.type;
  call->vocabulary = table.dims[0];
  call->wide = table.dims[1];
  plan->add(std::move(call), {in.input(0)}, {in.output()});
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

void bind_columns(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  auto call = std::make_unique<Columns>();
  call->start = in.integer("start");
  call->wide = in.integer("width");
  in.no_more();
  call->x = in.input(0);
  call->y = in.output();
  in.want_activation(call->x);
  in.want_activation(call->y);
  const Value &x = in.value(call->x), &y = in.value(call->y);
  call->from_wide = width(x);
  in.want(x.dims.size() == 2 && y.dims.size() == 2 && x.dims[0] == y.dims[0], "rows", y.dims[0], x.dims[0]);
  in.want(call->wide > 0 && width(y) == call->wide, "width of the result", width(y), call->wide);
  in.want(call->start >= 0 && call->start <= call->from_wide - call->wide, "start", call->start,
          call->from_wide - call->wide);
  if (!plan) return;
  const int from = call->x, to = call->y;
  plan->add(std::move(call), {from}, {to});
}

}  // namespace halflap::cpu
