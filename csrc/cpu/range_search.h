// Exact search by distance: every row of a matrix that is nearer to a query than a radius.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu {

struct RangeHit {
  int64_t query, id;
  float distance;
};

// Calls emit(block, hits, n) with the results, as often as it takes: `block` < range_search_blocks names the part of
// the work that found them, one thread calls it for one block, several threads at once for several blocks. Distances
// are float64's, rounded; results are those whose rounded squared distance is less than the radius, or whose rounded
// inner product is greater. Queries are row-contiguous float32, the database has any strides.
struct RangeSearchArgs {
  Matrix queries, database;
  float radius;
  bool inner_product;  // else squared L2
  FunctionRef<void(int64_t, const RangeHit*, int64_t)> emit;
};

constexpr int64_t kRangeBlocks = 4096;  // at most

METALFAISS_KERNEL(range_search, RangeSearchArgs)

}  // namespace metalfaiss::cpu
