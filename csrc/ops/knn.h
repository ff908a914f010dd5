// Exact search: the k nearest rows of a matrix for every query, distance and selection in one operation.
#pragma once

#include <optional>
#include <utility>

#include "gpu/plans/knn.h"
#include "ops/common.h"
#include "ops/metric.h"

namespace metalfaiss::ops {

// Distances (..., nq, k), float32, and ids (..., nq, k), int64, for xq (..., nq, d) and xb (..., nb, d); with `rows`,
// int64, ascending, among those rows of xb (nb, d) only.
std::pair<mx::array, mx::array> knn(const mx::array& xq, const mx::array& xb, int64_t k, Metric metric,
                                    mx::StreamOrDevice s = {}, const std::optional<mx::array>& rows = std::nullopt);

// For tests: how searches on a GPU are divided from now on. Results do not depend on it.
void set_knn_limits(const gpu::KnnLimits& limits);

}  // namespace metalfaiss::ops
