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
  const int64_t* picked = nullptr;  // if any, row i lies where row picked[i] would; searches alone take such matrices

  __attribute__((always_inline)) int64_t stored_row(int64_t i) const { return picked ? picked[i] : i; }
  Matrix transposed() const { return {data, type, cols, rows, col_stride, row_stride}; }
};

}  // namespace metalfaiss::cpu
