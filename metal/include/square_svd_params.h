// The parameters of the kernels of square_svd.
#pragma once

#define SQUARE_SVD_COLUMNS 8  // of a simdgroup
#define SQUARE_SVD_MOST 128   // rows

struct SquareSvdParams {
  int64_t first_matrix;
  int32_t n;
  int32_t unused;
};
