// How a stored vector is coded. Plain data: included by kernel files of every SIMD level.
#pragma once

#include <cstdint>

namespace metalfaiss::cpu {

// f32, f16, bf16: the components themselves. u8, s8: bytes, s8 with 128 added. sq8, sq6, sq4: bits of where a component
// lies between vmin and vmin + vdiff of its dimension, the first component in the lowest bits.
enum class CodeType : uint8_t { f32, f16, bf16, u8, s8, sq8, sq6, sq4 };

constexpr int bits_of(CodeType type) {
  switch (type) {
    case CodeType::f32:
      return 32;
    case CodeType::f16:
    case CodeType::bf16:
      return 16;
    case CodeType::sq6:
      return 6;
    case CodeType::sq4:
      return 4;
    default:
      return 8;
  }
}

struct RowCodec {
  CodeType type;
  int64_t d;
  const float* vmin;  // d of them where `type` is sq8, sq6 or sq4
  const float* vdiff;

  int64_t code_size() const { return (d * bits_of(type) + 7) / 8; }
};

}  // namespace metalfaiss::cpu
