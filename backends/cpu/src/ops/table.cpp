// Which ops exist, and the walk over a graph that binds them.
#include <cstring>

#include "ops.h"

namespace halflap::cpu {

namespace {

struct Entry {
  const char *name;
  int version;
  Bind bind;
};

constexpr Entry kTable[] = {
    {"embed", 1, bind_embed},       {"linear", 1, bind_linear},   {"rms_norm", 1, bind_rms_norm},
    {"rope", 1, bind_rope},         {"attention", 1, bind_attention}, {"glu", 1, bind_glu},
    {"activate", 1, bind_activate}, {"add", 1, bind_add},         {"mul", 1, bind_mul},
    {"scale", 1, bind_scale},       {"softcap", 1, bind_softcap}, {"position_scale", 1, bind_position_scale},
    {"hadamard", 1, bind_hadamard}, {"take", 1, bind_take},         {"route", 1, bind_route},     {"moe", 1, bind_moe},
    {"self_attention", 1, bind_self_attention}, {"keep_rows", 1, bind_keep_rows}, {"mean_rows", 1, bind_mean_rows}, {"join_rows", 1, bind_join_rows},
    {"layer_norm", 1, bind_layer_norm}, {"clamp", 1, bind_clamp},
    {"add_positions", 1, bind_add_positions},
    {"latent_attention", 1, bind_latent_attention}, {"grouped_linear", 1, bind_grouped_linear},
    {"compress", 1, bind_compress}, {"select_rows", 1, bind_select_rows},
    {"compressed_attention", 1, bind_compressed_attention},
    {"repeat", 1, bind_repeat}, {"stream_weights", 1, bind_stream_weights}, {"mix_streams", 1, bind_mix_streams},
    {"split", 1, bind_split},       {"l2_norm", 1, bind_l2_norm}, {"conv_state", 1, bind_conv_state},
    {"delta_rule", 1, bind_delta_rule}, {"ssm_scan", 1, bind_ssm_scan},
};

const Entry &find(const Node &node) {
  for (const Entry &entry : kTable) {
    if (node.op != entry.name) continue;
    if (node.version != entry.version)
      fail(HL_UNSUPPORTED, "op %s: got version %d, want %d", entry.name, node.version, entry.version);
    return entry;
  }
  fail(HL_UNSUPPORTED, "op: got '%.100s', want one that device 'cpu' has", node.op.c_str());
}

}  // namespace

// The attention that stores this rope's result as K, if it can be stored at once: V is made by then, and no other attention
// comes between; else the number of nodes.
static size_t stores_next(const std::vector<Node> &nodes, size_t rope) {
  for (size_t i = rope + 1; i < nodes.size(); i++) {
    if (nodes[i].op != "attention") continue;
    if (nodes[i].inputs.size() < 3 || nodes[i].inputs[1] != nodes[rope].outputs[0] || nodes[i].inputs[2] < 0) break;
    for (size_t j = rope + 1; j < i; j++)
      for (int made : nodes[j].outputs)
        if (made == nodes[i].inputs[2]) return nodes.size();
    return i;
  }
  return nodes.size();
}

void check_node(const Graph &graph, const Node &node) { find(node).bind(graph, node, nullptr); }

void bind_nodes(Plan &plan) {
  const std::vector<Node> &nodes = plan.graph.nodes;
  std::vector<int> uses(plan.graph.values.size());
  for (const Node &node : nodes)
    for (int v : node.inputs)
      if (v >= 0) uses[static_cast<size_t>(v)]++;
  for (int v : plan.graph.outputs) uses[static_cast<size_t>(v)]++;
  std::vector<const Node *> norm_of(plan.graph.values.size());  // by value that only one rope reads
  for (const Node &node : nodes)
    if (node.op == "rope" && uses[static_cast<size_t>(node.inputs[0])] == 1)
      for (const Node &norm : nodes)
        if (norm.op == "rms_norm" && norm.outputs[0] == node.inputs[0]) norm_of[static_cast<size_t>(norm.outputs[0])] = &norm;
  std::vector<bool> stored(nodes.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    if (nodes[i].op == "linear") {
      std::vector<const Node *> together{&nodes[i]};
      while (i + 1 < nodes.size() && nodes[i + 1].op == "linear" && nodes[i + 1].inputs[0] == nodes[i].inputs[0])
        together.push_back(&nodes[++i]);
      bind_linears(plan, together);
    } else if (nodes[i].op == "rms_norm" && norm_of[static_cast<size_t>(nodes[i].outputs[0])]) {
      continue;  // with its rope
    } else if (nodes[i].op == "rope") {
      const Node *norm = norm_of[static_cast<size_t>(nodes[i].inputs[0])];
      const size_t reader = uses[static_cast<size_t>(nodes[i].outputs[0])] == 1 ? stores_next(nodes, i) : nodes.size();
      if (reader < nodes.size()) stored[reader] = true;
      bind_rope_of(plan.graph, nodes[i], norm ? read_norm(plan.graph, *norm) : Norm{},
                   reader < nodes.size() ? read_cache_write(plan.graph, nodes[reader]) : CacheWrite{}, &plan);
    } else if (nodes[i].op == "attention") {
      bind_attention_of(plan.graph, nodes[i], stored[i], &plan);
    } else {
      find(nodes[i]).bind(plan.graph, nodes[i], &plan);
    }
  }
}

int rounded_input(const Graph &graph, const Node &node) {
  const size_t weight = node.op == "linear" ? 1 : node.op == "moe" ? 4 : 0;
  if (weight == 0 || node.inputs.size() <= weight) return -1;
  return is_quantised(graph.values[static_cast<size_t>(node.inputs[weight])].type) ? node.inputs[0] : -1;
}

// -- Reader ---------------------------------------------------------------------------------------------------------------

Reader::Reader(const Graph &graph, const Node &node, size_t least, size_t most, size_t outputs) : graph_(graph), node_(node) {
  if (node.inputs.size() < least || node.inputs.size() > most || node.outputs.size() != outputs)
    fail(HL_INVALID, "op %s: got %zu inputs and %zu outputs, want %zu to %zu and %zu", node.op.c_str(), node.inputs.size(),
         node.outputs.size(), least, most, outputs);
  for (size_t i = 0; i < least; i++)
    if (node.inputs[i] < 0) fail(HL_INVALID, "input %zu of op %s: got none, want a value", i, node.op.c_str());
  for (int v : node.outputs)
    if (value(v).kind != HL_RESULT) fail(HL_INVALID, "output of op %s: got kind %d, want a result", node.op.c_str(), value(v).kind);
}

const Attribute &Reader::find(const char *name) {
  for (const Attribute &a : node_.attributes)
    if (a.name == name) {
      asked_.push_back(&a);
      return a;
    }
  fail(HL_INVALID, "op %s: got no attribute '%s', want it", node_.op.c_str(), name);
}

int64_t Reader::integer(const char *name) {
  const Attribute &a = find(name);
  if (a.type != HL_ATTR_INT) fail(HL_INVALID, "attribute %s of %s: got type %d, want an integer", name, node_.op.c_str(), a.type);
  return a.integer;
}

double Reader::number(const char *name) {
  const Attribute &a = find(name);
  if (a.type == HL_ATTR_INT) return static_cast<double>(a.integer);
  if (a.type != HL_ATTR_FLOAT) fail(HL_INVALID, "attribute %s of %s: got type %d, want a number", name, node_.op.c_str(), a.type);
  return a.number;
}

const std::string &Reader::text(const char *name) {
  const Attribute &a = find(name);
  if (a.type != HL_ATTR_STRING) fail(HL_INVALID, "attribute %s of %s: got type %d, want a string", name, node_.op.c_str(), a.type);
  return a.string;
}

const std::vector<double> &Reader::numbers(const char *name) {
  const Attribute &a = find(name);
  if (a.type != HL_ATTR_FLOATS) fail(HL_INVALID, "attribute %s of %s: got type %d, want numbers", name, node_.op.c_str(), a.type);
  return a.numbers;
}

void Reader::no_more() const {
  for (const Attribute &a : node_.attributes) {
    bool known = false;
    for (const Attribute *other : asked_) known = known || other == &a;
    if (!known) fail(HL_UNSUPPORTED, "op %s: got attribute '%.100s', want only known ones", node_.op.c_str(), a.name.c_str());
  }
}

void Reader::want(bool holds, const char *what, int64_t got, int64_t wanted) const {
  if (!holds)
    fail(HL_INVALID, "%s of op %s: got %lld, want %lld", what, node_.op.c_str(), static_cast<long long>(got),
         static_cast<long long>(wanted));
}

void Reader::want_activation(int v) const {
  if (value(v).type != Type::F32 || value(v).kind == HL_WEIGHT)
    fail(HL_UNSUPPORTED, "value %.150s of op %s: got %.20s, want f32 activations", value(v).name.c_str(), node_.op.c_str(),
         value(v).dtype.c_str());
}

void Reader::want_same_shape(int a, int b) const {
  if (value(a).dims != value(b).dims)
    fail(HL_INVALID, "shapes of op %s: got %.150s and %.150s, want equal ones", node_.op.c_str(), value(a).name.c_str(),
         value(b).name.c_str());
}

void Reader::want_vectors(int v, int64_t count, int64_t size) const {
  if (v < 0) return;
  const Value &x = value(v);
  if (x.kind != HL_WEIGHT || x.dims.size() != 2 || x.dims[0] != count || x.dims[1] != size)
    fail(HL_INVALID, "%.150s of op %s: got another shape, want a weight [%lld, %lld]", x.name.c_str(), node_.op.c_str(),
         static_cast<long long>(count), static_cast<long long>(size));
  if (x.type != Type::F32)
    fail(HL_UNSUPPORTED, "%.150s of op %s: got %.20s, want F32", x.name.c_str(), node_.op.c_str(), x.dtype.c_str());
}

void Reader::want_vector(int v, int64_t size) const {
  if (v < 0) return;
  const Value &x = value(v);
  if (x.dims.size() == 2 && x.dims[0] == 1) return want_vectors(v, 1, size);
  if (x.dims.size() != 1 || x.dims[0] != size)
    fail(HL_INVALID, "%.150s of op %s: got another shape, want [%lld]", x.name.c_str(), node_.op.c_str(),
         static_cast<long long>(size));
  if (x.type == Type::none || x.type == Type::I32 || is_quantised(x.type))
    fail(HL_UNSUPPORTED, "%.150s of op %s: got %.20s, want F32, F16 or BF16", x.name.c_str(), node_.op.c_str(), x.dtype.c_str());
}

void Reader::want_matrix(int v, size_t dims) const {
  const Value &x = value(v);
  if (x.kind != HL_WEIGHT || x.dims.size() != dims)
    fail(HL_UNSUPPORTED, "%.150s of op %s: got %zu dimensions, want a weight of %zu", x.name.c_str(), node_.op.c_str(),
         x.dims.size(), dims);
  if (x.type == Type::none || x.type == Type::I32)
    fail(HL_UNSUPPORTED, "%.150s of op %s: got type '%.20s', want one that device 'cpu' reads", x.name.c_str(),
         node_.op.c_str(), x.dtype.c_str());
  if (x.dims.back() % info(x.type).block)
    fail(HL_INVALID, "width of %.150s: got %lld, want a multiple of %d", x.name.c_str(), static_cast<long long>(x.dims.back()),
         info(x.type).block);
}

void Reader::want_floats(int v, int64_t elements) const {
  if (v < 0) return;
  const Value &x = value(v);
  if (x.dims.size() == 1) return want_vector(v, elements);
  int64_t product = 1;
  for (int64_t dim : x.dims) product *= dim;
  want(x.kind == HL_WEIGHT && product == elements, x.name.c_str(), product, elements);
  if (x.type != Type::F32)
    fail(HL_UNSUPPORTED, "%.150s of op %s: got %.20s, want F32", x.name.c_str(), node_.op.c_str(), x.dtype.c_str());
}

void Reader::want_slots(int64_t elements, int &group, int &layer) {
  const std::string &name = text("group");
  const int64_t place = integer("layer");
  group = graph_.group(name);
  if (group < 0 || graph_.groups[static_cast<size_t>(group)].kind != HL_SLOTS)
    fail(HL_INVALID, "group of op %s: got '%.100s', want one of the graph's of slots", node_.op.c_str(), name.c_str());
  const std::vector<Layer> &layers = graph_.groups[static_cast<size_t>(group)].layers;
  want(place >= 0 && place < static_cast<int64_t>(layers.size()), "layer", place, static_cast<int64_t>(layers.size()) - 1);
  layer = static_cast<int>(place);
  want(layers[static_cast<size_t>(place)].k_width == elements, "elements of a slot", layers[static_cast<size_t>(place)].k_width,
       elements);
}

Activation read_activation(Reader &reader, bool gated) {
  const std::string &name = reader.text("activation");
  if (name == "silu") return Activation::silu;
  if (name == "gelu_tanh") return Activation::gelu_tanh;
  if (name == "gelu") return Activation::gelu;
  if (name == "relu") return Activation::relu;
  if (name == "relu2") return Activation::relu2;
  if (name == "sigmoid") return Activation::sigmoid;
  if (name == "softplus") return Activation::softplus;
  if (name == "swiglu_oai" && gated) return Activation::swiglu_oai;
  fail(HL_UNSUPPORTED, "activation: got '%.50s', want 'silu', 'gelu', 'gelu_tanh', 'relu', 'relu2', 'sigmoid' or 'softplus'", name.c_str());
}

}  // namespace halflap::cpu
