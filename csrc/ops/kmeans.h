// What an iteration of k-means is made of. CPU streams only: on a GPU, _lloyd.py says it in MLX's own operations.
#pragma once

#include <optional>
#include <tuple>
#include <utility>

#include "ops/common.h"

namespace metalfaiss::ops {

// A sketch: codes (n, width), int16, and scales (n, 2), float32 (cpu/kmeans.h).
using Sketch = std::pair<mx::array, mx::array>;

// The sketch of x (n, d) after `mean` (d,) was taken off, in `basis` (d, p), whose largest singular value is at most 1,
// or of all coordinates.
Sketch kmeans_sketch(const mx::array& x, const mx::array& mean, const std::optional<mx::array>& basis,
                     mx::StreamOrDevice s = {});

// Squared distances (n,), float32, and ids (n,), int64, of the nearest row of `centroids` (k, d) for each row of x
// (n, d), of equal ones the first; and how many distances of whole sketches and of
// vectors that took, (2,), int64. The sketches, `guess` (n,) and `lead`, how many integers of the sketches are looked
// at for all pairs, change those numbers, not what comes out.
std::tuple<mx::array, mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                                          const Sketch& x_sketch, const Sketch& centroid_sketch,
                                                          const std::optional<mx::array>& guess, int lead,
                                                          mx::StreamOrDevice s = {});

// The ids of kmeans_assign without a guess for n rows of memory, at once, on the calling thread and those of
// parallel_for, with sketches of a few rows at a time. The arrays are evaluated and row-contiguous.
void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, const mx::array& mean,
                    const std::optional<mx::array>& basis, int lead, int64_t* ids);

// Means (k, d) and total weights (k,), float32, of the rows of x (n, d) by ids (n,).
std::pair<mx::array, mx::array> kmeans_means(const mx::array& x, const mx::array& ids,
                                             const std::optional<mx::array>& weights, int k, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
