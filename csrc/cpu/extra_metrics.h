// Distances other than L2 and inner products: all of them, the k nearest, or those within a radius.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"
#include "cpu/range_search.h"

namespace metalfaiss::cpu {

// FAISS's numbers.
enum class ExtraMetric : int {
  l1 = 2,
  linf = 3,
  lp = 4,
  canberra = 20,
  bray_curtis = 21,
  jensen_shannon = 22,
  jaccard = 23,  // a similarity
  nan_euclidean = 24,
  gower = 25
};

// Queries are row-contiguous float32, the database has any strides; float32 arithmetic. A distance that is not finite
// is no result of a search. Exactly one of `all`, `distances` and `emit` says what to do.
struct ExtraMetricArgs {
  ExtraMetric metric;
  float p;  // of lp
  Matrix queries, database;
  float* all;  // queries.rows x database.rows
  int64_t k;
  float* distances;  // queries.rows x k, as ids
  int64_t* ids;
  float radius;
  const FunctionRef<void(int64_t, const RangeHit*, int64_t)>* emit;  // as range_search calls it
};

METALFAISS_KERNEL(extra_metrics, ExtraMetricArgs)

}  // namespace metalfaiss::cpu
