// What a compiled set of kernels offers. One table per instruction set; `dispatch.cpp` picks one when a device opens.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../formats/types.h"

namespace halflap::cpu {

constexpr int kChunk = 256;       // activations share one scale per 256 along K
constexpr int kBlockTokens = 32;  // tokens of a KV block
constexpr int kPanelRows = 32;    // weight rows unpacked together

// 256 activations as integers: value ≈ scale · q. Rows of a quantised matrix are arrays of these, zero-padded at the end.
struct alignas(64) Chunk {
  float scale;
  float reserved[3];
  int16_t sums32[8];     // of each 32 q
  int16_t sums16[16];    // of each 16 q
  int8_t q[kChunk];
  int16_t wide[kChunk];  // q again, where a set multiplies int16 pairs
};
static_assert(sizeof(Chunk) == 64 + 256 + 512);

// The same chunk of sixteen tokens with tokens side by side, as tiles take it. A matrix is (token groups, chunks).
// Narrow, for few tokens: q and their sums lie as each set of kernels says.
constexpr int kTileTokens = 16;
struct alignas(64) TileChunk {
  int8_t q[kChunk / 4][kTileTokens][4];
  int32_t start8[32][kTileTokens];       // -128 · sum of each 8 q: takes back that bytes of weights are 128 too high
  int32_t start16[16][kTileTokens];
  int32_t start32[8][kTileTokens];
  int16_t sums16[8][kTileTokens][2];     // of each 16 q, in pairs
  int16_t sums32[4][kTileTokens][2];
  float scale[kTileTokens];
};

// F16 and BF16 weights on AMX take float activations as tiles of bf16: for each group of 16 tokens and each 32 of K the upper
// parts of precision, then the lower ones, each (16 pairs along K, tokens, 2). Up to 16 tokens lie without gaps.
constexpr int64_t kHalfTile = 2 * 16 * kTileTokens * 2;  // most elements of both parts
inline int64_t half_tiles(int64_t width) { return (width + 31) / 32; }

inline int64_t chunks(int64_t width) { return (width + kChunk - 1) / kChunk; }

// Some rows of a weight times every token: y[t][r] = sum over k of weight[r][k] · x[t][k] + bias[r].
struct MatmulTask {
  const uint8_t *weight;  // (rows, row_bytes) first row of this task
  int64_t row_bytes;
  int64_t rows;
  int64_t width;          // K
  const void *x;          // float or Chunk: (tokens, x_stride)
  int64_t x_stride;
  const int32_t *gather;  // (tokens) rows of x to take, or null: 0, 1, 2 …
  int64_t tokens;
  const TileChunk *tiles; // (groups of 16 tokens, chunks) the same tokens, narrow up to narrow_tokens; or null
  const uint16_t *halves; // (groups of 16 tokens, tiles along K) the same tokens, where the kernels have pack_halves
  const float *bias;      // (rows) or null
  float *y;               // (tokens, y_stride)
  int64_t y_stride;
  uint8_t *scratch;       // kMatmulScratch bytes
};
constexpr int64_t kMatmulScratch = 256 * 1024;
constexpr int kTaskRows = 128;  // most rows of one task

// How KV rows are stored. The quantised kinds are GGUF's blocks of 32 along a row: codes and f16 scales.
enum class KvType { f32, f16, bf16, q8_0, q4_0 };
constexpr int kKvBlock = 32;  // elements that share a scale
constexpr bool is_quantised(KvType type) { return type == KvType::q8_0 || type == KvType::q4_0; }
constexpr int64_t kv_bits(KvType type) {
  return type == KvType::f32 ? 32 : type == KvType::q8_0 ? 8 : type == KvType::q4_0 ? 4 : 16;
}
// Bytes of the codes of `n` elements, and of the scales of n elements.
constexpr int64_t kv_codes(KvType type, int64_t n) { return n * kv_bits(type) / 8; }
constexpr int64_t kv_scales(KvType type, int64_t n) { return is_quantised(type) ? n / kKvBlock * 2 : 0; }

// Where one layer's rows lie. K is kept with tokens side by side, so that scores of 32 keys fill the lanes.
struct KvLayer {
  uint8_t *base;  // block b begins at base + b·block_bytes
  int64_t block_bytes;
  int64_t k_width;  // K of a block: codes (k_width, 32), q4_0: (k_width/32, 16, 32) with elements i and i+16 in a byte;
  int64_t v_width;  // then scales (k_width/32, 32). V: codes of 32 columns at a time, (v_width/32, 32, 32), so that a
                    // head's rows lie together (the last columns may be fewer), then scales (v_width/32, 32)
  int64_t v_offset;
  KvType k_type;
  KvType v_type;

  uint8_t *k(int64_t block) const { return base + block * block_bytes; }
  uint8_t *k_scales(int64_t block) const { return k(block) + kv_codes(k_type, kBlockTokens * k_width); }
  uint8_t *v(int64_t block) const { return k(block) + v_offset; }
  // Codes of a row's column, and how many bytes on the next row's are.
  uint8_t *v_codes(int64_t block, int64_t row, int64_t column) const {
    const int64_t from = column / kKvBlock * kKvBlock;
    return v(block) + kv_codes(v_type, from * kBlockTokens + row * v_run(column) + column - from);
  }
  int64_t v_run(int64_t column) const {  // columns that lie together
    const int64_t left = v_width - column / kKvBlock * kKvBlock;
    return left < kKvBlock ? left : kKvBlock;
  }
  uint8_t *v_scales(int64_t block) const { return v(block) + kv_codes(v_type, kBlockTokens * v_width); }
};

// Queries of one KV head and one run of tokens of one sequence, over some of their spans of keys.
struct AttentionTask {
  const float *q;  // (tokens, q_stride), at the first query head that shares the KV head
  int64_t q_stride;
  float *y;  // (tokens, y_stride)
  int64_t y_stride;
  int64_t tokens;
  int64_t heads;  // query heads per KV head
  int64_t head_dim;
  int64_t v_head_dim;
  int64_t latent;         // leading elements of a query that meet the V row; the others meet K (0: all of them)
  const int32_t *index;   // (tokens) ascending positions
  const int32_t *ends;    // (tokens) ascending: the first position that each token does not see; null: that after its own
  const int32_t *blocks;  // block ids of the sequence
  int64_t first_token;    // position of the first token of blocks[0]
  KvLayer layer;
  int64_t k_row;  // first row of this KV head in a block's K
  int64_t v_column;
  float scale;
  float softcap;       // 0: none
  int64_t window;      // 0: none
  bool chunked;        // a window begins at a multiple of itself instead of that many tokens ago
  const float *sinks;  // (heads) or null
  const float *bias;   // (heads, 2·reach + 1), added to a score by its key's place less its query's; or null
  int64_t reach;       // what is further away takes the first or the last
  const float *slopes; // (heads), times that distance added to a score; or null
  int64_t first_span;  // spans [first_span, last_span) of kSpan keys, counted from position 0
  int64_t last_span;
  float *scratch;      // attention_scratch() floats
};
constexpr int kSpan = 256;        // keys that share one softmax step
constexpr int kQueryTile = 128;  // most queries (tokens · heads) of one task, unless one token has more heads

// The first position that a token sees.
inline int64_t oldest_seen(int64_t index, int64_t window, bool chunked) {
  if (!window) return 0;
  return chunked ? index / window * window : index < window ? 0 : index - window + 1;
}

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

inline int64_t attention_tokens(int64_t heads) {
  const int64_t fit = kQueryTile / heads;
  return fit < 1 ? 1 : fit > 32 ? 32 : fit;
}

// What a query has seen of some keys, in floats: the weighted sum of V, the highest score, the sum of weights.
inline int64_t attention_record(int64_t v_head_dim) { return round_up(v_head_dim, 16) + 16; }

inline int64_t attention_scratch(int64_t heads, int64_t head_dim, int64_t v_head_dim) {  // in floats
  const int64_t queries = attention_tokens(heads) * heads;
  const int64_t each = head_dim + kSpan + 2 * attention_record(v_head_dim) + 2;
  return round_up(kBlockTokens * (head_dim + round_up(v_head_dim, 16)) + queries * each, 16);
}

// swiglu_oai: x · sigmoid(1.702 x), gating what goes with it plus one.
enum class Activation { silu, gelu, gelu_tanh, relu, relu2, sigmoid, softplus, swiglu_oai };

// Some tokens of one sequence in one layer of a slots group. Every task below carries the state of its part of the row
// from `source` (null: zero) to `target`, which may be the same memory; with no tokens it copies.
constexpr int kStateColumns = 64;  // most columns of one delta_rule or ssm_scan task
constexpr int kConvChannels = 256;
constexpr int kMostTaps = 64;

// Channels of conv_state: weight (channels, taps), state (taps - 1, row_stride).
struct ConvTask {
  const float *x;  // (tokens, stride)
  float *y;
  int64_t stride;
  int64_t tokens;
  int64_t channels;  // at most kConvChannels
  int64_t taps;
  const float *weight;
  const float *bias;  // (channels) or null
  bool silu;
  const float *source;
  float *target;
  float *scratch;  // conv_scratch() floats
};
inline int64_t conv_scratch(int64_t taps) { return 2 * taps * kConvChannels; }

// Columns of one head's state in delta_rule: (size, row_stride), row_stride being the size of v's heads.
struct DeltaTask {
  const float *q, *k;  // (tokens, qk_stride) of this head
  const float *v;      // (tokens, v_stride) of these columns
  float *y;
  const float *decay, *beta;  // (tokens, rate_stride)
  int64_t qk_stride, v_stride, rate_stride;
  int64_t tokens;
  int64_t size;     // of k's heads: rows of the state
  int64_t columns;  // at most kStateColumns
  int64_t row_stride;
  float scale;
  const float *source;
  float *target;
  float *scratch;  // size · kStateColumns floats
};

// Columns of one head's state in ssm_scan: (states, row_stride).
struct ScanTask {
  const float *x;  // (tokens, stride) of these columns
  float *y;
  const float *dt;     // (tokens, dt_stride): one for all columns, or one each
  const float *b, *c;  // (tokens, bc_stride) of this head's group
  const float *a;      // one for all, or (columns, states)
  const float *d, *dt_bias;  // one for all or one each; or null
  bool dt_each, a_each, d_each;
  int64_t stride, dt_stride, bc_stride;
  int64_t tokens;
  int64_t states;
  int64_t columns;  // at most kStateColumns
  int64_t row_stride;
  const float *source;
  float *target;
  float *scratch;  // 2 · states · kStateColumns floats
};

// Elements of a window's row: kv and gate (tokens, stride), bias (rate, stride), y (tokens, width), state (sums, 3, width).
constexpr int64_t kCompressElements = 256;
struct CompressTask {
  const float *kv, *gate, *bias;
  float *y;
  const int32_t *index;  // (tokens) places in the sequence
  int64_t stride, width;
  int64_t rate, tokens;
  int64_t elements;  // at most kCompressElements
  bool overlap;      // rows have two halves: the first for the next window, the second for this one
  const float *source;
  float *target;
  float *scratch;  // 6 · kCompressElements floats
};

// The highest of a row of logits, after changes to single ones and a mask: see hl_candidates.
constexpr int64_t kCandidateBlock = 512;
struct Candidate {
  float logit;
  int32_t id;
};
struct Edit {
  int32_t id;
  float bias, repeat, offset;
};
struct CandidatesTask {
  const float *row;  // (vocab)
  int64_t vocab;
  const Edit *edits;  // (n_edits) by ascending ids; those of one id in the order in which they are made
  int64_t n_edits;
  const uint8_t *mask;  // a bit for each token; or null
  int64_t count;        // 1 to vocab
  float temperature;    // 0: no sums
  // Brings the `count` highest of `size` to the front, the last of them to its place.
  void (*select)(Candidate *found, int64_t size, int64_t count);
  Candidate *found;  // candidates_space(count); on return the first n_found hold the highest, in no order
  int64_t n_found;   // at least count; 0 if the row has a NaN
  double log_sum, log_sum_at;
  int64_t nans;
};
inline int64_t candidates_slack(int64_t count) { return count < 64 ? 64 : count; }
inline int64_t candidates_space(int64_t count) { return count + candidates_slack(count) + kCandidateBlock; }

struct Kernels {
  const char *name;

  // One row each; `y` may be `x`.
  void (*quantize)(const float *x, int64_t width, Chunk *y);
  // Sixteen rows of Chunks (the last groups may have fewer) to one row of TileChunks; null where tiles are not used.
  void (*pack_tiles)(const Chunk *const *rows, int64_t n_rows, int64_t n_chunks, bool narrow, TileChunk *y);
  int64_t tiles_from;  // tokens from which tiles are faster
  int64_t narrow_tokens;  // up to which they are narrow
  // Up to sixteen rows of floats to tiles of bf16 with `columns` tokens; null where F16 and BF16 weights meet floats.
  void (*pack_halves)(const float *const *rows, int64_t n_rows, int64_t columns, int64_t width, uint16_t *y);
  void (*rms_norm)(const float *x, const float *weight, float *y, int64_t groups, int64_t width, float eps);
  // weight and bias: null, or rows of `width` that lie `stride` apart for each group (0: one for all).
  void (*layer_norm)(const float *x, const float *weight, int64_t weight_stride, const float *bias, int64_t bias_stride,
                     float *y, int64_t groups, int64_t width, float eps);
  void (*l2_norm)(const float *x, float *y, int64_t groups, int64_t width, float eps);
  void (*activate)(Activation kind, const float *x, float *y, int64_t n);
  // A limit above 0 caps the gate and clamps `up`.
  void (*glu)(Activation kind, float limit, const float *gate, const float *up, float *y, int64_t n);
  void (*add)(const float *a, const float *b, float *y, int64_t n);
  void (*mul)(const float *a, const float *b, float *y, int64_t n);
  void (*scale)(const float *x, float factor, float *y, int64_t n);
  void (*shift)(const float *x, float amount, float *y, int64_t n);
  void (*accumulate)(const float *x, float factor, float *y, int64_t n);  // y += factor · x
  void (*softcap)(const float *x, float cap, float *y, int64_t n);
  // cos, sin: (pairs); neighbours: pairs (2i, 2i+1), else (i, i + pairs); the first one begins `offset` into a head.
  void (*rope)(const float *x, float *y, int64_t heads, int64_t head_dim, int64_t pairs, int64_t offset, bool neighbours,
               const float *cos, const float *sin);

  // `count` rows that follow each other in a block.
  void (*store_kv)(const KvLayer &layer, int64_t block, int64_t place, int64_t count, const float *k, const float *v);
  void (*load_kv)(const KvLayer &layer, int64_t block, int64_t place, float *k, float *v);
  // All spans of a task, to its y.
  void (*attend)(const AttentionTask &task);
  // Each span of a task to records (last_span - first_span, tokens · heads, attention_record); then those to y.
  // Both ways give the same bits.
  void (*attend_spans)(const AttentionTask &task, float *records);
  void (*merge_spans)(const AttentionTask &task, const float *records);
  // Walsh-Hadamard transform of each `block` (a power of two) of a row, over its square root; `y` may be `x`.
  void (*hadamard)(const float *x, float *y, int64_t width, int64_t block);

  void (*conv_state)(const ConvTask &task);
  void (*delta_rule)(const DeltaTask &task);
  void (*ssm_scan)(const ScanTask &task);
  void (*compress)(const CompressTask &task);
  // y (32): scores of 32 keys (dim, 32) under q (heads, dim) and a weight per head.
  void (*index_scores)(const float *q, const float *weights, int64_t heads, int64_t dim, const float *keys, float *y);

  void (*candidates)(CandidatesTask &task);

  void (*matmul[kTypes])(const MatmulTask &task);
  void (*dequantize[kTypes])(const uint8_t *row, int64_t width, float *y);
};

}  // namespace halflap::cpu
