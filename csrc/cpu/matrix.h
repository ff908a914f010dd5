// A matrix as the kernels see it. Plain data: included by kernel files of every SIMD level.
#pragma once

#include <cstdint>

#include "cpu/row_codec.h"

namespace metalfaiss::cpu {

enum class Float : uint8_t { f32, f16, bf16, code };  // code: of whole rows, by a codec

constexpr int64_t size_of(Float type) {
  return type == Float::f32 ? 4 : type == Float::code ? 1 : 2;
}

// rows x cols elements of `type`; strides in elements (of codes: bytes), of any sign.
struct Matrix {
  const void* data;
  Float type;
  int64_t rows, cols;
  int64_t row_stride, col_stride;
  const RowCodec* codec = nullptr;  // of codes

  Matrix transposed() const { return {data, type, cols, rows, col_stride, row_stride}; }
};

}  // namespace metalfaiss::cpu
