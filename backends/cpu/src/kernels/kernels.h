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
  int16_t wide[kChunk];  // q again, for int16 dot products
};
static_assert(sizeof(Chunk) == 64 + 256 + 512);

// The same chunk of sixteen tokens with tokens side by side, as tiles take it. A matrix is (token groups, chunks).
constexpr int kTileTokens = 16;
struct alignas(64) TileChunk {
  int8_t q[kChunk / 4][kTileTokens][4];
  int32_t start8[32][kTileTokens];  // -128 · sum of each 8 q: takes back that bytes of weights are 128 too high
  int32_t start16[16][kTileTokens];
  int32_t start32[8][kTileTokens];
  int16_t sums16[8][kTileTokens][2];  // of each 16 q, in pairs
  int16_t sums32[4][kTileTokens][2];
  float scale[kTileTokens];
};

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
  const TileChunk *tiles; // (groups of 16 tokens, chunks) the same tokens, or null
  const float *bias;      // (rows) or null
  float *y;               // (tokens, y_stride)
  int64_t y_stride;
  uint8_t *scratch;       // kMatmulScratch bytes
};
constexpr int64_t kMatmulScratch = 256 * 1024;
constexpr int kTaskRows = 128;  // most rows of one task

enum class KvType { f32, f16, bf16 };
inline int64_t kv_bytes(KvType type) { return type == KvType::f32 ? 4 : 2; }

// Where one layer's rows lie. K is kept with tokens side by side, so that scores of 32 keys fill the lanes.
struct KvLayer {
  uint8_t *base;  // block b begins at base + b·block_bytes
  int64_t block_bytes;
  int64_t k_width;  // K of a block: (k_width, 32)
  int64_t v_width;  // then V: (32, v_width) at v_offset
  int64_t v_offset;
  KvType k_type;
  KvType v_type;
};

// Queries of one KV head and one run of tokens of one sequence.
struct AttentionTask {
  const float *q;  // (tokens, q_stride), at the first query head that shares the KV head
  int64_t q_stride;
  float *y;  // (tokens, y_stride)
  int64_t y_stride;
  int64_t tokens;
  int64_t heads;  // query heads per KV head
  int64_t head_dim;
  int64_t v_head_dim;
  const int32_t *index;   // (tokens) ascending positions
  const int32_t *blocks;  // block ids of the sequence
  int64_t first_token;    // position of the first token of blocks[0]
  KvLayer layer;
  int64_t k_row;  // first row of this KV head in a block's K
  int64_t v_column;
  float scale;
  float softcap;       // 0: none
  int64_t window;      // 0: none
  const float *sinks;  // (heads) or null
  float *scratch;      // attention_scratch() floats
};
constexpr int kQueryTile = 128;  // most queries (tokens · heads) of one task, unless one token has more heads

inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

inline int64_t attention_tokens(int64_t heads) {
  const int64_t fit = kQueryTile / heads;
  return fit < 1 ? 1 : fit > 32 ? 32 : fit;
}

inline int64_t attention_scratch(int64_t heads, int64_t head_dim, int64_t v_head_dim) {  // in floats
  const int64_t wide = round_up(v_head_dim, 16), queries = attention_tokens(heads) * heads;
  return round_up(kBlockTokens * (head_dim + wide) + queries * (wide + 2) + 4 * kBlockTokens, 16);
}

enum class Activation { silu, gelu_tanh, relu, sigmoid };

struct Kernels {
  const char *name;

  // One row each; `y` may be `x`.
  void (*quantize)(const float *x, int64_t width, Chunk *y);
  // Sixteen rows of Chunks (the last groups may have fewer) to one row of TileChunks; null where tiles are not used.
  void (*pack_tiles)(const Chunk *const *rows, int64_t n_rows, int64_t n_chunks, TileChunk *y);
  void (*rms_norm)(const float *x, const float *weight, float *y, int64_t groups, int64_t width, float eps);
  void (*activate)(Activation kind, const float *x, float *y, int64_t n);
  void (*glu)(Activation kind, const float *gate, const float *up, float *y, int64_t n);
  void (*add)(const float *a, const float *b, float *y, int64_t n);
  void (*mul)(const float *a, const float *b, float *y, int64_t n);
  void (*scale)(const float *x, float factor, float *y, int64_t n);
  void (*shift)(const float *x, float amount, float *y, int64_t n);
  void (*accumulate)(const float *x, float factor, float *y, int64_t n);  // y += factor · x
  void (*softcap)(const float *x, float cap, float *y, int64_t n);
  // cos, sin: (pairs); neighbours: pairs (2i, 2i+1), else (i, i + pairs).
  void (*rope)(const float *x, float *y, int64_t heads, int64_t head_dim, int64_t pairs, bool neighbours,
               const float *cos, const float *sin);

  void (*store_kv)(const KvLayer &layer, int64_t block, int64_t place, const float *k, const float *v);
  void (*load_kv)(const KvLayer &layer, int64_t block, int64_t place, float *k, float *v);
  void (*attend)(const AttentionTask &task);

  void (*matmul[kTypes])(const MatmulTask &task);
  void (*dequantize[kTypes])(const uint8_t *row, int64_t width, float *y);
};

}  // namespace halflap::cpu
