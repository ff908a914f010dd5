// Where the matrices of a product lie, and how a tile gets to the output. Needs O, the output's type.
#pragma once
#include <metal_stdlib>
#include "gemm_params.h"
#include "tile.h"
using namespace metal;

// Where the matrix of a launch's batch begins.
inline long batch_offset(constant int64_t* strides, constant GemmParams& p, uint batch) {
  long rest = p.first_batch + batch, offset = 0;
  for (int d = p.batch_dims - 1; d >= 0; d--) {
    offset += rest % p.batch_shape[d] * strides[d];
    rest /= p.batch_shape[d];
  }
  return offset;
}

// Where a threadgroup's matrix of the output begins.
inline device O* output_matrix(device O* out, constant GemmParams& p, uint slab, uint batch) {
  return out + (slab * p.batches + p.out_batch + batch) * p.rows * p.columns;
}

// Writes rows of a tile to the output, or adds them: the tile's row r is the output's `row + r`.
inline void write_rows(device O* out, constant GemmParams& p, threadgroup const float* tile, int rows, int columns,
                       long row, long column, int thread_index, int threads) {
  for (int i = thread_index; i < rows * columns; i += threads) {
    int r = i / columns, c = i % columns;
    if (row + r < p.rows && column + c < p.columns) {
      device O* to = out + (row + r) * p.columns + column + c;
      float v = tile[r * (columns + TILE_PAD) + c];
      *to = O(p.accumulate ? float(*to) + v : v);
    }
  }
}
