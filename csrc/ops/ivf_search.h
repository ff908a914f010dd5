// Search of inverted lists as an MLX operation.
#pragma once

#include <optional>

#include "index/codec.h"
#include "index/id_selector.h"
#include "index/inverted_lists.h"
#include "index/row_sketch.h"
#include "mlx/array.h"
#include "mlx/utils.h"
#include "ops/ivf_limits.h"
#include "ops/metric.h"

namespace metalfaiss::ops {

namespace mx = mlx::core;

// What is searched: lists as they were, how they are coded, and which of their ids take part (null: all).
struct IvfSource {
  index::InvertedLists::Snapshot lists;
  index::CodecPtr codec;
  Metric metric;
  IvfLimits limits;
  index::IdSelectorPtr selector;
};

// Distances (nq, k) and ids (nq, k) of the entries nearest to queries (nq, d) in the lists that `probes` (nq, nprobe)
// names. `centroids` (nlist, d), if given, are added to decoded codes. `places`: instead of ids, list << 32 | offset.
std::pair<mx::array, mx::array> ivf_search(const mx::array& xq, const mx::array& probes,
                                           const std::optional<mx::array>& centroids, IvfSource source, int64_t k,
                                           bool places, mx::StreamOrDevice s = {});

// The same at once, on the calling thread and those of parallel_for.
void ivf_search_now(const IvfSource& source, const float* xq, int64_t nq, const int64_t* probes, int64_t nprobe,
                    const float* centroids, int64_t k, bool places, float* distances, int64_t* ids);

// The ids (n, k) of the nearest of evaluated rows (rows, d), float32, to x (n, d), and what the metric says of them.
void nearest_now(const float* x, int64_t n, const mx::array& rows, Metric metric, int64_t k, float* scores,
                 int64_t* ids);

// Centers of lists (nlist, d): float32, evaluated; rows are contiguous.
struct Centers {
  mx::array rows;
  Metric metric;
  bool add;                                        // to what codes stand for
  std::shared_ptr<const index::RowSketch> sketch;  // null: none, or rows are not worth one

  Centers(const mx::array& given, Metric metric, bool add);
};

// And a search of the lists of the nprobe nearest of the centers.
void ivf_assign_and_search(const IvfSource& source, const float* xq, int64_t nq, const Centers& centers, int64_t nprobe,
                           int64_t k, float* distances, int64_t* ids);

struct RangeResult {
  std::vector<int64_t> limits;  // num_queries + 1
  std::vector<float> distances;
  std::vector<int64_t> ids;
};

// All entries within a radius; those of a query by id.
RangeResult ivf_range_search(const IvfSource& source, const float* xq, int64_t nq, const int64_t* probes,
                             int64_t nprobe, const float* centroids, float radius);

}  // namespace metalfaiss::ops
