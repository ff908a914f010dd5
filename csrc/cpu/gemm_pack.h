// Copies of blocks of a matrix of any type and strides, as float32, in the layouts that the products read.
#pragma once

#include "cpu/matrix.h"
#include "cpu/simd.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

// The values p[0], p[stride], ... of the first n lanes, zeros behind them.
template <typename T>
METALFAISS_INLINE vf load_strided(const T* p, int64_t stride, int n) {
  if (stride == 1) {
    return n == W ? load(p) : load_first(p, n);
  }
  T lanes[W] = {};
  for (int i = 0; i < n; i++) {
    lanes[i] = p[i * stride];
  }
  return load(lanes);
}

// Calls f with the matrix's data as a pointer to its element type.
template <typename F>
METALFAISS_INLINE void with_data(const Matrix& m, F f) {
  switch (m.type) {
    case Float::f16:
      return f(static_cast<const half_t*>(m.data));
    case Float::bf16:
      return f(static_cast<const bfloat_t*>(m.data));
    default:
      return f(static_cast<const float*>(m.data));
  }
}

METALFAISS_INLINE int lanes_left(int64_t left) {
  return left < 0 ? 0 : left < W ? static_cast<int>(left) : W;
}

inline Matrix block_of(const Matrix& m, int64_t i, int64_t rows, int64_t j, int64_t cols) {
  int64_t offset = (i * m.row_stride + j * m.col_stride) * size_of(m.type);
  return {static_cast<const char*>(m.data) + offset, m.type, rows, cols, m.row_stride, m.col_stride};
}

// The rows as they are: float32 that is contiguous along them.
inline bool has_float_rows(const Matrix& m) {
  return m.type == Float::f32 && (m.col_stride == 1 || m.cols == 1);
}

// W x W values, transposed through the stack: what a strided row cannot load, its neighbours can.
template <typename T>
METALFAISS_INLINE void copy_transposed_square(const T* from, int64_t col_stride, float* to, int64_t ld) {
  float square[W][W];
  for (int j = 0; j < W; j++) {
    store(square[j], load(from + j * col_stride));
  }
  for (int i = 0; i < W; i++) {
    vf row;
    for (int j = 0; j < W; j++) {
      row[j] = square[j][i];
    }
    store(to + i * ld, row);
  }
}

// All of m to row-major float32.
inline void copy_rows(const Matrix& m, float* to, int64_t ld) {
  with_data(m, [&](const auto* from) {
    int64_t i = 0;
    if (m.row_stride == 1 && m.col_stride != 1) {
      for (; i + W <= m.rows; i += W) {
        int64_t j = 0;
        for (; j + W <= m.cols; j += W) {
          copy_transposed_square(from + i + j * m.col_stride, m.col_stride, to + i * ld + j, ld);
        }
        for (; j < m.cols; j++) {
          vf column = load(from + i + j * m.col_stride);
          for (int r = 0; r < W; r++) {
            to[(i + r) * ld + j] = column[r];
          }
        }
      }
    }
    for (; i < m.rows; i++) {
      const auto* row = from + i * m.row_stride;
      int64_t j = 0;
      for (; j + W <= m.cols; j += W) {
        store(to + i * ld + j, load_strided(row + j * m.col_stride, m.col_stride, W));
      }
      if (j < m.cols) {
        int rest = lanes_left(m.cols - j);
        store_first(to + i * ld + j, load_strided(row + j * m.col_stride, m.col_stride, rest), rest);
      }
    }
  });
}

// All of m as one panel: row after row, `vectors` vectors each, zeros behind the last column.
inline void copy_panel(const Matrix& m, int vectors, float* to) {
  with_data(m, [&](const auto* from) {
    for (int64_t i = 0; i < m.rows; i++) {
      for (int v = 0; v < vectors; v++) {
        int lanes = lanes_left(m.cols - v * W);
        store(to, load_strided(from + i * m.row_stride + v * W * m.col_stride, m.col_stride, lanes));
        to += W;
      }
    }
  });
}

// n floats to `type`, rounded once.
inline void store_row(const float* from, int64_t n, Float type, void* to) {
  auto copy = [&](auto* out) {
    int64_t j = 0;
    for (; j + W <= n; j += W) {
      store(out + j, load(from + j));
    }
    if (j < n) {
      int rest = static_cast<int>(n - j);
      store_first(out + j, load_first(from + j, rest), rest);
    }
  };
  switch (type) {
    case Float::f16:
      return copy(static_cast<half_t*>(to));
    case Float::bf16:
      return copy(static_cast<bfloat_t*>(to));
    default:
      return copy(static_cast<float*>(to));
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
