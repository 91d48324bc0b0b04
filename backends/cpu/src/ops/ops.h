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
                const std::vector<double> &axes, int buffer);

// One binder per op. Without a plan it only checks.
using Bind = void (*)(const Graph &graph, const Node &node, Plan *plan);
void bind_embed(const Graph &, const Node &, Plan *);
void bind_linear(const Graph &, const Node &, Plan *);
void bind_rms_norm(const Graph &, const Node &, Plan *);
void bind_rope(const Graph &, const Node &, Plan *);
void bind_attention(const Graph &, const Node &, Plan *);
void bind_hadamard(const Graph &, const Node &, Plan *);
void bind_glu(const Graph &, const Node &, Plan *);
void bind_activate(const Graph &, const Node &, Plan *);
void bind_add(const Graph &, const Node &, Plan *);
void bind_mul(const Graph &, const Node &, Plan *);
void bind_scale(const Graph &, const Node &, Plan *);
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

// A checked rms_norm; `groups` 0: none.
struct Norm {
  int x = -1, weight = -1;
  int64_t groups = 0;
  float eps = 0;
  bool weight_per_group = false;

  void run(const Run &run, const float *from, float *to, int64_t wide) const;  // one row
};
Norm read_norm(const Graph &graph, const Node &node);

// A rope that norms its input on the way (q and k norms).
void bind_rope_of(const Graph &graph, const Node &node, const Norm &norm, Plan *plan);

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

Activation read_activation(Reader &reader);

}  // namespace halflap::cpu
