// What an iteration of k-means is made of. CPU streams only: on a GPU, _lloyd.py says it in MLX's own operations.
#pragma once

#include <optional>
#include <utility>

#include "ops/common.h"

namespace metalfaiss::ops {

// Sketches (n, p + 2), float32, of x (n, d) in `basis` (d, p), whose largest singular value is at most 1, after `mean`
// (d,) was taken off (cpu/kmeans.h).
mx::array kmeans_sketch(const mx::array& x, const mx::array& mean, const mx::array& basis, mx::StreamOrDevice s = {});

// Squared distances (n,), float32, and ids (n,), int64, of the nearest row of `centroids` (k, d) for each row of x
// (n, d), of equal ones the first. `guess` (n,) and `lead`, the coordinates of a sketch that are looked at first,
// change how long it takes, not what comes out.
std::pair<mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids, const mx::array& x_sketch,
                                              const mx::array& centroid_sketch, const std::optional<mx::array>& guess,
                                              int lead, mx::StreamOrDevice s = {});

// The ids of kmeans_assign without a guess for n rows of memory, at once, on the calling thread and those of
// parallel_for, with sketches of a few rows at a time. The arrays are evaluated and row-contiguous.
void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, const mx::array& mean,
                    const mx::array& basis, int lead, int64_t* ids);

// Means (k, d) and total weights (k,), float32, of the rows of x (n, d) by ids (n,).
std::pair<mx::array, mx::array> kmeans_means(const mx::array& x, const mx::array& ids,
                                             const std::optional<mx::array>& weights, int k, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
