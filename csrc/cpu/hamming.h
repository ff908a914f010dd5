// Hamming distances between binary codes: the nearest, those within a radius, and all of them.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

// Queries and codes, each of `code_size` bytes, one behind the other.
struct HammingArgs {
  const uint8_t* queries;
  int64_t nq;
  const uint8_t* codes;
  const int64_t* rows;  // the rows of `codes` to search, ascending; null: the first n
  int64_t n;            // how many rows to search, less than 2^31
  int64_t code_size;    // at least 1, less than 2^27
};

// The k nearest codes of each query, nearest first, equal ones by row. Missing results have id -1 and distance 2^31
// - 1. Scratch of a thread: 4 MB, or if that is more the 16 k + 32 code_size bytes of a query; and 16 k bytes for each
// part that the codes are divided in and each query that is searched at once.
struct KnnHammingArgs : HammingArgs {
  int64_t k;           // at least 1
  int32_t* distances;  // nq x k, as ids
  int64_t* ids;
};
METALFAISS_KERNEL(knn_hamming, KnnHammingArgs)

struct HammingHit {
  int64_t id;
  int32_t query, distance;
};

// Hands over what is nearer than `radius`, by the calling thread alone; the hits of a query come in the order of rows.
struct RangeHammingArgs : HammingArgs {
  int64_t radius;
  void (*found)(void* context, const HammingHit* hits, int64_t n);
  void* context;
};
METALFAISS_KERNEL(range_hamming, RangeHammingArgs)

// All distances, nq x n, by the calling thread alone.
struct HammingMatrixArgs : HammingArgs {
  int32_t* distances;
};
METALFAISS_KERNEL(hammings, HammingMatrixArgs)

struct HammingRun {
  const uint8_t* codes;
  int64_t n;
};

// Distances of one query to the codes of runs, one behind the other, by the calling thread alone.
struct HammingRunsArgs {
  const uint8_t* query;
  int64_t code_size;
  const HammingRun* runs;
  int64_t num_runs;
  int32_t* distances;
};
METALFAISS_KERNEL(hamming_runs, HammingRunsArgs)

}  // namespace metalfaiss::cpu
