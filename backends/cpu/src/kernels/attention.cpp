// Attention over paged K and V. Keys are met in spans of 256 cut at multiples of 256 of the absolute position: a span's
// scores become weights in one softmax step, and spans are merged in ascending order. So a query's bits depend on
// nothing but its own keys, and the spans of one query may be worked on by several threads.
#include <type_traits>

#include "exponential.h"
#include "kv.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

namespace {

constexpr int kSpanBlocks = kSpan / kBlockTokens;
// How many queries fit the registers: against 32 keys, and times how many lanes of V.
#if defined(__AVX512F__)
constexpr int kQueries = 8, kMixLanes = 2;
#else
constexpr int kQueries = 2, kMixLanes = 2;
#endif

// A query's record: `wide` floats of mixed V, then these.
struct Seen {
  float top;    // highest score
  float total;  // sum of e^(score - top); 0: nothing seen
};

// Working memory of a task, carved from its scratch.
struct Work {
  const AttentionTask &t;
  float *q;       // (queries / kQueries, head_dim, kQueries); the last group may be narrower
  float *keys;    // (head_dim, 32) one block's K
  float *values;  // (32, wide) its V, rows padded to whole lanes
  float *scores;  // (queries, kSpan) of one span, then its weights
  float *span;    // (queries, record) of one span
  float *whole;   // (queries, record) of the spans so far
  int64_t queries, wide, record;

  int32_t *index;  // (queries) positions
  int32_t *ends;   // (queries) first positions that they do not see

  explicit Work(const AttentionTask &task)
      : t(task), queries(t.tokens * t.heads), wide(round_up(t.v_head_dim, kLanes)), record(attention_record(t.v_head_dim)) {
    q = t.scratch;
    keys = q + queries * t.head_dim;
    values = keys + kBlockTokens * t.head_dim;
    scores = values + kBlockTokens * wide;
    span = scores + queries * kSpan;
    whole = span + queries * record;
    index = reinterpret_cast<int32_t *>(whole + queries * record);
    ends = index + queries;
    for (int64_t i = 0; i < t.tokens; i++)
      for (int64_t head = 0; head < t.heads; head++) {
        index[i * t.heads + head] = t.index[i];
        ends[i * t.heads + head] = t.ends ? t.ends[i] : t.index[i] + 1;
      }
  }
  Seen &seen(float *records, int64_t query) const { return *reinterpret_cast<Seen *>(records + query * record + wide); }
};

struct Range {
  int64_t from, to;
  bool empty() const { return from >= to; }
  bool operator==(const Range &o) const { return from == o.from && to == o.to; }
};

// The keys that a query sees among `count` from position `start`, counted from there.
HALFLAP_INLINE Range visible(const Work &w, int64_t query, int64_t start, int64_t count) {
  return {most(0, oldest_seen(w.index[query], w.t.window, w.t.chunked) - start), least(count, w.ends[query] - start)};
}

// Blocks of a span that any query of the task sees.
HALFLAP_INLINE Range span_blocks(const Work &w, int64_t start) {
  const int64_t from = visible(w, 0, start, kSpan).from, to = visible(w, w.queries - 1, start, kSpan).to;
  const int64_t listed = most(0, w.t.first_token - start);  // before the first block that is still kept
  return {most(from, listed) / kBlockTokens, (to + kBlockTokens - 1) / kBlockTokens};
}

// f(first, how many as a constant) over [first, end) in groups of N, the rest in halves of that.
template <int N, class F>
HALFLAP_INLINE void in_groups(int64_t first, int64_t end, F f) {
  for (; first + N <= end; first += N) f(first, std::integral_constant<int, N>{});
  if constexpr (N > 1) in_groups<N / 2>(first, end, f);
}

// Queries of a group side by side, so that one pointer walks through them.
HALFLAP_INLINE void gather_queries(const Work &w) {
  const AttentionTask &t = w.t;
  in_groups<kQueries>(0, w.queries, [&](int64_t first, auto count) {
    constexpr int kCount = decltype(count)::value;
    float *to = w.q + first * t.head_dim;
    for (int n = 0; n < kCount; n++) {
      const float *from = t.q + (first + n) / t.heads * t.q_stride + (first + n) % t.heads * t.head_dim;
      for (int64_t d = 0; d < t.head_dim; d++) to[d * kCount + n] = from[d];
    }
  });
}

// A block's K and V as floats, made once for all queries of a task. They read like StoredKeys and StoredValues.
struct FetchedKeys {
  const float *keys;
  HALFLAP_INLINE void operator()(int64_t d, Lanes &k0, Lanes &k1) const {
    k0 = load(keys + d * kBlockTokens);
    k1 = load(keys + d * kBlockTokens + kLanes);
  }
};

struct FetchedValues {
  const float *values;
  int64_t wide;
  HALFLAP_INLINE Lanes operator()(int64_t j, int64_t i) const { return load(values + j * wide + i * kLanes); }
};

// What will be read a phase from now, asked for evenly over this one: memory works while the lanes do.
struct Ahead {
  const uint8_t *from;
  int64_t stride;  // bytes for each turn of the inner loop
  HALFLAP_INLINE void touch(int64_t turn) const { __builtin_prefetch(from + turn * stride, 0, 2); }
};

// Scaled scores of N queries against 32 keys.
template <int N, class Keys>
HALFLAP_INLINE void score(const Work &w, Keys keys, Ahead ahead, int64_t query, float *to) {
  const AttentionTask &t = w.t;
  const float *q = w.q + query * t.head_dim;
  Lanes s[N][2];
  for (int n = 0; n < N; n++) s[n][0] = s[n][1] = zero();
  for (int64_t d = 0; d < t.head_dim; d++, q += N) {
    ahead.touch(d);
    Lanes k0, k1;
    keys(d, k0, k1);
    for (int n = 0; n < N; n++) {
      const Lanes x = splat(q[n]);
      s[n][0] = fma(x, k0, s[n][0]);
      s[n][1] = fma(x, k1, s[n][1]);
    }
  }
  for (int n = 0; n < N; n++, to += kSpan)
    for (int i = 0; i < 2; i++) {
      Lanes y = mul(s[n][i], splat(t.scale));
      if (t.softcap != 0) y = mul(splat(t.softcap), tanh_lanes(div(y, splat(t.softcap))));
      store(to + kLanes * i, y);
    }
}

template <class Keys>
void score_all(const Work &w, Keys keys, Ahead ahead, int64_t start, int64_t block) {
  in_groups<kQueries>(0, w.queries, [&](int64_t q, auto count) {
    constexpr int kCount = decltype(count)::value;
    // The last query of a group sees the newest keys, the first one the oldest.
    if (visible(w, q + kCount - 1, start, kBlockTokens).to > 0 && visible(w, q, start, kBlockTokens).from < kBlockTokens)
      score<kCount>(w, keys, ahead, q, w.scores + q * kSpan + block * kBlockTokens);
  });
}

// Scores of a query's visible keys become weights; its record of this span begins.
HALFLAP_INLINE void weigh(const Work &w, int64_t query, int64_t start, Range seen) {
  float *p = w.scores + query * kSpan;
  if (const int64_t reach = w.t.reach; w.t.bias) {
    const float *bias = w.t.bias + query % w.t.heads * (2 * reach + 1) + reach;
    for (int64_t j = seen.from; j < seen.to; j++) p[j] += bias[least(most(start + j - w.index[query], -reach), reach)];
  }
  if (w.t.slopes)
    for (int64_t j = seen.from; j < seen.to; j++)
      p[j] += w.t.slopes[query % w.t.heads] * static_cast<float>(start + j - w.index[query]);
  const int64_t from = seen.from / kLanes * kLanes, to = round_up(seen.to, kLanes);
  for (int64_t j = from; j < seen.from; j++) p[j] = -INFINITY;
  for (int64_t j = seen.to; j < to; j++) p[j] = -INFINITY;
  Lanes peaks = load(p + from);
  for (int64_t j = from + kLanes; j < to; j += kLanes) peaks = greater(load(p + j), peaks);
  const float top = highest(peaks);
  Lanes sums = zero();
  for (int64_t j = from; j < to; j += kLanes) {
    const Lanes e = exponential(sub(load(p + j), splat(top)));
    store(p + j, e);
    sums = add(sums, e);
  }
  w.seen(w.span, query) = {top, sum(sums)};
}

// Span records of N queries += weights of the keys in `seen` of one block times V, keys ascending.
template <int N, class Values>
HALFLAP_INLINE void mix(const Work &w, Values values, Ahead ahead, int64_t query, int64_t block, Range seen) {
  const float *weights = w.scores + query * kSpan + block * kBlockTokens;
  float *mixed = w.span + query * w.record;
  in_groups<kMixLanes>(0, w.wide / kLanes, [&](int64_t lane, auto width) {
    constexpr int kWide = decltype(width)::value;
    Lanes sums[N][kWide];
    for (int n = 0; n < N; n++)
      for (int i = 0; i < kWide; i++) sums[n][i] = load(mixed + n * w.record + kLanes * (lane + i));
    for (int64_t j = seen.from; j < seen.to; j++) {
      ahead.touch(lane / kMixLanes * kBlockTokens + j);
      Lanes v[kWide];
      for (int i = 0; i < kWide; i++) v[i] = values(j, lane + i);
      for (int n = 0; n < N; n++) {
        const Lanes p = splat(weights[n * kSpan + j]);
        for (int i = 0; i < kWide; i++) sums[n][i] = fma(p, v[i], sums[n][i]);
      }
    }
    for (int n = 0; n < N; n++)
      for (int i = 0; i < kWide; i++) store(mixed + n * w.record + kLanes * (lane + i), sums[n][i]);
  });
}

template <class Values>
void mix_all(const Work &w, Values values, Ahead ahead, int64_t start, int64_t block) {
  for (int64_t q = 0; q < w.queries;) {
    const Range seen = visible(w, q, start, kBlockTokens);
    int64_t end = q + 1;  // of the queries that see the same
    while (end < w.queries && visible(w, end, start, kBlockTokens) == seen) end++;
    if (!seen.empty())
      in_groups<kQueries>(q, end, [&](int64_t first, auto count) {
        constexpr int kCount = decltype(count)::value;
        mix<kCount>(w, values, ahead, first, block, seen);
      });
    q = end;
  }
}

// f(storage type as a constant)
template <class F>
HALFLAP_INLINE void with_type(KvType type, F f) {
  switch (type) {
    case KvType::f32: return f(std::integral_constant<KvType, KvType::f32>{});
    case KvType::f16: return f(std::integral_constant<KvType, KvType::f16>{});
    case KvType::bf16: return f(std::integral_constant<KvType, KvType::bf16>{});
    case KvType::q8_0: return f(std::integral_constant<KvType, KvType::q8_0>{});
    case KvType::q4_0: return f(std::integral_constant<KvType, KvType::q4_0>{});
  }
}

// A span of the task's keys, with what its two phases share.
struct Span {
  const Work &w;
  int64_t start;  // position of its first key
  Range blocks, next;  // that any query sees: of this span, and of the one that follows

  Span(const Work &work, int64_t span)
      : w(work),
        start(span * kSpan),
        blocks(span_blocks(w, start)),
        next(span + 1 < w.t.last_span ? span_blocks(w, start + kSpan) : Range{0, 0}) {}

  int64_t id(int64_t b) const { return w.t.blocks[(start - w.t.first_token) / kBlockTokens + b]; }
  bool few() const { return w.queries <= kQueries; }
  Ahead nothing() const { return {reinterpret_cast<const uint8_t *>(w.q), 0}; }
  Ahead values_ahead(int64_t b) const {
    const KvLayer &l = w.t.layer;
    return {l.v_codes(id(b), 0, w.t.v_column), kv_codes(l.v_type, w.t.v_head_dim * kBlockTokens) / w.t.head_dim};
  }
  Ahead keys_ahead(int64_t b) const {
    if (b < next.from || b >= next.to) return nothing();
    const KvLayer &l = w.t.layer;
    return {l.k(id(kSpanBlocks + b)) + kv_codes(l.k_type, w.t.k_row * kBlockTokens),
            kv_codes(l.k_type, w.t.head_dim * kBlockTokens) / w.wide};
  }
};

// V rows of a block as keys: (latent, 32), for queries that meet them twice.
void turn_latents(const Work &w, int64_t block, int64_t first) {
  const AttentionTask &t = w.t;
  const int64_t filled = visible(w, w.queries - 1, first, kBlockTokens).to;
  with_type(t.layer.v_type, [&](auto type) {
    constexpr KvType kType = decltype(type)::value;
    fetch_values<kType>(t.layer, block, t.v_column, t.v_head_dim, filled, w.wide, w.values);
  });
  for (int64_t d = 0; d < t.latent; d += kLanes)
    for (int64_t j = 0; j < kBlockTokens; j++)
      for (int64_t i = d; i < least(d + kLanes, t.latent); i++)
        w.keys[i * kBlockTokens + j] = j < filled ? w.values[j * w.wide + i] : 0.0f;
}

// Scores of a span. One group of queries reads K where it is stored, more of them share floats; so with V.
template <KvType type>
void score_span(const Span &s) {
  const AttentionTask &t = s.w.t;
  for (int64_t b = s.blocks.from; b < s.blocks.to; b++) {
    const StoredKeys<type> stored(t.layer, s.id(b), t.k_row);
    const int64_t first = s.start + b * kBlockTokens;
    if (s.few() && !t.latent) {
      score_all(s.w, stored, s.values_ahead(b), first, b);
      continue;
    }
    if (t.latent) turn_latents(s.w, s.id(b), first);
    float *keys = s.w.keys + t.latent * kBlockTokens;
    for (int64_t d = 0; d < t.head_dim - t.latent; d++) {
      Lanes k0, k1;
      stored(d, k0, k1);
      store(keys + d * kBlockTokens, k0);
      store(keys + d * kBlockTokens + kLanes, k1);
    }
    score_all(s.w, FetchedKeys{s.w.keys}, s.nothing(), first, b);
  }
}

template <KvType type>
void mix_span(const Span &s) {
  const AttentionTask &t = s.w.t;
  const bool aligned = t.v_head_dim % kKvBlock == 0 && t.v_column % kKvBlock == 0;
  for (int64_t b = s.blocks.from; b < s.blocks.to; b++) {
    const int64_t first = s.start + b * kBlockTokens;
    if (s.few() && aligned) {
      mix_all(s.w, StoredValues<type>(t.layer, s.id(b), t.v_column), s.keys_ahead(b), first, b);
      continue;
    }
    const int64_t filled = visible(s.w, s.w.queries - 1, first, kBlockTokens).to;
    fetch_values<type>(t.layer, s.id(b), t.v_column, t.v_head_dim, filled, s.w.wide, s.w.values);
    mix_all(s.w, FetchedValues{s.w.values, s.w.wide}, s.nothing(), first, b);
  }
}

// One span to w.span.
void meet_span(const Work &w, int64_t span) {
  const Span s(w, span);
  with_type(w.t.layer.k_type, [&](auto type) {
    constexpr KvType kType = decltype(type)::value;
    score_span<kType>(s);
  });
  for (int64_t q = 0; q < w.queries; q++) {
    const Range seen = visible(w, q, s.start, kSpan);
    w.seen(w.span, q) = {-INFINITY, 0};
    memset(w.span + q * w.record, 0, static_cast<size_t>(w.wide) * 4);
    if (!seen.empty()) weigh(w, q, s.start, seen);
  }
  with_type(w.t.layer.v_type, [&](auto type) {
    constexpr KvType kType = decltype(type)::value;
    mix_span<kType>(s);
  });
}

// whole += span, both scaled to the higher top.
HALFLAP_INLINE void merge(const Work &w, float *whole, const float *span, int64_t query) {
  Seen &to = w.seen(whole, query);
  const Seen from = w.seen(const_cast<float *>(span), query);
  if (from.total == 0) return;
  const float top = to.total == 0 || from.top > to.top ? from.top : to.top;
  float fade[kLanes] = {to.top - top, from.top - top};
  store(fade, exponential(load(fade)));
  if (to.total == 0) fade[0] = 0;
  to = {top, to.total * fade[0] + from.total * fade[1]};
  float *sum = whole + query * w.record;
  const float *more = span + query * w.record;
  for (int64_t i = 0; i < w.wide; i += kLanes)
    store(sum + i, fma(load(more + i), splat(fade[1]), mul(load(sum + i), splat(fade[0]))));
}

HALFLAP_INLINE void finish(const Work &w, int64_t query) {
  const AttentionTask &t = w.t;
  const int64_t head = query % t.heads;
  const Seen seen = w.seen(w.whole, query);
  float total = seen.total, fade = 1.0f;
  if (t.sinks) {  // one more logit that carries no value
    const float sink = t.sinks[head], top = sink > seen.top ? sink : seen.top;
    float e[kLanes] = {seen.top - top, sink - top};
    store(e, exponential(load(e)));
    fade = seen.total == 0 ? 0.0f : e[0];
    total = total * fade + e[1];
  }
  const float *mixed = w.whole + query * w.record;
  float *y = t.y + query / t.heads * t.y_stride + head * t.v_head_dim;
  for_lanes(t.v_head_dim, [&](int64_t i, int64_t n) {
    store_some(y + i, div(mul(load(mixed + i), splat(fade)), splat(total)), n);
  });
}

void begin(const Work &w) {
  for (int64_t q = 0; q < w.queries; q++) {
    memset(w.whole + q * w.record, 0, static_cast<size_t>(w.wide) * 4);
    w.seen(w.whole, q) = {-INFINITY, 0};
  }
}

void attend(const AttentionTask &t) {
  const Work w(t);
  gather_queries(w);
  begin(w);
  for (int64_t span = t.first_span; span < t.last_span; span++) {
    meet_span(w, span);
    for (int64_t q = 0; q < w.queries; q++) merge(w, w.whole, w.span, q);
  }
  for (int64_t q = 0; q < w.queries; q++) finish(w, q);
}

void attend_spans(const AttentionTask &t, float *records) {
  Work w(t);
  gather_queries(w);
  for (int64_t span = t.first_span; span < t.last_span; span++, records += w.queries * w.record) {
    w.span = records;
    meet_span(w, span);
  }
}

void merge_spans(const AttentionTask &t, const float *records) {
  const Work w(t);
  begin(w);
  for (int64_t span = t.first_span; span < t.last_span; span++, records += w.queries * w.record)
    for (int64_t q = 0; q < w.queries; q++) merge(w, w.whole, records, q);
  for (int64_t q = 0; q < w.queries; q++) finish(w, q);
}

}  // namespace

void fill_attention(Kernels &k) {
  k.attend = attend;
  k.attend_spans = attend_spans;
  k.merge_spans = merge_spans;
}

}  // namespace halflap::cpu::HALFLAP_ISA
