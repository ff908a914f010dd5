// What the kernels of qr and qr_blocked are told, on both sides.
#pragma once

#define QR_MAX_BATCH_DIMS 6
#define QR_PANEL 64  // columns that one threadgroup factors

// One level of the tree: matrices of rows x columns, divided into leaves of leaf_rows rows, the last one shorter.
struct QrParams {
  int64_t rows;
  int64_t row_stride, column_stride;
  int64_t batch_shape[QR_MAX_BATCH_DIMS];
  int64_t batch_strides[QR_MAX_BATCH_DIMS];
  int64_t leaves;                     // of a matrix
  int64_t first_group;                // leaf that the launch begins with, counted over all matrices
  int64_t r_stride, r_matrix_stride;  // of the root's R
  int32_t batch_dims;
  int32_t columns;
  int32_t leaf_rows;
  int32_t triangles;  // whether the matrices are stacks of upper triangles, whose other entries are not to be read
};

// A rows x columns matrix C beside a panel V of rows x width, and where things lie. Strides in elements.
struct QrBlockParams {
  int64_t rows, columns;
  int64_t v_stride, v_matrix_stride;
  int64_t c_row_stride, c_column_stride;
  int64_t c_batch_shape[QR_MAX_BATCH_DIMS];
  int64_t c_batch_strides[QR_MAX_BATCH_DIMS];
  int64_t out_stride, out_matrix_stride;
  int64_t split_rows;   // rows that one threadgroup sums over
  int64_t first_group;  // as above
  int32_t c_batch_dims;
  int32_t width;
  int32_t splits;
  int32_t transposed;  // whether the reflector is applied transposed
};

// Q is rows x columns; the updated columns beside the first panel are rows x (columns - QR_PANEL).
struct QrFinishParams {
  int64_t rows, columns;
  int64_t r_stride, r_matrix_stride;
  int64_t matrices;
  int64_t first_group;
};

// Of one matrix of rows x columns, A or Q. Its Gram matrix is made of tiles of QR_GRAM_TILE x QR_GRAM_TILE, those on
// and above the diagonal, and of the sums over as many splits of the rows.
#define QR_GRAM_TILE 64
#define QR_CHOLESKY_COLUMNS 1024  // at most
struct QrCholeskyParams {
  int64_t rows;
  int64_t row_stride, column_stride;
  int64_t split_rows;
  int64_t r_stride;  // of R as a result
  int32_t columns;
  int32_t tiles, splits;
  int32_t again;  // whether this is the second pass
};

// What the kernels decide, as positions in an array of integers, 1 for yes: whether the first pass goes on; whether a
// second one follows; whether neither could do it.
#define QR_PROCEEDS 0
#define QR_AGAIN 1
#define QR_FAILS 2
#define QR_DECISIONS 3
