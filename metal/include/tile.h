// Tiles of matrices in threadgroup memory, as float32, and their products.
//
// A tile's rows lie TILE_PAD floats further apart than they are long: eight rows that an 8x8 block reads then lie in
// different banks, and rows stay aligned for float4.
#pragma once
#include <metal_simdgroup_matrix>
#include <metal_stdlib>
#include "elements.h"
#include "tile_order.h"
using namespace metal;

#define TILE_PAD 4

// Loads rows x columns elements (of type ELEMENT_*) of a matrix, of which rows_left x columns_left exist: the others
// become zero. Strides are in elements; columns is a multiple of four.
inline void load_tile(threadgroup float* tile, int rows, int columns, device const uchar* x, int type, long row_stride,
                      long column_stride, long rows_left, long columns_left, int order, int thread_index, int threads) {
  int stride = columns + TILE_PAD, size = element_size(type);
  if (order == ORDER_VECTORS) {
    for (int i = 4 * thread_index; i < rows * columns; i += 4 * threads) {
      int r = i / columns, c = i % columns;
      float4 v = float4(0.0f);
      if (r < rows_left) {
        device const uchar* from = x + (r * row_stride + c) * size;
        if (c + 4 <= columns_left) {
          v = load_elements4(from, type);
        } else {
          v.x = c < columns_left ? load_element(from, type) : 0.0f;
          v.y = c + 1 < columns_left ? load_element(from + size, type) : 0.0f;
          v.z = c + 2 < columns_left ? load_element(from + 2 * size, type) : 0.0f;
        }
      }
      *(threadgroup float4*)(tile + r * stride + c) = v;
    }
    return;
  }
  for (int i = thread_index; i < rows * columns; i += threads) {
    int r = order == ORDER_ROWS ? i / columns : i % rows;
    int c = order == ORDER_ROWS ? i % columns : i / rows;
    float v = 0.0f;
    if (r < rows_left && c < columns_left) {
      v = load_element(x + (r * row_stride + c * column_stride) * size, type);
    }
    tile[r * stride + c] = v;
  }
}

inline void fill_zero(thread simdgroup_float8x8* blocks, int count) {
#pragma unroll
  for (int i = 0; i < count; i++) {
    blocks[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  }
}

// sum += a b, for rows x columns blocks of 8x8 (columns at most 4) and a contraction of `depth`. `a` and `b` begin at
// the simdgroup's first row and column; a_transposed: a tile whose rows are the contraction.
inline void multiply_blocks(thread simdgroup_float8x8* sum, int rows, int columns, threadgroup const float* a,
                            int a_stride, bool a_transposed, threadgroup const float* b, int b_stride, int depth) {
  for (int i = 0; i < depth; i += 8) {
    simdgroup_float8x8 left, right[4];
#pragma unroll
    for (int c = 0; c < columns; c++) {
      simdgroup_load(right[c], b + i * b_stride + 8 * c, b_stride);
    }
#pragma unroll
    for (int r = 0; r < rows; r++) {
      if (a_transposed) {
        simdgroup_load(left, a + i * a_stride + 8 * r, a_stride, ulong2(0, 0), true);
      } else {
        simdgroup_load(left, a + 8 * r * a_stride + i, a_stride);
      }
#pragma unroll
      for (int c = 0; c < columns; c++) {
        simdgroup_multiply_accumulate(sum[r * columns + c], left, right[c], sum[r * columns + c]);
      }
    }
  }
}

// Stores rows x columns blocks to a tile, from the simdgroup's first row and column on.
inline void store_blocks(thread simdgroup_float8x8* blocks, int rows, int columns, threadgroup float* tile,
                         int stride) {
#pragma unroll
  for (int r = 0; r < rows; r++) {
#pragma unroll
    for (int c = 0; c < columns; c++) {
      simdgroup_store(blocks[r * columns + c], tile + 8 * r * stride + 8 * c, stride);
    }
  }
}
