// Exact search: the k nearest rows of a matrix for every query.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

// The k nearest rows of `database` for each row of `queries`, nearest first, equal ones by id. `queries` is float32 and
// row-contiguous; the database has any strides. The selection is that of float64 arithmetic on the stored values,
// whatever the number of threads. Rows whose distance is not finite in float32 are never returned; missing results have
// id -1 and the metric's worst distance.
struct KnnArgs {
  Matrix queries, database;
  int64_t k;
  bool inner_product;  // else squared L2
  float* distances;    // queries.rows x k, as ids
  int64_t* ids;
};

METALFAISS_KERNEL(knn, KnnArgs)

}  // namespace metalfaiss::cpu
