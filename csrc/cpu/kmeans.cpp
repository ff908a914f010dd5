// The means of clusters: chunks of the points of each are summed in float64, then the chunks of large ones.
#include "cpu/kmeans.h"

#include <atomic>

#include "cpu/gemm_pack.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

// Points of one cluster that are summed in one go.
struct Chunk {
  int64_t cluster, begin, end;
  double* sums;  // the cluster's own for its first chunk
};

// A point that a cluster gets, or with all bits inverted one that it loses.
int64_t row_of(int64_t entry) {
  return entry < 0 ? ~entry : entry;
}

constexpr int64_t kAhead = 6;  // entries: rows lie anywhere, so that the processor does not foresee them
constexpr int64_t kLine = 64 / sizeof(float);

// Adds R rows with their weights to d float64 values.
template <int R>
METALFAISS_INLINE void add_rows(const float* const* rows, const double* weights, int64_t d, double* out) {
  vd weight[R];
  for (int r = 0; r < R; r++) {
    weight[r] = broadcast(weights[r]);
  }
  int64_t p = 0;
  for (; p + WD <= d; p += WD) {
    vd sum = load(out + p);
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      sum = fma(load_double(rows[r] + p), weight[r], sum);
    }
    store(out + p, sum);
  }
  for (; p < d; p++) {
    for (int r = 0; r < R; r++) {
      out[p] += rows[r][p] * weights[r];
    }
  }
}

// Adds entries to d sums and their weight.
void sum_points(const KmeansMeansArgs& a, const int64_t* order, int64_t count, double* out) {
  constexpr int kRows = 4;
  const float* rows[kRows];
  double weights[kRows];
  for (int64_t first = 0; first < count;) {
    const int taken = count - first >= kRows ? kRows : 1;
    for (int r = 0; r < taken; r++) {
      const int64_t at = first + r, row = row_of(order[at]);
      if (at + kAhead < count) {
        const float* soon = a.x + row_of(order[at + kAhead]) * a.d;
        for (int64_t p = 0; p < a.d; p += kLine) {
          __builtin_prefetch(soon + p);
        }
      }
      rows[r] = a.x + row * a.d;
      weights[r] = (a.weights ? a.weights[row] : 1.0) * (order[at] < 0 ? -1 : 1);
      out[a.d] += weights[r];
    }
    taken == kRows ? add_rows<kRows>(rows, weights, a.d, out) : add_rows<1>(rows, weights, a.d, out);
    first += taken;
  }
}

// Of a cluster with this total weight. The largest squared length of its sums since they were begun is kept behind the
// weight; false where the sums are too short beside it for what was taken off to leave no trace in float32.
bool write_mean(const KmeansMeansArgs& a, int64_t cluster) {
  constexpr double kShortest = 1e-12;  // squared: of 53 bits 20 may go
  double* sums = a.sums + cluster * kmeans_sums_width(a.d);
  const double total = sums[a.d];
  float* mean = a.means + cluster * a.d;
  double length = 0;
  for (int64_t p = 0; p < a.d; p++) {
    sums[p] = total != 0 ? sums[p] : 0;
    length += sums[p] * sums[p];
    mean[p] = total != 0 ? static_cast<float>(sums[p] / total) : 0.0f;
  }
  a.totals[cluster] = static_cast<float>(total);
  double& largest = sums[a.d + 1];
  largest = length > largest || total == 0 ? length : largest;
  return length >= largest * kShortest;
}

// The entries of all points, or of those that moved, each at its cluster.
template <typename F>
void for_entries(const KmeansMeansArgs& a, F f) {
  auto belongs = [&](int64_t id) { return id >= 0 && id < a.k; };
  for (int64_t i = 0; i < a.n; i++) {
    const int64_t id = a.ids[i], before = a.ids_before ? a.ids_before[i] : -1;
    if (id != before) {
      if (belongs(id)) {
        f(id, i);
      }
      if (belongs(before)) {
        f(before, ~i);
      }
    }
  }
}

int64_t count_moved(const KmeansMeansArgs& a) {
  int64_t moved = 0;
  for (int64_t i = 0; i < a.n; i++) {
    moved += a.ids[i] != a.ids_before[i];
  }
  return moved;
}

// Whether the means are as exact as those of a sum of all points.
bool sum_and_divide(const KmeansMeansArgs& a) {
  const int64_t width = kmeans_sums_width(a.d);
  auto* order = static_cast<int64_t*>(a.workspace);
  int64_t* starts =
      order + a.n;  // k + 2: where each cluster's entries begin in `order`, one ahead until they lie there
  __builtin_memset(starts, 0, (a.k + 2) * sizeof(int64_t));
  for_entries(a, [&](int64_t cluster, int64_t) { starts[cluster + 2]++; });
  for (int64_t j = 2; j < a.k + 2; j++) {
    starts[j] += starts[j - 1];
  }
  for_entries(a, [&](int64_t cluster, int64_t entry) { order[starts[cluster + 1]++] = entry; });
  auto* chunks = reinterpret_cast<Chunk*>(starts + a.k + 2);
  auto* more = reinterpret_cast<double*>(chunks + a.k + a.n / kMeansChunk + 1);
  int64_t count = 0;
  for (int64_t j = 0; j < a.k; j++) {
    double* sums = a.sums + j * width;
    int64_t at = starts[j];
    do {
      chunks[count++] = {j, at, at_most(at + kMeansChunk, starts[j + 1]), sums};
      at += kMeansChunk;
      sums = more;
      more += at < starts[j + 1] ? width : 0;
    } while (at < starts[j + 1]);
  }
  constexpr int64_t kTogether = 8;
  parallel_for(ceil_div(count, kTogether), [&](int64_t task) {
    for (int64_t c = task * kTogether; c < at_most((task + 1) * kTogether, count); c++) {
      const Chunk& chunk = chunks[c];
      const bool goes_on = a.sums_before && chunk.begin == starts[chunk.cluster];
      if (goes_on) {
        __builtin_memcpy(chunk.sums, a.sums_before + chunk.cluster * width, width * sizeof(double));
      } else {
        __builtin_memset(chunk.sums, 0, width * sizeof(double));
      }
      sum_points(a, order + chunk.begin, chunk.end - chunk.begin, chunk.sums);
    }
  });
  for (int64_t c = 1; c < count; c++) {
    if (chunks[c].begin > starts[chunks[c].cluster]) {
      double* sums = a.sums + chunks[c].cluster * width;
      for (int64_t p = 0; p <= a.d; p++) {
        sums[p] += chunks[c].sums[p];
      }
    }
  }
  std::atomic<bool> exact{true};
  parallel_for(ceil_div(a.k, kTogether), [&](int64_t task) {
    for (int64_t j = task * kTogether; j < at_most((task + 1) * kTogether, a.k); j++) {
      if (!write_mean(a, j)) {
        exact = false;
      }
    }
  });
  return exact;
}

}  // namespace

void kmeans_means(const KmeansMeansArgs& a) {
  const bool moves = a.ids_before && !a.weights && 2 * count_moved(a) <= a.n;
  if (!moves || !sum_and_divide(a)) {
    KmeansMeansArgs whole = a;
    whole.ids_before = nullptr;
    whole.sums_before = nullptr;
    sum_and_divide(whole);
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
