// repeat, stream_weights, mix_streams: residuals of several streams side by side.
#include <cmath>
#include <cstring>

#include "ops.h"

namespace halflap::cpu {

namespace {

constexpr int64_t kMostStreams = 64;

struct Repeat : Call {
  int x, y;
  int64_t streams, wide;

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), streams * wide, [&](int64_t t, int) {
      for (int64_t s = 0; s < streams; s++)
        memcpy(run.floats(y) + (t * streams + s) * wide, run.floats(x) + t * wide, static_cast<size_t>(wide) * 4);
    });
  }
};

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

struct StreamWeights : Call {
  int x, scale, base, read, add = -1, mix = -1;
  int64_t streams, wide, iterations;
  float eps;

  void run(const Run &run) const override {
    const float *s = run.floats(scale), *b = run.floats(base);
    const int64_t n = streams;
    run.for_rows(run.rows(x), wide * (add < 0 ? 1 : iterations), [&](int64_t t, int) {
      const float *from = run.floats(x) + t * wide;
      for (int64_t i = 0; i < n; i++) run.floats(read)[t * n + i] = sigmoid(from[i] * s[0] + b[i]) + eps;
      if (add < 0) return;
      for (int64_t i = n; i < 2 * n; i++) run.floats(add)[t * n + i - n] = 2 * sigmoid(from[i] * s[1] + b[i]);
      float *m = run.floats(mix) + t * n * n;
      for (int64_t i = 0; i < n * n; i++) m[i] = from[2 * n + i] * s[2] + b[2 * n + i];
      for (int64_t i = 0; i < n; i++) {
        float top = -INFINITY, total = 0;
        for (int64_t j = 0; j < n; j++) top = m[i * n + j] > top ? m[i * n + j] : top;
        for (int64_t j = 0; j < n; j++) total += m[i * n + j] = std::exp(m[i * n + j] - top);
        for (int64_t j = 0; j < n; j++) m[i * n + j] = m[i * n + j] / total + eps;
      }
      for (int64_t turn = 0; turn < iterations; turn++) {
        if (turn) divide(m, n, 1);
        divide(m, 1, n);
      }
    });
  }

  // Each line of the square over its sum; a line's elements lie `step` apart, the lines `line` apart.
  void divide(float *m, int64_t line, int64_t step) const {
    for (int64_t i = 0; i < streams; i++) {
      float total = 0;
      for (int64_t j = 0; j < streams; j++) total += m[i * line + j * step];
      for (int64_t j = 0; j < streams; j++) m[i * line + j * step] /= total + eps;
    }
  }
};

struct MixStreams : Call {
  int x, weights, y, shares, z;  // y, shares: -1 if absent
  int64_t streams, made, wide;   // wide: of one stream

  void run(const Run &run) const override {
    run.for_rows(run.rows(x), made * streams * wide, [&](int64_t t, int) {
      const float *from = run.floats(x) + t * streams * wide, *by = run.floats(weights) + t * streams * made;
      for (int64_t k = 0; k < made; k++) {
        float *to = run.floats(z) + (t * made + k) * wide;
        run.k.scale(from, by[k], to, wide);
        for (int64_t j = 1; j < streams; j++) run.k.accumulate(from + j * wide, by[j * made + k], to, wide);
        if (y >= 0) run.k.accumulate(run.floats(y) + t * wide, run.floats(shares)[t * made + k], to, wide);
      }
    });
  }
};

int64_t read_streams(Reader &in) {
  const int64_t streams = in.integer("streams");
  in.want(streams >= 1 && streams <= kMostStreams, "streams", streams, kMostStreams);
  return streams;
}

void want_rows(const Reader &in, int v, int64_t rows, int64_t wide) {
  in.want_activation(v);
  in.want(in.value(v).dims.size() == 2 && in.value(v).dims[0] == rows, "rows", in.value(v).dims[0], rows);
  in.want(width(in.value(v)) == wide, "width", width(in.value(v)), wide);
}

}  // namespace

void bind_repeat(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 1, 1, 1);
  auto call = std::make_unique<Repeat>();
  call->x = in.input(0);
  call->y = in.output();
  call->streams = read_streams(in);
  in.no_more();
  call->wide = width(in.value(call->x));
  const int64_t rows = in.value(call->x).dims[0];
  want_rows(in, call->x, rows, call->wide);
  want_rows(in, call->y, rows, call->streams * call->wide);
  if (!plan) return;
  const int x = call->x, y = call->y;
  plan->add(std::move(call), {x}, {y});
}

void bind_stream_weights(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 3, 3, node.outputs.size());
  auto call = std::make_unique<StreamWeights>();
  call->x = in.input(0);
  call->scale = in.input(1);
  call->base = in.input(2);
  call->streams = read_streams(in);
  call->iterations = in.integer("iterations");
  call->eps = static_cast<float>(in.number("eps"));
  in.no_more();
  in.want(call->iterations >= 1 && call->iterations <= 1 << 20, "iterations", call->iterations, 1);
  const size_t results = node.outputs.size();
  in.want(results == 1 || results == 3, "results", static_cast<int64_t>(results), 3);
  const int64_t n = call->streams, rows = in.value(call->x).dims[0];
  call->wide = results == 1 ? n : n * (n + 2);
  want_rows(in, call->x, rows, call->wide);
  in.want_vector(call->scale, static_cast<int64_t>(results));
  in.want_vector(call->base, call->wide);
  for (size_t i = 0; i < results; i++) want_rows(in, node.outputs[i], rows, i < 2 ? n : n * n);
  call->read = node.outputs[0];
  if (results == 3) {
    call->add = node.outputs[1];
    call->mix = node.outputs[2];
  }
  if (!plan) return;
  const std::vector<int> reads{call->x, call->scale, call->base};
  plan->add(std::move(call), reads, node.outputs);
}

void bind_mix_streams(const Graph &graph, const Node &node, Plan *plan) {
  Reader in(graph, node, 2, 4, 1);
  auto call = std::make_unique<MixStreams>();
  call->x = in.input(0);
  call->weights = in.input(1);
  call->y = in.input(2);
  call->shares = in.input(3);
  call->z = in.output();
  call->streams = read_streams(in);
  in.no_more();
  const int64_t rows = in.value(call->x).dims[0], all = width(in.value(call->x)), count = width(in.value(call->weights));
  in.want(all % call->streams == 0 && count % call->streams == 0, "streams", all, call->streams);
  call->wide = all / call->streams;
  call->made = count / call->streams;
  want_rows(in, call->x, rows, all);
  want_rows(in, call->weights, rows, count);
  want_rows(in, call->z, rows, call->made * call->wide);
  in.want((call->y < 0) == (call->shares < 0), "y and its shares given", call->y >= 0, call->shares >= 0);
  if (call->y >= 0) {
    want_rows(in, call->y, rows, call->wide);
    want_rows(in, call->shares, rows, call->made);
  }
  if (!plan) return;
  const std::vector<int> reads{call->x, call->weights, call->y, call->shares}, writes{call->z};
  plan->add(std::move(call), reads, writes);
}

}  // namespace halflap::cpu
