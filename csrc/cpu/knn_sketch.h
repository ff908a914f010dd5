// Exact search of rows that are searched again and again, by one query or a few: their sketches, a quarter of their
// bytes, say which rows may be among the nearest.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

inline constexpr int64_t kSketchGroup = 32;         // codes of a row are a multiple of these, zeros at the end
inline constexpr int64_t kSketchLongest = 1 << 16;  // dimensions, so that products of codes fit into 32 bits
inline constexpr double kSketchLargestNorm = 1e15;  // of rows and queries, for arithmetic in float32

// Rows less a centre, rounded to integers from -127 to 127: a row is centre + scale * codes, but for a vector of length
// `error` at most.
struct Sketch {
  const int8_t* codes;
  int64_t stride;  // of the codes of a row
  const float* center;
  const float *scale, *error;
  const float *length, *norm2;  // of the row less the centre: an upper bound, and the square to 2^-23
  const int32_t* sum;           // of the row's codes
};

// As KnnArgs. The rows are float32 and contiguous, as many as the sketch has and of lengths below kSketchLargestNorm.
struct KnnSketchArgs {
  const float* queries;
  int64_t num_queries;
  Matrix database;
  Sketch sketch;
  int64_t k;
  bool inner_product;
  float* distances;
  int64_t* ids;
};

METALFAISS_KERNEL(knn_sketch, KnnSketchArgs)

}  // namespace metalfaiss::cpu
