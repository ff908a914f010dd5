#pragma once

#include "batch_params.h"

struct PairwiseDistancesParams {
  BatchParams batch;  // a: xq, b: xb
  int64_t out_offset, out_batch;
  int64_t q_row, q_col, b_row, b_col;  // strides in elements
  int32_t nq, nb, d;
  int32_t first_row;  // the first query of this launch
};
