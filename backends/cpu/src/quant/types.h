// The storage types this backend reads, as the file has them.
#pragma once
#include <cstdint>
#include <string_view>

namespace halflap::cpu {

enum class Type { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, I32, none };
constexpr int kTypes = static_cast<int>(Type::I32);  // those that weights may have

struct TypeInfo {
  const char *name;
  int block;        // elements of a quant block
  int bytes;        // bytes of a quant block
  const char *rounding;  // of the activations it meets
};

constexpr TypeInfo kTypeInfo[kTypes] = {
    {"F32", 1, 4, "none"},         {"F16", 1, 2, "none"},         {"BF16", 1, 2, "none"},
    {"Q8_0", 32, 34, "i8x256"},    {"Q4_0", 32, 18, "i8x256"},    {"Q4_1", 32, 20, "i8x256"},
    {"Q5_0", 32, 22, "i8x256"},    {"Q5_1", 32, 24, "i8x256"},    {"Q2_K", 256, 84, "i8x256"},
    {"Q3_K", 256, 110, "i8x256"},  {"Q4_K", 256, 144, "i8x256"},  {"Q5_K", 256, 176, "i8x256"},
    {"Q6_K", 256, 210, "i8x256"},  {"IQ4_NL", 32, 18, "i8x256"},  {"IQ4_XS", 256, 136, "i8x256"},
};

inline const TypeInfo &info(Type type) { return kTypeInfo[static_cast<int>(type)]; }
inline bool is_quantised(Type type) { return type != Type::F32 && type != Type::F16 && type != Type::BF16; }

inline Type find_type(std::string_view name) {
  for (int i = 0; i < kTypes; i++)
    if (name == kTypeInfo[i].name) return static_cast<Type>(i);
  if (name == "f32") return Type::F32;
  if (name == "i32") return Type::I32;
  return Type::none;
}

inline int64_t row_bytes(Type type, int64_t width) { return width / info(type).block * info(type).bytes; }

}  // namespace halflap::cpu
