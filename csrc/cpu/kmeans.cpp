// The means of clusters: chunks of the points of each are summed in float64, then the chunks of large ones.
#include "cpu/kmeans.h"

#include "cpu/gemm_pack.h"
#include "cpu/knn_prepare.h"
#include "cpu/parallel.h"

namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL {

namespace {

// The points of one cluster that are summed in one go. Where the cluster has several, their sums wait in `sums`.
struct Chunk {
  int64_t cluster, begin, end;
  double* sums;
};

// Sums x over `order`, and the weights, into d + 1 float64 values.
void sum_points(const KmeansMeansArgs& a, const int64_t* order, int64_t count, double* out) {
  __builtin_memset(out, 0, (a.d + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    const float* row = a.x + order[i] * a.d;
    double weight = a.weights ? a.weights[order[i]] : 1;
    vd weights = broadcast(weight);
    int64_t p = 0;
    for (; p + WD <= a.d; p += WD) {
      store(out + p, fma(load_double(row + p), weights, load(out + p)));
    }
    for (; p < a.d; p++) {
      out[p] += row[p] * weight;
    }
    out[a.d] += weight;
  }
}

void write_mean(const KmeansMeansArgs& a, int64_t cluster, const double* sums) {
  double total = sums[a.d];
  float* mean = a.means + cluster * a.d;
  for (int64_t p = 0; p < a.d; p++) {
    mean[p] = total != 0 ? static_cast<float>(sums[p] / total) : 0.0f;
  }
  a.totals[cluster] = static_cast<float>(total);
}

}  // namespace

void kmeans_means(const KmeansMeansArgs& a) {
  auto* order = static_cast<int64_t*>(a.workspace);
  int64_t* starts =
      order + a.n;  // k + 2: where each cluster's points begin in `order`, one ahead while they are placed
  __builtin_memset(starts, 0, (a.k + 2) * sizeof(int64_t));
  auto belongs = [&](int64_t i) { return a.ids[i] >= 0 && a.ids[i] < a.k; };
  for (int64_t i = 0; i < a.n; i++) {
    starts[belongs(i) ? a.ids[i] + 2 : 0]++;
  }
  starts[0] = 0;
  for (int64_t j = 2; j < a.k + 2; j++) {
    starts[j] += starts[j - 1];
  }
  for (int64_t i = 0; i < a.n; i++) {
    if (belongs(i)) {
      order[starts[a.ids[i] + 1]++] = i;
    }
  }
  auto* chunks = reinterpret_cast<Chunk*>(starts + a.k + 2);
  auto* sums = reinterpret_cast<double*>(chunks + a.k + a.n / kMeansChunk + 1);
  int64_t count = 0;
  for (int64_t j = 0; j < a.k; j++) {
    bool several = starts[j + 1] - starts[j] > kMeansChunk;
    int64_t at = starts[j];
    do {
      chunks[count++] = {j, at, at_most(at + kMeansChunk, starts[j + 1]), several ? sums : nullptr};
      sums += several ? a.d + 1 : 0;
      at += kMeansChunk;
    } while (at < starts[j + 1]);
  }
  constexpr int64_t kTogether = 8;
  parallel_for(ceil_div(count, kTogether), [&](int64_t task) {
    Arena arena(Scratch::tile, Arena::padded<double>(a.d + 1));
    auto* own = arena.take<double>(a.d + 1);
    for (int64_t c = task * kTogether; c < at_most((task + 1) * kTogether, count); c++) {
      const Chunk& chunk = chunks[c];
      sum_points(a, order + chunk.begin, chunk.end - chunk.begin, chunk.sums ? chunk.sums : own);
      if (!chunk.sums) {
        write_mean(a, chunk.cluster, own);
      }
    }
  });
  for (int64_t c = 0, next; c < count; c = next) {
    next = c + 1;
    for (; chunks[c].sums && next < count && chunks[next].cluster == chunks[c].cluster; next++) {
      for (int64_t p = 0; p <= a.d; p++) {
        chunks[c].sums[p] += chunks[next].sums[p];
      }
    }
    if (chunks[c].sums) {
      write_mean(a, chunks[c].cluster, chunks[c].sums);
    }
  }
}

}  // namespace metalfaiss::cpu::METALFAISS_SIMD_LEVEL
