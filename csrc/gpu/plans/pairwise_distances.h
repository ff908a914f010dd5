// The plan of pairwise_distances: one launch, or a few where the grid would be too large.
#pragma once

#include <string>

#include "gpu/launch.h"
#include "gpu/plans/batch.h"

namespace metalfaiss::gpu {

struct PairwiseDistances {
  std::string q_type, b_type;  // in Metal's words: float, half, bfloat
  int64_t nq, nb, d;
  int64_t q_row, q_col, b_row, b_col;  // strides in elements
  Batch batch;                         // a: xq, b: xb
  bool l2;
  int64_t most_groups = 65535;  // along the rows and along the batch: what CUDA takes
};

// Inputs xq, xb; output (batch, nq, nb), which is not empty.
Plan plan_pairwise_distances(const PairwiseDistances& g);

}  // namespace metalfaiss::gpu
