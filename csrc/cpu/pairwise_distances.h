// All distances between two sets of vectors.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

struct PairwiseDistancesArgs {
  Matrix q, b;  // as many columns
  float* out;   // (q.rows, b.rows), row-contiguous
  bool l2;      // squared L2, otherwise the inner product
};

// Scratch of a thread: 386 KB at most, for rows that are not contiguous float32.
METALFAISS_KERNEL(pairwise_distances, PairwiseDistancesArgs)

}  // namespace metalfaiss::cpu
