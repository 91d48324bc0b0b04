// hl_graph copied into owned, checked form: every index in range, every result made once and before its use.
#pragma once
#include <halflap/abi.h>

#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"
#include "formats/types.h"

namespace halflap::cpu {

inline std::string_view view(hl_str s) { return {s.data, static_cast<size_t>(s.data && s.size > 0 ? s.size : 0)}; }

struct Value {
  std::string name;
  std::string dtype;
  Type type;
  int kind;
  std::vector<int64_t> dims;
};

struct Attribute {
  std::string name;
  int type;
  int64_t integer;
  double number;
  std::string string;
  std::vector<double> numbers;
};

struct Node {
  std::string op;
  int version;
  std::vector<int> inputs;  // -1: absent
  std::vector<int> outputs;
  std::vector<Attribute> attributes;
};

struct Layer {
  int64_t k_width;  // of a slots group: elements per slot
  int64_t v_width;
};

struct RowPlace {
  int64_t block, place;
};

struct Group {
  std::string name;
  std::vector<Layer> layers;
  int64_t window;
  int64_t blocks;
  int64_t slots;
  int kind;      // HL_BLOCKS, HL_SLOTS
  int64_t rate;  // tokens of a row

  int64_t block_rows() const { return 32 / std::gcd(int64_t{32}, rate); }
  int64_t block_tokens() const { return block_rows() * rate; }
  // Where row `row` of a block lies in the layers' blocks of 32 rows: those with fewer share one.
  RowPlace row_place(int64_t block, int64_t row) const {
    const int64_t at = block * block_rows() + row;
    return {at / 32, at % 32};
  }
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<Group> groups;
  std::vector<int> outputs;

  int group(std::string_view name) const;  // -1: none of this name
};

struct Limits {
  int64_t tokens, sequences, rows, context;
  std::string k_type, v_type;

  // Most rows that a dimension can have.
  int64_t most(int64_t dim) const {
    return dim == HL_DIM_T ? tokens : dim == HL_DIM_S ? sequences : dim == HL_DIM_R ? rows : dim;
  }
};

Graph read_graph(const hl_graph *graph);
std::vector<Group> read_groups(const hl_group *groups, int64_t n_groups);
Limits read_limits(const hl_limits *limits);

// Throws HL_INVALID unless `got` covers the struct as this backend knows it.
void check_struct(const char *what, int64_t got, size_t want);

// An element of an array of structs of any newer size.
template <class T>
const T &at(const T *array, int64_t i) {
  return *static_cast<const T *>(HL_AT(array, i));
}

}  // namespace halflap::cpu
