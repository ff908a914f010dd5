// What an iteration of k-means is made of. CPU streams only: on a GPU, _lloyd.py says it in MLX's own operations.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "cpu/kmeans.h"
#include "ops/common.h"

namespace metalfaiss::ops {

// What assignments of the same n vectors of d dimensions to k centroids leave for the next one, changed in place: a
// primitive's outputs would be copied where it changes them. A byte for each coordinate, and with `bounds` for each
// pair.
class KmeansMemory {
 public:
  KmeansMemory(int64_t n, int64_t k, int64_t d, bool bounds);

  // The next centroids are not near to the last ones.
  void forget();

  // Lower bounds of the distances to the last centroids, (n, at least k) of the step behind them; empty where there are
  // none.
  std::pair<std::vector<uint8_t>, float> bounds() const;

  // One assignment at a time.
  void assign(cpu::KmeansAssignArgs args);

  const int64_t n, k, d;

 private:
  mutable std::mutex mutex_;
  std::unique_ptr<int8_t[]> codes_;
  std::unique_ptr<uint8_t[]> bounds_;
  std::vector<cpu::KmeansRounded> rounded_;
  std::vector<float> center_, centroids_;
  std::vector<int64_t> ids_;
  cpu::KmeansMemory memory_;
};

// Squared distances (n,), float32, and ids (n,), int64, of the nearest row of `centroids` (k, d) for each row of x
// (n, d), of equal ones the first; and how many distances of vectors that took, (1,), int64. A memory, of all
// assignments of this x, changes how many, and nothing else.
std::tuple<mx::array, mx::array, mx::array> kmeans_assign(const mx::array& x, const mx::array& centroids,
                                                          std::shared_ptr<KmeansMemory> memory,
                                                          mx::StreamOrDevice s = {});

// The ids of kmeans_assign for n rows of memory, at once, on the calling thread and those of parallel_for. The
// centroids are evaluated and row-contiguous.
void kmeans_nearest(const float* x, int64_t n, const mx::array& centroids, int64_t* ids);

// Means (k, d) and total weights (k,), float32, of the rows of x (n, d) by ids (n,); and sums, float64. With the ids
// and sums that a call before had, of the same rows, only those that moved are read. Without weights only.
std::tuple<mx::array, mx::array, mx::array> kmeans_means(
    const mx::array& x, const mx::array& ids, const std::optional<mx::array>& weights, int k,
    const std::optional<std::pair<mx::array, mx::array>>& before = {}, mx::StreamOrDevice s = {});

}  // namespace metalfaiss::ops
