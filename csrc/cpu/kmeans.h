// The two halves of an iteration of k-means: every point's nearest centroid, and every cluster's mean.
#pragma once

#include "cpu/dispatch.h"
#include "cpu/matrix.h"

namespace metalfaiss::cpu {

// A vector's sketch: its coordinates after the mean was taken off, or those in an orthonormal basis and the length of
// what the basis leaves out, as 16-bit integers of one scale. But for the errors of both the distance between two
// sketches is at most that between the vectors.
struct KmeansSketchArgs {
  const float* x;      // n x d
  const float* mean;   // d
  const float* basis;  // d x p, its largest singular value at most 1; or null
  int64_t n, d, p;
  int16_t* codes;  // n x kmeans_sketch_width
  float* scales;   // n x 2: what 1 stands for, and a bound of the error, as a vector's length
};

// A multiple of 32: the widest vectors have as many lanes. What is behind the values is zero.
constexpr int64_t kmeans_sketch_width(int64_t coordinates, bool projected) {
  return (coordinates + (projected ? 1 : 0) + 31) / 32 * 32;
}

struct KmeansSketches {
  const int16_t* codes;
  const float* scales;
};

// The nearest centroid of every point and its squared distance, of equal ones the first: what float32 distances from
// differences say, whatever the guess; id -1 and the largest float32 where no distance is finite. A good guess is fast:
// centroids whose sketch is farther than the guess is are left out. Where there is none, the nearest by sketches is the
// guess.
struct KmeansAssignArgs {
  const float *x, *centroids;                // n x d, k x d
  KmeansSketches x_sketch, centroid_sketch;  // of `width` integers
  const int64_t* guess;                      // n, or null
  int64_t n, k, d, width;
  int64_t lead;      // how many integers of the sketches are looked at for all pairs
  float* distances;  // n
  int64_t* ids;      // n
  int64_t* counts;   // 2: how many distances of whole sketches and of vectors it took; or null
};

// The means of the points of each cluster, zero where it has none, and its total weight. Sums are float64, in an order
// that depends on the ids alone. Points whose id is not one of the k belong to none.
struct KmeansMeansArgs {
  const float* x;        // n x d
  const int64_t* ids;    // n
  const float* weights;  // n, or null for 1 each
  int64_t n, k, d;
  void* workspace;  // kmeans_means_workspace bytes
  float* means;     // k x d
  float* totals;    // k
};

inline constexpr int64_t kMeansChunk = 2048;  // points that are summed in one go

constexpr int64_t kmeans_means_workspace(int64_t n, int64_t k, int64_t d) {
  int64_t chunks = k + n / kMeansChunk + 1;
  return 8 * n + 8 * (k + 2) + 32 * chunks + 8 * (2 * (n / kMeansChunk) + 1) * (d + 1) + 256;
}

METALFAISS_KERNEL(kmeans_sketch, KmeansSketchArgs)
METALFAISS_KERNEL(kmeans_assign, KmeansAssignArgs)
METALFAISS_KERNEL(kmeans_means, KmeansMeansArgs)

}  // namespace metalfaiss::cpu
