// The two halves of an iteration of k-means: every point's nearest centroid, and every cluster's mean.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

// A point as 8-bit integers (kmeans_codes.h).
struct KmeansRounded {
  float scale;          // what the integer 1 stands for
  float error, length;  // of what rounding took off, and of the vector less the center: upper bounds
  double norm2;         // of the vector less the center, to 64 roundings
  bool known;           // else it is too long for float32, or not finite: the integers are zero
};

// What an assignment leaves for the next one of the same points, where it changes it: the points as integers, which
// are the same for all centroids, and lower bounds of the distances to the last ones.
struct KmeansMemory {
  int8_t* codes;           // n x kmeans_codes_width(d)
  KmeansRounded* rounded;  // n
  float* center;           // d: what was taken off the points
  uint8_t* bounds;         // n x kmeans_bounds_width(k), of `step` each; null where none are to be kept
  float step;
  float* centroids;  // k x d: of the last assignment
  int64_t* ids;      // n: likewise
  int64_t calls;     // the first makes codes, the second, after which centroids move less, bounds
};

constexpr int64_t kmeans_codes_width(int64_t d) {
  return (d + 31) / 32 * 32;
}
constexpr int64_t kmeans_bounds_width(int64_t k) {
  return (k + 63) / 64 * 64;
}

// The nearest centroid of every point and its squared distance, of equal ones the first: what float32 distances from
// differences say; id -1 and the largest float32 where no distance is finite.
struct KmeansAssignArgs {
  const float *x, *centroids;  // n x d, k x d
  int64_t n, k, d;
  float* distances;      // n, or null
  int64_t* ids;          // n
  int64_t* measured;     // how many distances of vectors it took; or null
  KmeansMemory* memory;  // or null: changes how long it takes, and nothing else
};

// The means of the points of each cluster, zero where it has none, and its total weight. Sums are float64, in an order
// that depends on the ids alone. Points whose id is not one of the k belong to none. Where the ids and the sums of
// before are known, of the same points without weights, only those that moved are read; the means are as exact.
struct KmeansMeansArgs {
  const float* x;             // n x d
  const int64_t* ids;         // n
  const float* weights;       // n, or null for 1 each
  const int64_t* ids_before;  // n, or null; looked at where there are no weights
  const double* sums_before;  // k x kmeans_sums_width, or null
  int64_t n, k, d;
  void* workspace;  // kmeans_means_workspace bytes
  double* sums;     // k x kmeans_sums_width: for the next call
  float* means;     // k x d
  float* totals;    // k
};

inline constexpr int64_t kMeansChunk = 2048;  // points that are summed in one go

// A cluster's sums, its total weight, and the largest squared length that its sums had.
constexpr int64_t kmeans_sums_width(int64_t d) {
  return d + 2;
}

constexpr int64_t kmeans_means_workspace(int64_t n, int64_t k, int64_t d) {
  int64_t more = n / kMeansChunk + 1;
  return 8 * n + 8 * (k + 2) + 32 * (k + more) + 8 * more * kmeans_sums_width(d) + 256;
}

METALFAISS_KERNEL(kmeans_assign, KmeansAssignArgs)
METALFAISS_KERNEL(kmeans_means, KmeansMeansArgs)

}  // namespace metalfaiss::cpu
