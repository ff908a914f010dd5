// Exact search by distance. Its results have no shape known before: it evaluates its arguments and is no operation of
// MLX's graph.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ops/metric.h"

namespace metalfaiss::ops {

struct RangeResults {
  std::vector<int64_t> limits;  // nq + 1
  std::vector<float> distances;
  std::vector<int64_t> ids;  // of query i at [limits[i], limits[i + 1]), ascending
};

// The rows of xb (nb, d) nearer than `radius` to the rows of xq (nq, d): squared distances below it, inner products
// above it. With `rows`, int64, ascending, among those rows of xb only. Arrays must be evaluated.
RangeResults range_search(const mx::array& xq, const mx::array& xb, float radius, Metric metric,
                          const std::optional<mx::array>& rows);

}  // namespace metalfaiss::ops
