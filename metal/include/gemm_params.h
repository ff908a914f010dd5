// The parameters of the gemm kernels. Strides are in elements, of any sign.
#pragma once

#define GEMM_BATCH_DIMS 4

// out (rows, columns), for every pair of matrices of a batch and every slab of the contraction.
struct GemmParams {
  int64_t rows, contraction, columns;
  int64_t a_row, a_column;
  int64_t b_row, b_column;
  int64_t slab;         // the contraction's part that is one threadgroup's
  int64_t batches;      // of the output: slab s of batch i is its matrix s * batches + i
  int64_t out_batch;    // batch that the launch's first one is in the output
  int64_t first_batch;  // and among batch_shape
  int64_t batch_shape[GEMM_BATCH_DIMS];
  int64_t a_batch[GEMM_BATCH_DIMS];
  int64_t b_batch[GEMM_BATCH_DIMS];
  int32_t batch_dims;
  int32_t column_tiles;
  int32_t a_order, b_order;
  int32_t accumulate;  // whether the output's values count
  int32_t unused;
};

struct GemmSumParams {
  int64_t size;  // elements of a slab
  int32_t slabs;
  int32_t groups_x;  // threadgroups of the grid along x
};
