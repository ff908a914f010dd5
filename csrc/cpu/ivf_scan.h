// Search of inverted lists: the k best, or all within a radius, of the vectors in the lists that each query probes.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/row_codec.h"

namespace metalfaiss::cpu {

struct ScanList {
  const uint8_t* codes;
  const int64_t* ids;
  int64_t size;
};

// What a scan did: lists looked at and distances computed, each for every query, and candidates taken on the way.
struct IvfScanCounts {
  int64_t lists, distances, candidates;
};

// The vector of an entry is its decoded code, plus the list's centroid where there are centroids. Distances are those
// of float64 arithmetic on these float32 vectors, and results are ordered by (distance, id), whatever the number of
// threads. Entries whose distance is not finite in float32 are never returned; missing results have id -1 and the
// metric's worst distance.
struct IvfScanArgs {
  const float* queries;  // num_queries x codec.d, row-contiguous
  int64_t num_queries;
  RowCodec codec;
  const ScanList* lists;
  int64_t nlist;
  const int64_t* probes;  // num_queries x nprobe: lists, best first; negative ones are skipped
  int64_t nprobe;
  const float* centroids;  // nlist x codec.d, or null
  bool inner_product;      // else squared L2
  const int64_t* limits;   // num_queries x nprobe: how many of its first entries are looked at; null: all
  // Which ids take part: writes 0 or 1 for each; null for all.
  void (*members)(const void* selector, const int64_t* ids, int64_t n, uint8_t* out);
  const void* selector;
  int64_t k;
  bool places;       // results are list << 32 | offset instead of ids, and ordered by those
  float* distances;  // num_queries x k, as ids
  int64_t* ids;
  IvfScanCounts* counts;  // is added to; null for none
};

METALFAISS_KERNEL(ivf_scan, IvfScanArgs)

// All entries nearer than `radius` (inner products: above it), handed to `emit` in any order, by workers 0 to
// workers - 1 at once. k, places, distances and ids are not used.
struct IvfRangeArgs {
  IvfScanArgs scan;
  float radius;
  int64_t workers;
  void (*emit)(void* sink, int64_t worker, int64_t query, float distance, int64_t id);
  void* sink;
};

METALFAISS_KERNEL(ivf_range_scan, IvfRangeArgs)

}  // namespace metalfaiss::cpu
