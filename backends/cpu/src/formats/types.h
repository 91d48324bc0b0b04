// The storage types this backend reads: one line each. What their bytes mean is in the other headers of this folder.
#pragma once
#include <cstdint>
#include <string_view>

namespace halflap::cpu {

// X(name, elements of a quant block, bytes of a quant block)
#define HALFLAP_QUANTISED_TYPES(X)                                                                              \
  X(Q8_0, 32, 34) X(Q4_0, 32, 18) X(Q4_1, 32, 20) X(Q5_0, 32, 22) X(Q5_1, 32, 24)                               \
  X(Q2_K, 256, 84) X(Q3_K, 256, 110) X(Q4_K, 256, 144) X(Q5_K, 256, 176) X(Q6_K, 256, 210)                      \
  X(IQ1_S, 256, 50) X(IQ1_M, 256, 56) X(IQ2_XXS, 256, 66) X(IQ2_XS, 256, 74) X(IQ2_S, 256, 82)                  \
  X(IQ3_XXS, 256, 98) X(IQ3_S, 256, 110) X(IQ4_NL, 32, 18) X(IQ4_XS, 256, 136)                                  \
  X(TQ1_0, 256, 54) X(TQ2_0, 256, 66) X(Q1_0, 128, 18) X(Q2_0, 64, 18) X(MXFP4, 32, 17) X(NVFP4, 64, 36)

#define HALFLAP_ENUMERATOR(name, block, bytes) name,
enum class Type { F32, F16, BF16, HALFLAP_QUANTISED_TYPES(HALFLAP_ENUMERATOR) I32, none };
#undef HALFLAP_ENUMERATOR
constexpr int kTypes = static_cast<int>(Type::I32);  // those that weights may have

struct TypeInfo {
  const char *name;
  int block;  // elements of a quant block
  int bytes;  // bytes of a quant block
  const char *rounding;  // of the activations it meets
};

#define HALFLAP_INFO(name, block, bytes) {#name, block, bytes, "i8x256"},
constexpr TypeInfo kTypeInfo[kTypes] = {
    {"F32", 1, 4, "none"}, {"F16", 1, 2, "none"}, {"BF16", 1, 2, "none"}, HALFLAP_QUANTISED_TYPES(HALFLAP_INFO)};
#undef HALFLAP_INFO

constexpr const TypeInfo &info(Type type) { return kTypeInfo[static_cast<int>(type)]; }
inline bool is_quantised(Type type) { return type != Type::F32 && type != Type::F16 && type != Type::BF16; }

inline bool is_half(Type type) { return type == Type::F16 || type == Type::BF16; }

inline Type find_type(std::string_view name) {
  for (int i = 0; i < kTypes; i++)
    if (name == kTypeInfo[i].name) return static_cast<Type>(i);
  if (name == "f32") return Type::F32;
  if (name == "i32") return Type::I32;
  return Type::none;
}

inline int64_t row_bytes(Type type, int64_t width) { return width / info(type).block * info(type).bytes; }

}  // namespace halflap::cpu
