// KV rows into and out of storage.
#include "kv.h"

#include "table.h"

namespace halflap::cpu::HALFLAP_ISA {

namespace {

void write_plain(KvType type, uint8_t *p, float v) {
  if (type == KvType::f32) {
    memcpy(p, &v, 4);
    return;
  }
  const uint16_t h = type == KvType::f16 ? float_to_half(v) : float_to_bfloat(v);
  memcpy(p, &h, 2);
}

struct Codes {
  uint16_t scale;
  int8_t q[kKvBlock];  // q4_0: 0 to 15, 8 above the meaning
};

// As core's Q8_0 and Q4_0 round (ggml's rule): codes are made with the scale before it is itself rounded to f16.
Codes quantize_block(KvType type, const float *x) {
  Codes codes{};
  float peak = 0;
  for (int i = 0; i < kKvBlock; i++)
    if (std::fabs(x[i]) > std::fabs(peak)) peak = x[i];
  const float d = type == KvType::q8_0 ? std::fabs(peak) / 127.0f : peak / -8.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
  codes.scale = float_to_half(d);
  for (int i = 0; i < kKvBlock; i++) {
    const float scaled = x[i] * inverse;
    // Comparisons send NaN and infinity to the ends: their conversion would be undefined.
    if (type == KvType::q8_0) {
      const float away = std::floor(std::fabs(scaled) + 0.5f), whole = away < 127.0f ? away : 127.0f;
      codes.q[i] = static_cast<int8_t>(scaled < 0 ? -whole : whole);
    } else {
      const float shifted = scaled + 8.5f, low = shifted > 0.0f ? shifted : 0.0f;
      codes.q[i] = static_cast<int8_t>(low < 15.0f ? low : 15.0f);
    }
  }
  return codes;
}

uint8_t code_byte(KvType type, const Codes &codes, int j) {
  return static_cast<uint8_t>(type == KvType::q8_0 ? codes.q[j] : codes.q[j] | (codes.q[j + kKvBlock / 2] << 4));
}

// Of element i, whose byte this is.
int code_value(KvType type, int i, uint8_t byte) {
  if (type == KvType::q8_0) return static_cast<int8_t>(byte);
  return (i < kKvBlock / 2 ? byte & 15 : byte >> 4) - 8;
}

// One row of K or V. `plain(i)`: where element i lies; of the quantised kinds `byte(b, j)`: byte j of quant block b,
// and `scale(b)` its scale.
struct KRow {
  const KvLayer &l;
  int64_t block, place;

  KvType type() const { return l.k_type; }
  int64_t width() const { return l.k_width; }
  uint8_t *plain(int64_t i) const { return l.k(block) + kv_codes(l.k_type, i * kBlockTokens + place); }
  uint8_t *byte(int64_t b, int j) const { return l.k(block) + (kv_codes(l.k_type, b * kKvBlock) + j) * kBlockTokens + place; }
  uint8_t *scale(int64_t b) const { return l.k_scales(block) + (b * kBlockTokens + place) * 2; }
};

struct VRow {
  const KvLayer &l;
  int64_t block, place;

  KvType type() const { return l.v_type; }
  int64_t width() const { return l.v_width; }
  uint8_t *plain(int64_t i) const { return l.v_codes(block, place, i); }
  uint8_t *byte(int64_t b, int j) const { return l.v_codes(block, place, b * kKvBlock) + j; }
  uint8_t *scale(int64_t b) const { return l.v_scales(block) + (b * kBlockTokens + place) * 2; }
};

// Sixteen neighbours that are not quantised.
HALFLAP_INLINE void write_lanes(KvType type, uint8_t *p, const float *x) {
  if (type == KvType::f32) {
    memcpy(p, x, kLanes * 4);
  } else if (type == KvType::f16) {
    to_half(reinterpret_cast<uint16_t *>(p), load(x));
  } else {
    for (int i = 0; i < kLanes; i++) write_plain(type, p + 2 * i, x[i]);
  }
}

// Rows of V lie in runs of up to 32 columns.
void write_plain_v(const KvLayer &l, int64_t block, int64_t row, const float *v) {
  const int64_t size = kv_bits(l.v_type) / 8;
  int64_t i = 0;
  for (; i + kLanes <= l.v_width; i += kLanes) write_lanes(l.v_type, l.v_codes(block, row, i), v + i);
  for (uint8_t *p = l.v_codes(block, row, i); i < l.v_width; i++, p += size) write_plain(l.v_type, p, v[i]);
}

// Tokens of K lie side by side: an element of all rows is one line of the cache.
void write_plain_k(const KvLayer &l, int64_t block, int64_t place, int64_t count, const float *k) {
  const int64_t size = kv_bits(l.k_type) / 8;
  alignas(64) float column[kBlockTokens] = {};
  alignas(64) uint8_t line[kBlockTokens * 4];
  for (int64_t i = 0; i < l.k_width; i++) {
    uint8_t *to = l.k(block) + (i * kBlockTokens + place) * size;
    for (int64_t t = 0; t < count; t++) column[t] = k[t * l.k_width + i];
    if (count == 1) {
      write_plain(l.k_type, to, column[0]);
      continue;
    }
    for (int64_t t = 0; t < count; t += kLanes) write_lanes(l.k_type, line + t * size, column + t);
    memcpy(to, line, static_cast<size_t>(count * size));
  }
}

template <class Row>
void write_quantised(const Row &row, const float *x) {
  for (int64_t b = 0; b < row.width() / kKvBlock; b++) {
    const Codes codes = quantize_block(row.type(), x + b * kKvBlock);
    memcpy(row.scale(b), &codes.scale, 2);
    for (int j = 0; j < kv_codes(row.type(), kKvBlock); j++) *row.byte(b, j) = code_byte(row.type(), codes, j);
  }
}

template <class Row>
void read_row(const Row &row, float *x) {
  for (int64_t i = 0; i < row.width(); i++) {
    if (!is_quantised(row.type())) {
      x[i] = read_plain(row.type(), row.plain(i));
      continue;
    }
    const int64_t b = i / kKvBlock;
    const int at = static_cast<int>(i % kKvBlock);
    const uint8_t byte = *row.byte(b, at % static_cast<int>(kv_codes(row.type(), kKvBlock)));
    x[i] = half_to_float(load16(row.scale(b))) * static_cast<float>(code_value(row.type(), at, byte));
  }
}

void store_kv(const KvLayer &l, int64_t block, int64_t place, int64_t count, const float *k, const float *v) {
  if (!is_quantised(l.k_type)) write_plain_k(l, block, place, count, k);
  for (int64_t t = 0; t < count; t++) {
    if (is_quantised(l.k_type)) write_quantised(KRow{l, block, place + t}, k + t * l.k_width);
    is_quantised(l.v_type) ? write_quantised(VRow{l, block, place + t}, v + t * l.v_width)
                           : write_plain_v(l, block, place + t, v + t * l.v_width);
  }
}

void load_kv(const KvLayer &l, int64_t block, int64_t place, float *k, float *v) {
  read_row(KRow{l, block, place}, k);
  read_row(VRow{l, block, place}, v);
}

}  // namespace

void fill_kv(Kernels &k) {
  k.store_kv = store_kv;
  k.load_kv = load_kv;
}

}  // namespace halflap::cpu::HALFLAP_ISA
