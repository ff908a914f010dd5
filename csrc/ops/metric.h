// How near two vectors are, numbered as FAISS does.
#pragma once

#include "ops/common.h"

namespace metalfaiss::ops {

enum class Metric : int { inner_product = 0, l2 = 1 };

inline Metric metric_from_int(const char* op, int metric) {
  require(metric == 0 || metric == 1, op, "metric must be METRIC_INNER_PRODUCT (0) or METRIC_L2 (1). Received ", metric,
          ".");
  return static_cast<Metric>(metric);
}

}  // namespace metalfaiss::ops
