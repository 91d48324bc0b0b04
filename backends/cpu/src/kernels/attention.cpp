// Attention over paged K and V: online softmax, one step per KV block. Blocks begin at multiples of 32 of the absolute
// position, and each query meets its visible keys of a block in one step, so its bits depend on nothing else.
#include <type_traits>

#include "exponential.h"
#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

// -- storage ------------------------------------------------------------------------------------------------------------

HALFLAP_INLINE float read_one(KvType type, const uint8_t *p) {
  if (type == KvType::f32) return bits_to_float(static_cast<uint32_t>(load32(p)));
  return type == KvType::f16 ? half_to_float(load16(p)) : bfloat_to_float(load16(p));
}

HALFLAP_INLINE void write_one(KvType type, uint8_t *p, float v) {
  if (type == KvType::f32) {
    memcpy(p, &v, 4);
    return;
  }
  const uint16_t h = type == KvType::f16 ? float_to_half(v) : float_to_bfloat(v);
  memcpy(p, &h, 2);
}

HALFLAP_INLINE Lanes read_lanes(KvType type, const uint8_t *p) {
  if (type == KvType::f32) return load(reinterpret_cast<const float *>(p));
  const uint16_t *h = reinterpret_cast<const uint16_t *>(p);
  return type == KvType::f16 ? from_half(h) : from_bfloat(h);
}

static void store_kv(const KvLayer &l, int64_t block, int64_t place, const float *k, const float *v) {
  uint8_t *base = l.base + block * l.block_bytes;
  const int64_t kb = kv_bytes(l.k_type), vb = kv_bytes(l.v_type);
  for (int64_t i = 0; i < l.k_width; i++) write_one(l.k_type, base + (i * kBlockTokens + place) * kb, k[i]);
  base += l.v_offset;
  for (int64_t i = 0; i < l.v_width; i++) write_one(l.v_type, base + (place * l.v_width + i) * vb, v[i]);
}

static void load_kv(const KvLayer &l, int64_t block, int64_t place, float *k, float *v) {
  const uint8_t *base = l.base + block * l.block_bytes;
  const int64_t kb = kv_bytes(l.k_type), vb = kv_bytes(l.v_type);
  for (int64_t i = 0; i < l.k_width; i++) k[i] = read_one(l.k_type, base + (i * kBlockTokens + place) * kb);
  base += l.v_offset;
  for (int64_t i = 0; i < l.v_width; i++) v[i] = read_one(l.v_type, base + (place * l.v_width + i) * vb);
}

// -- one task -----------------------------------------------------------------------------------------------------------

// Working memory of a task, carved from its scratch.
struct Work {
  float *keys;    // (head_dim, 32) this block's K
  float *values;  // (32, wide) its V, rows padded to whole lanes
  float *mixed;   // (tokens · heads, wide) sum of weights times V, so far
  float *top;     // (tokens · heads) highest score so far
  float *total;   // (tokens · heads) sum of weights so far
  float *weight;  // (4, 32) of the queries under way
  int64_t wide;   // v_head_dim rounded up to 16
};

HALFLAP_INLINE void fetch_block(const AttentionTask &t, const Work &w, int64_t block, int64_t filled) {
  const uint8_t *base = t.layer.base + block * t.layer.block_bytes;
  const int64_t kb = kv_bytes(t.layer.k_type), vb = kv_bytes(t.layer.v_type);
  const uint8_t *k = base + t.k_row * kBlockTokens * kb;
  for (int64_t i = 0; i < t.head_dim * kBlockTokens; i += kLanes) store(w.keys + i, read_lanes(t.layer.k_type, k + i * kb));
  const uint8_t *v = base + t.layer.v_offset + t.v_column * vb;
  for (int64_t j = 0; j < filled; j++) {
    const uint8_t *row = v + j * t.layer.v_width * vb;
    float *to = w.values + j * w.wide;
    int64_t i = 0;
    for (; i + kLanes <= t.v_head_dim; i += kLanes) store(to + i, read_lanes(t.layer.v_type, row + i * vb));
    for (; i < w.wide; i++) to[i] = i < t.v_head_dim ? read_one(t.layer.v_type, row + i * vb) : 0.0f;
  }
}

// Scores of N queries against 32 keys become weights; keys outside [low, high) weigh nothing.
template <int N>
HALFLAP_INLINE void weigh(const AttentionTask &t, const Work &w, const float *const *q, int64_t query, int64_t low,
                          int64_t high, float *fade) {
  Lanes s[N][2];
  for (int n = 0; n < N; n++) s[n][0] = s[n][1] = zero();
  for (int64_t d = 0; d < t.head_dim; d++) {
    const Lanes k0 = load(w.keys + d * kBlockTokens), k1 = load(w.keys + d * kBlockTokens + kLanes);
    for (int n = 0; n < N; n++) {
      const Lanes x = splat(q[n][d]);
      s[n][0] = fma(x, k0, s[n][0]);
      s[n][1] = fma(x, k1, s[n][1]);
    }
  }
  for (int n = 0; n < N; n++) {
    float *p = w.weight + n * kBlockTokens;
    for (int i = 0; i < 2; i++) {
      s[n][i] = mul(s[n][i], splat(t.scale));
      if (t.softcap != 0) s[n][i] = mul(splat(t.softcap), tanh_lanes(div(s[n][i], splat(t.softcap))));
      store(p + kLanes * i, s[n][i]);
    }
    for (int64_t j = 0; j < low; j++) p[j] = -INFINITY;
    for (int64_t j = high; j < kBlockTokens; j++) p[j] = -INFINITY;
    const float before = w.top[query + n], here = highest(greater(load(p), load(p + kLanes)));
    const float top = here > before ? here : before;
    const Lanes peak = splat(top);
    const Lanes e0 = exponential(sub(load(p), peak)), e1 = exponential(sub(load(p + kLanes), peak));
    store(p, e0);
    store(p + kLanes, e1);
    float change[kLanes];
    store(change, exponential(splat(before - top)));
    fade[n] = before == -INFINITY ? 0.0f : change[0];
    w.top[query + n] = top;
    w.total[query + n] = w.total[query + n] * fade[n] + sum(add(e0, e1));
  }
}

// mixed = fade · mixed + sum over keys of weight · V, keys ascending.
template <int N>
HALFLAP_INLINE void mix(const Work &w, int64_t query, int64_t low, int64_t high, const float *fade) {
  int64_t column = 0;
  const auto strip = [&](auto width) {
    constexpr int kWide = decltype(width)::value;
    Lanes sums[N][kWide];
    for (int n = 0; n < N; n++)
      for (int i = 0; i < kWide; i++)
        sums[n][i] = mul(load(w.mixed + (query + n) * w.wide + column + kLanes * i), splat(fade[n]));
    for (int64_t j = low; j < high; j++) {
      Lanes v[kWide];
      for (int i = 0; i < kWide; i++) v[i] = load(w.values + j * w.wide + column + kLanes * i);
      for (int n = 0; n < N; n++) {
        const Lanes p = splat(w.weight[n * kBlockTokens + j]);
        for (int i = 0; i < kWide; i++) sums[n][i] = fma(p, v[i], sums[n][i]);
      }
    }
    for (int n = 0; n < N; n++)
      for (int i = 0; i < kWide; i++) store(w.mixed + (query + n) * w.wide + column + kLanes * i, sums[n][i]);
    column += kLanes * kWide;
  };
  while (column + 4 * kLanes <= w.wide) strip(std::integral_constant<int, 4>{});
  while (column < w.wide) strip(std::integral_constant<int, 1>{});
}

template <int N>
HALFLAP_INLINE void meet(const AttentionTask &t, const Work &w, int64_t query, int64_t low, int64_t high) {
  const float *q[N];
  float fade[N];
  for (int n = 0; n < N; n++)
    q[n] = t.q + (query + n) / t.heads * t.q_stride + (query + n) % t.heads * t.head_dim;
  weigh<N>(t, w, q, query, low, high, fade);
  mix<N>(w, query, low, high, fade);
}

HALFLAP_INLINE void finish(const AttentionTask &t, const Work &w, int64_t query) {
  const int64_t head = query % t.heads;
  float total = w.total[query], fade = 1.0f;
  if (t.sinks) {  // one more logit that carries no value
    const float sink = t.sinks[head], before = w.top[query], top = sink > before ? sink : before;
    float e[kLanes];
    store(e, exponential(splat(before - top)));
    fade = before == -INFINITY ? 0.0f : e[0];
    store(e, exponential(splat(sink - top)));
    total = total * fade + e[0];
  }
  float *y = t.y + query / t.heads * t.y_stride + head * t.v_head_dim;
  for_lanes(t.v_head_dim, [&](int64_t i, int64_t n) {
    store_some(y + i, div(mul(load(w.mixed + query * w.wide + i), splat(fade)), splat(total)), n);
  });
}

static void attend(const AttentionTask &t) {
  Work w;
  const int64_t queries = t.tokens * t.heads;
  w.wide = round_up(t.v_head_dim, kLanes);
  w.keys = t.scratch;
  w.values = w.keys + kBlockTokens * t.head_dim;
  w.mixed = w.values + kBlockTokens * w.wide;
  w.weight = w.mixed + queries * w.wide;
  w.top = w.weight + 4 * kBlockTokens;
  w.total = w.top + queries;
  for (int64_t i = 0; i < queries * w.wide; i++) w.mixed[i] = 0;
  for (int64_t i = 0; i < queries; i++) w.top[i] = -INFINITY, w.total[i] = 0;

  const int64_t oldest = t.window ? most(0, t.index[0] - t.window + 1) : 0;
  const int64_t from = most(0, oldest - t.first_token) / kBlockTokens;
  const int64_t until = (t.index[t.tokens - 1] - t.first_token) / kBlockTokens;
  for (int64_t b = from; b <= until; b++) {
    const int64_t start = t.first_token + b * kBlockTokens;  // position of the block's first token
    const auto low = [&](int64_t q) {
      return t.window ? most(0, t.index[q / t.heads] - t.window + 1 - start) : 0;
    };
    const auto high = [&](int64_t q) { return least(kBlockTokens, t.index[q / t.heads] + 1 - start); };
    fetch_block(t, w, t.blocks[b], high(queries - 1));
    for (int64_t q = 0; q < queries;) {
      const int64_t l = low(q), h = high(q);
      if (l >= h) {
        q++;
        continue;
      }
      const bool together = q + 4 <= queries && low(q + 3) == l && high(q + 3) == h;
      together ? meet<4>(t, w, q, l, h) : meet<1>(t, w, q, l, h);
      q += together ? 4 : 1;
    }
  }
  for (int64_t q = 0; q < queries; q++) finish(t, w, q);
}

void fill_attention(Kernels &k) {
  k.store_kv = store_kv;
  k.load_kv = load_kv;
  k.attend = attend;
}

}  // namespace halflap::cpu::HALFLAP_ISA
