// Which rows may be below the threshold of a query, decided from a product of 16-bit floats.
#pragma once

#include "knn_results.h"
#include "knn_scan.h"

// Of a query: its terms (norm, scale, 1 / scale), and those of its filter.
struct QueryTerms {
  float norm;     // L2: the square. NaN where the query is not finite
  float scale;    // what products are multiplied with
  float inverse;  // 1 / scale
};

// `relative`, and room for the rounding of filters.
inline float slack_of(constant KnnScanParams& p) {
  return p.relative + 2e-6f;
}

// The filter of a query: a row passes unless y > 0, y = b * filter.x + i * filter.y - product, where b and i are the
// row's. It lets pass what the bound does, and a little more.
inline float2 filter_of(QueryTerms q, uint threshold, constant KnnScanParams& p) {
  float t = value_of_key(threshold);
  if (isnan(q.norm)) {
    return float2(0.0f, INFINITY);  // nothing
  }
  if (threshold == NAN_KEY || q.norm > LARGEST) {
    return float2(q.inverse, -INFINITY);  // everything
  }
#if L2
  return float2(q.inverse, -((t - q.norm * (1.0f - slack_of(p)) + p.absolute) * q.inverse));
#else
  return float2(-slack_of(p) * q.norm * q.inverse, -((t + p.absolute) * q.inverse));
#endif
}
