// The ops this backend has: each is checked on its own (`supports`), then bound into a plan.
#pragma once
#include "../plan.h"

namespace halflap::cpu {

// Throws HL_UNSUPPORTED, or HL_INVALID where shapes contradict each other.
void check_node(const Graph &graph, const Node &node);

void bind_nodes(Plan &plan);

// The input that this node meets in rounded form, or -1.
int rounded_input(const Graph &graph, const Node &node);

void add_quantize(Plan &plan, int value, int rounded);
void add_rotary(Plan &plan, const std::vector<double> &frequencies, int factors, double magnitude,
                const std::vector<double> &axes, int64_t every, int buffer);

// One binder per op. Without a plan it only checks.
using Bind = void (*)(const Graph &graph, const Node &node, Plan *plan);
void bind_embed(const Graph &, const Node &, Plan *);
void bind_linear(const Graph &, const Node &, Plan *);
void bind_rms_norm(const Graph &, const Node &, Plan *);
void bind_layer_norm(const Graph &, const Node &, Plan *);
void bind_add_positions(const Graph &, const Node &, Plan *);
void bind_rope(const Graph &, const Node &, Plan *);
void bind_attention(const Graph &, const Node &, Plan *);
void bind_self_attention(const Graph &, const Node &, Plan *);
void bind_keep_rows(const Graph &, const Node &, Plan *);
void bind_mean_rows(const Graph &, const Node &, Plan *);
void bind_join_rows(const Graph &, const Node &, Plan *);
void bind_latent_attention(const Graph &, const Node &, Plan *);
void bind_grouped_linear(const Graph &, const Node &, Plan *);
void bind_compress(const Graph &, const Node &, Plan *);
void bind_select_rows(const Graph &, const Node &, Plan *);
void bind_compressed_attention(const Graph &, const Node &, Plan *);
void bind_repeat(const Graph &, const Node &, Plan *);
void bind_stream_weights(const Graph &, const Node &, Plan *);
void bind_mix_streams(const Graph &, const Node &, Plan *);
void bind_hadamard(const Graph &, const Node &, Plan *);
void bind_glu(const Graph &, const Node &, Plan *);
void bind_activate(const Graph &, const Node &, Plan *);
void bind_add(const Graph &, const Node &, Plan *);
void bind_mul(const Graph &, const Node &, Plan *);
void bind_scale(const Graph &, const Node &, Plan *);
void bind_clamp(const Graph &, const Node &, Plan *);
void bind_softcap(const Graph &, const Node &, Plan *);
void bind_position_scale(const Graph &, const Node &, Plan *);
void bind_take(const Graph &, const Node &, Plan *);
void bind_route(const Graph &, const Node &, Plan *);
void bind_moe(const Graph &, const Node &, Plan *);
void bind_split(const Graph &, const Node &, Plan *);
void bind_l2_norm(const Graph &, const Node &, Plan *);
void bind_conv_state(const Graph &, const Node &, Plan *);
void bind_delta_rule(const Graph &, const Node &, Plan *);
void bind_ssm_scan(const Graph &, const Node &, Plan *);

class Reader;

// A bias by the distance of a key from its query, spread to a row of numbers for each head.
struct DistanceBias {
  int weight = -1;  // (rows, heads), or -1: none
  int spread = -1;  // the plan's buffer: (heads, buckets)
  Type type = Type::none;
  std::vector<int64_t> buckets;

  void read(Reader &in, int input, int64_t heads);  // checks input `input` and the attribute `buckets`
  void plan(Plan *plan, int64_t heads);
  void run(const Run &run, int64_t heads) const;
  void give(const Run &run, int64_t head, AttentionTask &task) const;
};

// A checked attention. `q`, `k`, `v` and `y` may be the plan's own buffers.
struct AttentionSpec {
  int q = -1, k = -1, v = -1, sinks = -1, y = -1;
  bool stored = false;  // K and V, by K's rope
  int64_t heads = 0, kv_heads = 0, head_dim = 0, v_head_dim = 0;
  int64_t latent = 0;  // leading elements of a query that meet V rows instead of K rows
  int64_t window = 0;
  bool chunked = false;
  bool spans = false;  // tokens see all of their span
  bool cross = false;  // tokens see all rows there are
  DistanceBias bias;
  std::vector<float> slopes;
  int group = -1, layer = 0;
  float scale = 1, softcap = 0;
};
void add_attention(const Graph &graph, const AttentionSpec &spec, Plan *plan);
// The same over `count` rows that each token chose; latent, one KV head.
void add_chosen_attention(const AttentionSpec &spec, int chosen, int64_t count, Plan *plan);
int64_t read_chosen(Reader &in, int input);  // how many; 0: the input is absent

// y[t][p] = matrix p times the leading elements of x[t][p]; what follows them is copied behind the products.
struct PartsSpec {
  int x, weight, y;  // (count, parts, width + tail), (parts, rows, width), (count, parts, rows + tail)
  int64_t count;     // a number of rows, or a free size
  int64_t parts, rows, width, tail;
};
void add_parts(Plan *plan, const PartsSpec &spec);

// A checked rms_norm; `groups` 0: none.
struct Norm {
  int x = -1, weight = -1;
  int64_t groups = 0;
  float eps = 0;
  bool weight_per_group = false;

  void run(const Run &run, const float *from, float *to, int64_t wide) const;  // one row
};
Norm read_norm(const Graph &graph, const Node &node);

// K and V rows of a step on their way into a layer of the state.
struct CacheWrite {
  int k = -1, v = -1;
  int group = 0, layer = 0;

  // Once per block and run of tokens: make_k(first, end) fills K's rows of these tokens, then they are stored.
  template <class F>
  void run(const Run &run, F make_k) const {
    struct Part {
      int64_t begin, end, block, place;
    };
    const KvLayer l = run.state.layer(group, layer);
    const GroupStep &g = run.step.groups[static_cast<size_t>(group)];
    std::vector<Part> parts;
    for (int64_t s = 0; s < run.step.sequences; s++)
      for (int64_t t = run.step.seq_start[s], end = run.step.seq_start[s + 1]; t < end;) {
        const int64_t local = run.step.index[t] - g.first_token[s], place = local % kBlockTokens;
        const int64_t until = std::min(end, t + kBlockTokens - place);
        parts.push_back({t, until, g.blocks[g.table_start[s] + local / kBlockTokens], place});
        t = until;
      }
    auto store = [&](int64_t i, int) {
      const Part &part = parts[static_cast<size_t>(i)];
      make_k(part.begin, part.end);
      run.k.store_kv(l, part.block, part.place, part.end - part.begin, run.floats(k) + part.begin * l.k_width,
                     run.floats(v) + part.begin * l.v_width);
    };
    const int64_t count = static_cast<int64_t>(parts.size());
    if (run.step.tokens * (l.k_width + l.v_width) * 4 > Run::kRowWork) return run.pool.run(count, run.threads, store);
    for (int64_t i = 0; i < count; i++) store(i, 0);
  }
};
// Where a checked attention writes; k is -1 if it only reads.
CacheWrite read_cache_write(const Graph &graph, const Node &node);

// A rope that norms its input on the way (q and k norms), or that stores its result (K) and V in the cache.
void bind_rope_of(const Graph &graph, const Node &node, const Norm &norm, const CacheWrite &write, Plan *plan);
void bind_attention_of(const Graph &graph, const Node &node, bool stored, Plan *plan);

// Linears that read the same value run as one call.
void bind_linears(Plan &plan, const std::vector<const Node *> &nodes);

// Reads a node: inputs by place, attributes by name.
class Reader {
 public:
  // Throws unless the node has between `least` and `most` inputs and `outputs` outputs.
  Reader(const Graph &graph, const Node &node, size_t least, size_t most, size_t outputs);

  int input(size_t i) const { return i < node_.inputs.size() ? node_.inputs[i] : -1; }
  int output(size_t i = 0) const { return node_.outputs[i]; }
  const Value &value(int v) const { return graph_.values[static_cast<size_t>(v)]; }

  int64_t integer(const char *name);
  double number(const char *name);
  const std::string &text(const char *name);
  const std::vector<double> &numbers(const char *name);
  void no_more() const;  // throws HL_UNSUPPORTED for an attribute that nobody asked for

  // Checks that name the op in their text.
  void want(bool holds, const char *what, int64_t got, int64_t wanted) const;
  void want_activation(int v) const;  // f32, not a weight
  void want_same_shape(int a, int b) const;
  void want_vector(int v, int64_t size) const;  // f32-able weight or value of one dimension; absent is fine
  void want_vectors(int v, int64_t count, int64_t size) const;  // F32 weight of two dimensions; absent is fine
  void want_matrix(int v, size_t dims) const;   // a weight of a known storage type
  // A weight of F32 with so many elements, or a vector of that size; absent is fine.
  void want_floats(int v, int64_t elements) const;
  // The layer of a slots group that `group` and `layer` name, with so many elements.
  void want_slots(int64_t elements, int &group, int &layer);

 private:
  const Attribute &find(const char *name);

  const Graph &graph_;
  const Node &node_;
  std::vector<const Attribute *> asked_;
};

Activation read_activation(Reader &reader, bool gated);

}  // namespace halflap::cpu
