// All distances between two sets of vectors.
#pragma once

#include "ops/metric.h"

namespace metalfaiss::ops {

// Squared L2 distances or inner products (..., nq, nb), in float32, of xq (..., nq, d) and xb (..., nb, d).
mx::array pairwise_distances(const mx::array& xq, const mx::array& xb, Metric metric = Metric::l2,
                             mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
