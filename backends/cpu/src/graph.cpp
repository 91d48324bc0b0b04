#include "graph.h"

namespace halflap::cpu {

constexpr int64_t kMostValues = 1 << 20;
constexpr int64_t kMostElements = int64_t{1} << 46;
constexpr int64_t kMostSlotElements = 1 << 28;
constexpr int64_t kMostRate = 1 << 20;

void check_struct(const char *what, int64_t got, size_t want) {
  if (got < static_cast<int64_t>(want))
    fail(HL_INVALID, "%s.struct_size: got %lld, want at least %zu", what, static_cast<long long>(got), want);
}

static void check_count(const char *what, int64_t got, const void *array) {
  if (got < 0 || got > kMostValues || (got > 0 && !array))
    fail(HL_INVALID, "%s: got %lld%s, want an array of at most %lld", what, static_cast<long long>(got),
         array ? "" : " without an array", static_cast<long long>(kMostValues));
}

int Graph::group(std::string_view name) const {
  for (size_t i = 0; i < groups.size(); i++)
    if (groups[i].name == name) return static_cast<int>(i);
  return -1;
}

static Value read_value(const hl_value &from) {
  check_struct("hl_value", from.struct_size, sizeof from);
  Value v{std::string(view(from.name)), std::string(view(from.dtype)), find_type(view(from.dtype)), from.kind, {}};
  if (from.n_dims < 1 || from.n_dims > HL_MAX_DIMS)
    fail(HL_INVALID, "dimensions of %.200s: got %d, want 1 to 4", v.name.c_str(), from.n_dims);
  int64_t product = 1;
  for (int i = 0; i < from.n_dims; i++) {
    const int64_t dim = from.dims[i];
    const bool is_free = dim == HL_DIM_T || dim == HL_DIM_S || dim == HL_DIM_R;
    if (!(dim > 0 || (is_free && from.kind != HL_WEIGHT && i == 0)))
      fail(HL_INVALID, "dimension %d of %.200s: got %lld, want a size (a free one only first)", i, v.name.c_str(),
           static_cast<long long>(dim));
    if (dim > 0 && (dim > kMostElements || (product *= dim) > kMostElements))
      fail(HL_INVALID, "elements of %.200s: got over %lld, want fewer", v.name.c_str(), static_cast<long long>(kMostElements));
    v.dims.push_back(dim);
  }
  if (v.kind != HL_INPUT && v.kind != HL_WEIGHT && v.kind != HL_RESULT)
    fail(HL_INVALID, "kind of %.200s: got %d, want 0 to 2", v.name.c_str(), v.kind);
  return v;
}

static Attribute read_attribute(const hl_attr &from) {
  check_struct("hl_attr", from.struct_size, sizeof from);
  Attribute a{std::string(view(from.name)), from.type, from.integer, from.number, std::string(view(from.string)), {}};
  if (from.type == HL_ATTR_FLOATS) {
    check_count("attribute's numbers", from.n_numbers, from.numbers);
    a.numbers.assign(from.numbers, from.numbers + from.n_numbers);
  }
  if (from.type < HL_ATTR_INT || from.type > HL_ATTR_FLOATS)
    fail(HL_UNSUPPORTED, "type of attribute %.100s: got %d, want 0 to 3", a.name.c_str(), from.type);
  return a;
}

static Node read_node(const hl_node &from, int64_t n_values) {
  check_struct("hl_node", from.struct_size, sizeof from);
  Node node{std::string(view(from.op)), from.version, {}, {}, {}};
  check_count("node's inputs", from.n_inputs, from.inputs);
  check_count("node's outputs", from.n_outputs, from.outputs);
  check_count("node's attributes", from.n_attrs, from.attrs);
  node.inputs.assign(from.inputs, from.inputs + from.n_inputs);
  node.outputs.assign(from.outputs, from.outputs + from.n_outputs);
  for (int i = 0; i < from.n_attrs; i++) node.attributes.push_back(read_attribute(at(from.attrs, i)));
  for (int v : node.inputs)
    if (v < -1 || v >= n_values)
      fail(HL_INVALID, "input of %.100s: got value %d, want below %lld", node.op.c_str(), v, static_cast<long long>(n_values));
  for (int v : node.outputs)
    if (v < 0 || v >= n_values)
      fail(HL_INVALID, "output of %.100s: got value %d, want below %lld", node.op.c_str(), v, static_cast<long long>(n_values));
  return node;
}

std::vector<Group> read_groups(const hl_group *groups, int64_t n_groups) {
  check_count("state groups", n_groups, groups);
  std::vector<Group> read;
  for (int64_t i = 0; i < n_groups; i++) {
    const hl_group &from = at(groups, i);
    check_struct("hl_group", from.struct_size, sizeof from);
    check_count("layers", from.n_layers, from.layers);
    Group group{std::string(view(from.name)), {}, from.window, from.blocks, from.slots, from.kind, from.rate ? from.rate : 1};
    if (from.kind != HL_BLOCKS && from.kind != HL_SLOTS)
      fail(HL_UNSUPPORTED, "kind of group %.100s: got %d, want 0 or 1", group.name.c_str(), from.kind);
    if (from.slots < 0 || from.slots > INT32_MAX)
      fail(HL_INVALID, "group %.100s: got %lld slots, want them from 0", group.name.c_str(), static_cast<long long>(from.slots));
    if (group.rate < 1 || group.rate > kMostRate)
      fail(HL_INVALID, "rate of group %.100s: got %lld, want 1 to %lld", group.name.c_str(), static_cast<long long>(group.rate),
           static_cast<long long>(kMostRate));
    const int64_t widest = from.kind == HL_SLOTS ? kMostSlotElements : kMostValues;
    if (from.blocks < 0 || from.blocks > INT32_MAX || from.window < 0)
      fail(HL_INVALID, "group %.100s: got %lld blocks, window %lld, want both from 0", group.name.c_str(),
           static_cast<long long>(from.blocks), static_cast<long long>(from.window));
    for (int64_t l = 0; l < from.n_layers; l++) {
      const hl_layer &layer = at(from.layers, l);
      check_struct("hl_layer", layer.struct_size, sizeof layer);
      if (layer.k_width < 0 || layer.v_width < 0 || layer.k_width > widest || layer.v_width > widest)
        fail(HL_INVALID, "layer %lld of group %.100s: got widths %lld and %lld, want 0 to %lld", static_cast<long long>(l),
             group.name.c_str(), static_cast<long long>(layer.k_width), static_cast<long long>(layer.v_width),
             static_cast<long long>(widest));
      group.layers.push_back({layer.k_width, layer.v_width});
    }
    read.push_back(group);
  }
  return read;
}

Graph read_graph(const hl_graph *graph) {
  if (!graph) fail(HL_INVALID, "graph: got NULL, want a graph");
  check_struct("hl_graph", graph->struct_size, sizeof *graph);
  check_count("values", graph->n_values, graph->values);
  check_count("nodes", graph->n_nodes, graph->nodes);
  check_count("outputs", graph->n_outputs, graph->outputs);
  Graph read;
  for (int64_t i = 0; i < graph->n_values; i++) read.values.push_back(read_value(at(graph->values, i)));
  for (int64_t i = 0; i < graph->n_nodes; i++) read.nodes.push_back(read_node(at(graph->nodes, i), graph->n_values));
  read.groups = read_groups(graph->groups, graph->n_groups);

  std::vector<bool> made(read.values.size());
  for (size_t i = 0; i < made.size(); i++) made[i] = read.values[i].kind != HL_RESULT;
  for (const Node &node : read.nodes) {
    for (int v : node.inputs)
      if (v >= 0 && !made[static_cast<size_t>(v)])
        fail(HL_INVALID, "input of %.100s: got %.200s, not made yet, want an earlier result", node.op.c_str(),
             read.values[static_cast<size_t>(v)].name.c_str());
    for (int v : node.outputs) {
      if (made[static_cast<size_t>(v)])
        fail(HL_INVALID, "output of %.100s: got %.200s again, want each result once", node.op.c_str(),
             read.values[static_cast<size_t>(v)].name.c_str());
      made[static_cast<size_t>(v)] = true;
    }
  }
  for (int64_t i = 0; i < graph->n_outputs; i++) {
    const int v = graph->outputs[i];
    if (v < 0 || v >= graph->n_values || !made[static_cast<size_t>(v)])
      fail(HL_INVALID, "graph output: got value %d, want one that some op makes", v);
    read.outputs.push_back(v);
  }
  return read;
}

Limits read_limits(const hl_limits *limits) {
  if (!limits) fail(HL_INVALID, "limits: got NULL, want limits");
  check_struct("hl_limits", limits->struct_size, sizeof *limits);
  const Limits read{limits->tokens, limits->sequences, limits->rows, limits->context, std::string(view(limits->k_type)),
                    std::string(view(limits->v_type))};
  const auto check = [](const char *what, int64_t got, int64_t low) {
    if (got < low || got > (1 << 30))
      fail(HL_INVALID, "limits.%s: got %lld, want %lld to 2^30", what, static_cast<long long>(got), static_cast<long long>(low));
  };
  check("tokens", read.tokens, 1);
  check("sequences", read.sequences, 1);
  check("rows", read.rows, 0);
  check("context", read.context, 0);
  return read;
}

}  // namespace halflap::cpu
