// What an iteration of k-means is made of. CPU streams only: on a GPU, _lloyd.py says it in MLX's own operations.
#pragma once

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "ops/common.h"

namespace metalfaiss::ops {

// The centroids (k, d) of the assignment of before, its ids (n,), and the bounds and step that it kept.
using KmeansBefore = std::tuple<mx::array, mx::array, mx::array, mx::array>;

// Squared distances (n,), float32, and ids (n,), int64, of the nearest row of `centroids` (k, d) for each row of x
// (n, d), of equal ones the first; and how many distances of vectors that took, (1,), int64. With `keep` also lower
// bounds of all distances, a byte each, and their step, for the next assignment of the same x: `before` changes what is
// measured, not what comes out. It may be overwritten.
std::vector<mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                     const std::optional<KmeansBefore>& before, bool keep, mx::StreamOrDevice s = {});

// The ids of kmeans_assign for n rows of memory, at once, on the calling thread and those of parallel_for. The
// centroids are evaluated and row-contiguous.
void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, int64_t* ids);

// Means (k, d) and total weights (k,), float32, of the rows of x (n, d) by ids (n,); and sums, float64. With the ids
// and sums that a call before had, of the same rows, only those that moved are read. Without weights only.
std::tuple<mx::array, mx::array, mx::array> kmeans_means(
    const mx::array& x, const mx::array& ids, const std::optional<mx::array>& weights, int k,
    const std::optional<std::pair<mx::array, mx::array>>& before = {}, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
