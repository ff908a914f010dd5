// Distances other than L2 and inner products. CPU streams only; not differentiable.
#pragma once

#include <optional>
#include <utility>

#include "cpu/extra_metrics.h"
#include "ops/range_search.h"

namespace metalfaiss::ops {

// A metric and its argument.
struct Extra {
  cpu::ExtraMetric metric;
  float p = 0;

  bool operator==(const Extra&) const = default;
};

Extra extra_metric(const char* op, int metric, float p);

// Distances (nq, nb), float32, of xq (nq, d) and xb (nb, d).
mx::array extra_pairwise(const mx::array& xq, const mx::array& xb, Extra metric, mx::StreamOrDevice s = {});

// As knn: distances (nq, k) and ids (nq, k); with `rows`, int64, ascending, among those rows of xb only.
std::pair<mx::array, mx::array> extra_knn(const mx::array& xq, const mx::array& xb, int64_t k, Extra metric,
                                          const std::optional<mx::array>& rows, mx::StreamOrDevice s = {});

// As range_search.
RangeResults extra_range_search(const mx::array& xq, const mx::array& xb, float radius, Extra metric,
                                const std::optional<mx::array>& rows);

}  // namespace metalfaiss::ops
